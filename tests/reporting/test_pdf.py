from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fpo_pilot.errors import ReportError
from fpo_pilot.reporting import write_report

Make = Callable[..., Path]


def test_without_the_extra_the_way_to_get_it_is_told(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(ReportError, match=r"pip install 'fpo-pilot\[pdf\]'"):
        write_report(make_run(evaluated=False), ("en",), pdf=True)


def test_a_pdf_is_written_beside_the_page_with_its_fonts_inside(make_run: Make) -> None:
    pytest.importorskip("weasyprint")
    pytest.importorskip("matplotlib_fontja")
    folder = make_run(evaluated=False)
    assert write_report(folder, ("ja",), pdf=True) == (folder / "report.ja.html", folder / "report.ja.pdf")
    content = (folder / "report.ja.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert 50_000 < len(content) < 2_000_000
