"""The worst episodes of an evaluation: which they are, and worst.json as records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from fpo_pilot.errors import LogError

FILE, STEPS = "worst.json", "worst.parquet"
KEPT = 10


class Worst(BaseModel):
    """One of the worst episodes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """By which it is flown again."""
    cell: str
    episode: int
    arm: str
    mode: str
    scenario: str
    returned: float
    steps: int
    violations_hard: int
    end_reason: str | None


class WorstOf(BaseModel):
    """All that were kept, the worst first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    episodes: tuple[Worst, ...]


def worst_of(tables: Iterable[pa.Table]) -> tuple[Worst, ...]:
    """Return those of some episode tables with most hard violations, then least return.

    Args:
        tables: in the columns of episodes.parquet.
    """
    found = (_worst(row) for table in tables for row in table.to_pylist())
    return tuple(sorted(found, key=lambda one: (-one.violations_hard, one.returned, one.cell, one.episode))[:KEPT])


def read_worst(run_dir: Path) -> WorstOf:
    """Read what was kept.

    Raises:
        LogError: the run has none, or it is damaged.
    """
    path = run_dir / FILE
    if not path.exists():
        raise LogError(f"{path}: found nothing, expected the worst episodes. Run `fpo-pilot evaluate {run_dir}` first.")
    try:
        return WorstOf.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as problem:
        raise LogError(
            f"{path}: found no list of episodes ({str(problem).splitlines()[0]}), expected the worst ones. "
            f"Restore it from a copy, or run `fpo-pilot evaluate {run_dir}` again."
        ) from problem


def _worst(row: dict[str, object]) -> Worst:
    names = ("cell", "arm", "mode", "scenario", "steps", "violations_hard", "end_reason")
    facts = {name: row[name] for name in names}
    return Worst.model_validate(
        {
            **facts,
            "id": f"{str(row['cell'])[:12]}-{row['episode_id']}",
            "episode": row["episode_id"],
            "returned": row["return"],
        }
    )
