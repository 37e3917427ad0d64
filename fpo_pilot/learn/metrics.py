"""metrics.parquet: one row an update. Written before the checkpoint that counts, so that a crash loses no row of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from fpo_pilot.logs.tables import read_parquet, write_table_atomic

FILE = "metrics.parquet"
COUNTS = ("update", "steps", "episodes")
COLUMNS = (
    *COUNTS[:2],
    "seconds",
    "return_mean",
    "return_min",
    "return_max",
    "episodes",
    "length_mean",
    "policy_loss",
    "value_loss",
    "ratio_mean",
    "ratio_min",
    "ratio_max",
    "clip_fraction",
    "cfm_loss",
    "spread",
    "intervention_rate",
    "explained_variance",
    "gradient_norm",
    "learning_rate",
    "evaluation_return",
    "evaluation_best",
    "evaluation_noise_scale",
    "action_change",
    "clip_fraction_good",
    "clip_fraction_bad",
    "ratio_early",
    "ratio_late",
    "old_loss",
    "density_gap",
    "violation_rate",
    "multiplier",
    "entropy",
    "recoveries",
)
"""``evaluation_return``: of the averaged weights without noise; ``evaluation_best``: at the best of the noise scales,
``evaluation_noise_scale``; NaN where not evaluated. ``value_loss`` is in units of the variance of recent returns.
``density_gap``: mean distance of the surrogate's log ratio from the exact one, where evaluated. ``violation_rate``: share of
steps with a violated limit; ``multiplier``: its price, NaN without a constraint. ``recoveries``: roll-backs so far. The rest:
:func:`fpo_pilot.learn.monitors.monitors`."""

Row = dict[str, float]


def write_metrics(run_dir: Path, rows: Sequence[Row]) -> None:
    """Write all rows, whole or not at all."""
    columns = {
        name: pa.array(
            [int(row[name]) if name in COUNTS else float(row[name]) for row in rows],
            pa.int64() if name in COUNTS else pa.float64(),
        )
        for name in COLUMNS
    }
    write_table_atomic(run_dir / FILE, pa.table(columns))


def read_rows(run_dir: Path, updates: int) -> list[Row]:
    """Read the rows up to an update; rows that a crash left beyond its last checkpoint are dropped."""
    if updates == 0:
        return []
    return [row for row in read_parquet(run_dir / FILE).to_pylist() if row["update"] <= updates]
