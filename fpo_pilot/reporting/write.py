"""Writes the reports of a run folder: read once, model once, say it in each language."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fpo_pilot.reporting.build import build_page
from fpo_pilot.reporting.render import render_html
from fpo_pilot.reporting.run_folder import read_run
from fpo_pilot.reporting.texts import LANGUAGES, load_speaker


def write_report(run_dir: Path, languages: Sequence[str] = LANGUAGES, *, pdf: bool = False) -> tuple[Path, ...]:
    """Write ``report.<language>.html`` (and ``.pdf``) into a run folder.

    The same run folder gives the same bytes. Each file replaces the former one in one move.

    Args:
        run_dir: a run folder, trained at least; evaluation and roll-out are told as not there yet where they are not.
        languages: which of ``en`` and ``ja``.
        pdf: write a PDF beside each page; needs the extra ``fpo-pilot[pdf]``.

    Returns:
        The paths written, pages and PDFs, in the order of ``languages``.

    Raises:
        ReportError: the run folder is missing, partial or not as declared, a text is wrong, or the extra is missing.
    """
    run_dir = Path(run_dir)
    speakers = [load_speaker(language) for language in languages]
    page = build_page(read_run(run_dir))
    written = []
    for speaker in speakers:
        path = run_dir / f"report.{speaker.language}.html"
        _write_atomic(path, render_html(page, speaker).encode("utf-8"))
        written.append(path)
        if pdf:
            from fpo_pilot.reporting.pdf import render_pdf

            path = path.with_suffix(".pdf")
            _write_atomic(path, render_pdf(page, speaker))
            written.append(path)
    return tuple(written)


def _write_atomic(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
