"""What an offline evaluation says: evaluation.json, as records. Numbers that do not exist are None, never NaN."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from fpo_pilot.errors import LogError
from fpo_pilot.evidence.interval import Interval
from fpo_pilot.specs.evaluation import EvaluationSpec

FILE = "evaluation.json"
EVALUATION_SPEC, CHECKPOINT = "evaluation", "checkpoint"
"""Keys of ``hashes``: of the evaluation spec as it was used, and the file of the candidate's weights."""

Result = Literal["pass", "fail", "inconclusive"]


class Record(BaseModel):
    """A part of evaluation.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Record):
    """A mean over ``n`` episodes with its confidence limits."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    degenerate: bool = False
    """The limits say nothing of chance; ``note`` says why."""
    note: str = ""

    @classmethod
    def of(cls, interval: Interval) -> Self:
        """Take over an interval; NaN becomes None."""
        mean, low, high = (v if math.isfinite(v) else None for v in (interval.mean, interval.low, interval.high))
        return cls(mean=mean, low=low, high=high, n=interval.n, degenerate=interval.degenerate, note=interval.note)


class Violations(Record):
    """Episodes in which a hard limit was passed."""

    episodes_with: int
    n: int
    independent: int
    """Episodes that count as evidence: equal episodes of a deterministic plant count once."""
    upper95: float
    """Exact one-sided upper limit of the rate, from the independent episodes."""


class GoalResult(Record):
    """How a goal was kept."""

    satisfaction: Estimate
    """Mean over episodes of the share, 0 to 1, of the steps that count."""
    episodes_in_full: int
    """Episodes that satisfied it at every step that counts."""
    robustness_min: float | None
    """By how much the worst episode keeps it, over the goal's scale; negative by how much it fails."""


class Row(Record):
    """One controller in one mode, with or without shield, in one scenario."""

    arm: str
    mode: str = ""
    shield: bool
    scenario: str
    n: int
    returns: Estimate = Field(validation_alias=AliasChoices("returns", "return"))
    violations: Violations
    interventions_per_100_steps: float
    margins_min: dict[str, float | None]
    """For each limit the least distance over all steps; negative where it was passed."""
    goals: dict[str, GoalResult] = {}
    """For each goal with a condition."""

    @model_serializer(mode="wrap")
    def _with_keyword(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the key ``return``, which no attribute can be called."""
        written = dict(handler(self))
        return {("return" if key == "returns" else key): value for key, value in written.items()}


class Candidate(Record):
    """The arm that is judged, as it would be deployed."""

    arm: str
    mode: str = ""
    shield: bool = True


class ScenarioVerdict(Record):
    """The verdict in one scenario."""

    scenario: str
    difference: Estimate
    result: Result
    reason: str
    deterministic: bool = False
    """Whether nothing is drawn at random in plant, sensors and both arms."""


class Verdict(Record):
    """The verdict against the incumbent: that of the worst scenario."""

    candidate: Candidate | None
    incumbent: Candidate | None
    difference: Estimate | None
    """Return of the candidate minus return of the incumbent, paired by seed, in the scenario that decides."""
    scenario: str | None
    margin: float
    result: Result
    reason: str
    by_scenario: tuple[ScenarioVerdict, ...] = ()


class Choice(Record):
    """One deployment setting that was tried, on the seeds of the choice."""

    label: str
    noise_scale: float
    mean: float | None
    low: float | None
    high: float | None
    n: int


class ChosenDeployment(Record):
    """How the policy samples its actions in the plant, and from what this was chosen."""

    arm: str
    label: str
    noise_scale: float
    method: str
    steps: int
    candidates: int = 1
    chosen_from: tuple[Choice, ...]
    seed: int
    """Seed of the episodes of the choice; the reported ones are others."""
    reason: str


class Skipped(Record):
    """An arm that was not run in a scenario, and why."""

    arm: str
    scenario: str
    reason: str


class EarlierEvaluation(Record):
    """An evaluation of the run that was made before."""

    folder: str
    seed: int
    episodes: int
    result: Result
    same_policy: bool
    """Of the weights that are judged now: then it was a look at the same chance."""


class Evaluation(Record):
    """evaluation.json."""

    schema_version: Literal[1] = 1
    plant: str
    command: str
    seed: int
    episodes: int
    scenarios: tuple[str, ...]
    grid: tuple[str, ...] = ()
    """Kinds of scenarios that were made from the specs, beside those of evaluate.yaml."""
    faulty_scenarios: tuple[str, ...] = ()
    """Those in which a sensor has a fault, also one that its quality does not show."""
    confidence: float
    earlier: tuple[EarlierEvaluation, ...] = ()
    """Those of the run that were made before; who tries seeds until one passes leaves them here."""
    deterministic: bool
    """Whether the simulated plant gives the same episode for the same actions, whatever the seed."""
    rows: tuple[Row, ...]
    verdict: Verdict
    deployment: ChosenDeployment | None
    deployments: dict[str, ChosenDeployment] = {}
    """Of every policy, by arm; ``deployment`` is that of the candidate."""
    skipped: tuple[Skipped, ...] = ()
    hashes: dict[str, str | None] = {}
    trajectories: str = "steps/stage=offline"
    comparison: tuple[str, ...] = ()
    """Run folders of the policies that were compared with."""
    spec: EvaluationSpec | None = None
    """The evaluation spec as it was used; its hash is ``hashes["evaluation"]``. None in those of an earlier release."""


def read_evaluation(run_dir: Path) -> Evaluation:
    """Read the evaluation of a run.

    Raises:
        LogError: there is none, or it is damaged.
    """
    path = run_dir / FILE
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as problem:
        raise LogError(
            f"{path}: found no evaluation that can be read ({str(problem).splitlines()[0]}), expected one of this release. "
            f"Restore it from a copy, or run `fpo-pilot evaluate {run_dir}` again."
        ) from problem
