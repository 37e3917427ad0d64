"""What a comparison says over all its tasks: normalised scores, intervals, probability of improvement, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from fpo_pilot.commands.console import note
from fpo_pilot.evidence.comparison_tables import (
    improvement_table,
    interval_table,
    normalise_table,
    profile_table,
    sample_efficiency,
    wall_clock_efficiency,
)
from fpo_pilot.logs.atomic import write_text_atomic
from fpo_pilot.logs.tables import write_table_atomic

if TYPE_CHECKING:
    import pandas as pd

SUMMARY, IMPROVEMENT = "summary.parquet", "improvement.parquet"


def write_summary(runs: pd.DataFrame, curves: pd.DataFrame, floors: Mapping[str, float], out: Path) -> list[Path]:
    """Write the tables over all tasks, and pictures in both languages.

    A score is 0 at random actions and 1 at the best mean of any algorithm on the task.

    Args:
        runs: of ``fpo-pilot compare``, all noise scales; the deployed ones count.
        curves: learning curves.
        floors: mean return of random actions, by task.
        out: folder.

    Returns:
        What was written; nothing where there is less than two algorithms, or one that lacks a task, or a task on which
        none beats chance: there is then no scale on which scores of several tasks could be put together.
    """
    deployed = runs[runs["deployed"]]
    if deployed["algorithm"].nunique() < 2 or not _complete(deployed):
        return []
    best = {str(task): float(value) for task, value in best_means(deployed).items()}
    hopeless = [task for task, score in best.items() if score <= floors[task]]
    if hopeless:
        note(f"no summary over tasks: on {', '.join(hopeless)} nothing beats random actions")
        return []
    scores, learned = (normalise_table(frame, floors, best) for frame in (deployed, curves))
    tables = {SUMMARY: interval_table(scores), IMPROVEMENT: improvement_table(scores)}
    for name, table in tables.items():
        write_table_atomic(out / name, pa.Table.from_pandas(table, preserve_index=False))
    return [*(out / name for name in tables), *_pictures(tables[SUMMARY], scores, learned, out)]


def best_means(deployed: pd.DataFrame) -> pd.Series:
    """Return the best mean over seeds of any algorithm, by task."""
    return deployed.groupby(["task", "algorithm"])["score"].mean().groupby("task").max()


def _complete(deployed: pd.DataFrame) -> bool:
    counts = deployed.groupby("algorithm")["task"].nunique()
    return bool((counts == deployed["task"].nunique()).all())


def _pictures(summary: pd.DataFrame, scores: pd.DataFrame, curves: pd.DataFrame, out: Path) -> list[Path]:
    from fpo_pilot.reporting import comparison_figures as figures
    from fpo_pilot.reporting.figures import draw
    from fpo_pilot.reporting.texts import load_speaker

    order: Sequence[str] = tuple(summary["algorithm"])
    drawn = {
        "intervals": figures.interval_figure(summary, order=order),
        "profiles": figures.profile_figure(profile_table(scores), order=order),
        "steps": figures.sample_efficiency_figure(sample_efficiency(curves), order=order),
        # a run that has ended keeps its policy; runs of one algorithm take times that differ by tasks and by the hour
        "seconds": figures.wall_clock_figure(wall_clock_efficiency(curves, after_end="hold"), order=order),
    }
    written = []
    for language in ("en", "ja"):
        speaker = load_speaker(language)
        for name, figure in drawn.items():
            path = out / f"{name}.{language}.svg"
            write_text_atomic(path, str(draw(figure, speaker)))
            written.append(path)
    return written
