"""What the studies share: the page that they write to, and which runs are still to be made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fpo_pilot.evaluate.comparison import Job

PAGE = Path(__file__).resolve().parent.parent / "results.md"


def put(mark: str, lines: Sequence[str], page: Path = PAGE) -> None:
    """Put lines between the marks of a section of a page."""
    text = page.read_text("utf-8")
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    start, stop = text.index(begin) + len(begin), text.index(end)
    page.write_text(text[:start] + "\n" + "\n".join(lines) + "\n" + text[stop:], "utf-8")


def missing(jobs: Sequence[Job], runs: pd.DataFrame) -> list[Job]:
    """Return the jobs that ``runs`` has no row of."""
    known = set() if runs.empty else set(runs[["task", "algorithm", "seed"]].itertuples(index=False, name=None))
    return [job for job in jobs if (job.task, job.variant, job.seed) not in known]
