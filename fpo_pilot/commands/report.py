"""``fpo-pilot report``: the run folder as a document for management, in English and Japanese."""

from __future__ import annotations

from pathlib import Path

from fpo_pilot.commands.console import say, say_json
from fpo_pilot.errors import ReportError

LANGUAGES = ("en", "ja")


def run_report(run_dir: Path, languages: tuple[str, ...], *, pdf: bool, as_json: bool) -> int:
    """Write the report of ``run_dir`` in each of ``languages``."""
    from fpo_pilot.reporting import write_report

    unknown = [language for language in languages if language not in LANGUAGES]
    if unknown:
        raise ReportError(f"--lang: found {unknown[0]!r}, expected one of {', '.join(LANGUAGES)}.")
    paths = write_report(run_dir, languages, pdf=pdf)
    if as_json:
        say_json({"reports": [str(path) for path in paths]})
    else:
        for path in paths:
            say(f"report: {path}")
    return 0
