"""``fpo-pilot report``: the run folder as a document for management, in English and Japanese."""

from __future__ import annotations

from pathlib import Path

from fpo_pilot.commands.console import say, say_json
from fpo_pilot.errors import ReportError
from fpo_pilot.logs.ledger import REPORTING
from fpo_pilot.logs.manifest import FILE as MANIFEST
from fpo_pilot.logs.writing import REPORT, writing

LANGUAGES = ("en", "ja")


def write_reports(run_dir: Path, languages: tuple[str, ...] = LANGUAGES, *, pdf: bool = False) -> tuple[Path, ...]:
    """Write the report in each of ``languages``; return the paths."""
    from fpo_pilot.reporting import write_report

    if not (run_dir / MANIFEST).exists():
        return write_report(run_dir, languages, pdf=pdf)  # which says what is missing
    with writing(run_dir, REPORTING, REPORT):
        return write_report(run_dir, languages, pdf=pdf)


def run_report(run_dir: Path, languages: tuple[str, ...], *, pdf: bool, as_json: bool) -> int:
    """Write the report of ``run_dir`` in each of ``languages``."""
    unknown = [language for language in languages if language not in LANGUAGES]
    if unknown:
        raise ReportError(f"--lang: found {unknown[0]!r}, expected one of {', '.join(LANGUAGES)}.")
    paths = write_reports(run_dir, languages, pdf=pdf)
    if as_json:
        say_json({"reports": [str(path) for path in paths]})
    else:
        for path in paths:
            say(f"report: {path}")
    return 0
