"""What rollout.json says, as records: read by whoever recomputes it. Keys that nobody recomputes are passed over."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.evidence.gates import GateResult
from fpo_pilot.specs.safety import SafetySpec

FILE = "rollout.json"


class Told(BaseModel):
    """A part of rollout.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ToldGate(GateResult):
    """A gate as it was recorded when its rung was left."""

    stage: str
    authority: float


class ToldTransition(Told):
    """A change of stage or authority."""

    seq: int
    episode: int
    step: int
    from_stage: str
    to_stage: str
    authority_from: float
    authority: float
    reason: str


class ToldGuard(Told):
    """The firing of a guard."""

    seq: int
    episode: int
    step: int
    from_stage: str
    reason: str


class ToldInterval(Told):
    """A mean with its interval; None is a number that does not exist."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


class RolloutRecord(Told):
    """rollout.json."""

    final_stage: str
    final_authority: float
    episodes: int
    gates: tuple[ToldGate, ...]
    transitions: tuple[ToldTransition, ...]
    guards: tuple[ToldGuard, ...]
    blocks: dict[str, int]
    kpi: dict[str, dict[str, ToldInterval | None]]
    hashes: dict[str, str]
    safety_spec: SafetySpec | None = None
    """The spec whose gates were judged; None in those of an earlier release."""


def read_rollout(path: Path) -> RolloutRecord:
    """Read rollout.json.

    Raises:
        LogError: it cannot be read, or is none.
    """
    try:
        return RolloutRecord.model_validate_json(path.read_bytes())
    except OSError as problem:
        raise LogError(
            f"{path}: found no file that can be read ({problem.strerror}), expected a roll-out. Restore it from a copy."
        ) from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise LogError(
            f"{path}: {where}: found no roll-out of this release ({first['msg']}), expected one. "
            "Restore it from a copy, or roll out again."
        ) from problem
