"""envs/NAME/scores.json: what controllers and trained policies are worth on a plant, and of which plant that was said.

A study writes it. A score without the plant it was measured on is worth nothing, so it carries the hashes of dynamics and
specs; where one of them is another today, the scores are stale.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from fpo_pilot.errors import SpecError
from fpo_pilot.evidence.evaluation import Record
from fpo_pilot.logs import write_json_atomic
from fpo_pilot.specs import spec_hash

if TYPE_CHECKING:
    from fpo_pilot.plants.plant import Plant

FILE = "scores.json"


class Score(Record):
    """The mean return of one controller, behind the shield where the plant has one."""

    mean: float
    low: float
    high: float
    """95 % limits over episodes; of several seeds the widest. Equal to the mean where all episodes are equal."""
    seeds: tuple[float, ...] = ()
    """Mean of each training seed; empty for what is not trained."""


class Scores(Record):
    """The file."""

    schema_version: Literal[1] = 1
    plant: str
    steps: int
    """Environment steps of each training."""
    episodes: int
    """Reported episodes of each mean."""
    hashes: dict[str, str | None]
    scores: dict[str, Score]

    def stale(self, plant: Plant) -> tuple[str, ...]:
        """Name what has changed since: of ``plant``, ``safety`` and ``dynamics``."""
        today = plant_hashes(plant)
        return tuple(name for name, value in today.items() if self.hashes.get(name) != value)


def plant_hashes(plant: Plant) -> dict[str, str | None]:
    """Return the hashes of a plant's spec, safety spec and dynamics."""
    return {
        "plant": spec_hash(plant.spec),
        "safety": None if plant.safety is None else spec_hash(plant.safety),
        "dynamics": plant.dynamics_hash,
    }


def read_scores(plant_yaml: Path) -> Scores | None:
    """Read the scores beside a plant spec; None if there are none.

    Raises:
        SpecError: the file is not what a study writes.
    """
    file = plant_yaml.parent / FILE
    if not file.is_file():
        return None
    try:
        return Scores.model_validate_json(file.read_text("utf-8"))
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        fix = "Delete the file, or let the study write it again."
        raise SpecError(
            f"{file}: {where}", first.get("input"), f"what a study writes ({first['msg']})", fix
        ) from problem


def write_scores(plant_yaml: Path, scores: Scores) -> Path:
    """Write the scores beside a plant spec; return where."""
    file = plant_yaml.parent / FILE
    write_json_atomic(file, scores.model_dump(mode="json"))
    return file
