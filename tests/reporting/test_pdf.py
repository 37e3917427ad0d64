from __future__ import annotations

import re
import sys
import zlib
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
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    unpacked = content + b"".join(zlib.decompress(s) for s in streams if s[:1] == b"x")
    fonts = set(re.findall(rb"/BaseFont\s*/([\w+-]+)", unpacked))
    names = {font.partition(b"+")[2].removesuffix(b"-Bold") for font in fonts}
    assert names == {b"Report-Japanese", b"Report-Latin"}  # the fonts of the extra, whatever the machine has


def test_a_pdf_asks_for_nothing_outside_the_report(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("weasyprint")
    pytest.importorskip("matplotlib_fontja")
    for folder in ("envs", "safety", "reports/text", "reports/templates"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "reports/templates/report.html.j2").write_text(
        '<img src="https://example.com/logo.png">', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReportError, match=r"found a request for https://example\.com/logo\.png"):
        write_report(make_run(evaluated=False), ("en",), pdf=True)
