"""What the report reads of a run folder's JSON files: only the fields it shows, so that more may be added to the files.

Producers own their schemas; these views ignore what they do not know and are strict about what they do.
"""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, field_validator

from fpo_pilot.reporting.spec_views import PlantView, SafetyView, View


class TrainingView(View):
    """What the training cost."""

    steps: int | None = None
    updates: int | None = None
    seconds: float | None = None
    steps_per_second: float | None = None
    best_update: int | None = None
    best_return: float | None = None
    stopped_early: str | None = None
    peak_memory_mib: float | None = None


class MachineView(View):
    """What the run was made on."""

    cpu: str = ""
    cores: int | None = None


class ManifestView(View):
    """manifest.json."""

    schema_version: Literal[1]
    run_id: str
    plant: str
    algorithm: str
    command: str
    created: str
    seed: int
    device: str
    fpo_pilot_version: str
    python: str
    versions: dict[str, str] = Field(default_factory=dict)
    git_commit: str | None = None
    git_dirty: bool | None = None
    machine: MachineView = MachineView()
    plant_spec: PlantView
    safety_spec: SafetyView | None = None
    hashes: dict[str, str | None] = Field(default_factory=dict)
    training: TrainingView | None = None

    @field_validator("command", mode="before")
    @classmethod
    def _one_line(cls, value: object) -> object:
        return " ".join(str(part) for part in value) if isinstance(value, list | tuple) else value


class IntervalView(View):
    """A mean with its confidence limits over ``n`` episodes or blocks."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0

    def negated(self) -> IntervalView:
        """The interval of the negative: a return becomes a cost."""
        return IntervalView(mean=_negative(self.mean), low=_negative(self.high), high=_negative(self.low), n=self.n)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


class ViolationsView(View):
    """Episodes with a hard violation out of ``n``, and the 95 % upper limit of the rate."""

    episodes_with: int
    n: int
    independent: int | None = None
    """Episodes that count as evidence: equal ones of a deterministic plant count once."""
    upper95: float | None = None


class EvaluationRowView(View):
    """One controller in one mode, with or without shield, in one scenario."""

    arm: str
    mode: str = ""
    shield: bool
    scenario: str = "nominal"
    n: int
    returns: IntervalView = Field(alias="return")
    violations: ViolationsView
    interventions_per_100_steps: float | None = None
    margins_min: dict[str, float | None] = Field(default_factory=dict)


class ArmView(View):
    """Names a controller and its mode."""

    arm: str
    mode: str = ""
    shield: bool = True


class ScenarioVerdictView(View):
    """The verdict in one scenario."""

    scenario: str
    difference: IntervalView | None = None
    result: Literal["pass", "fail", "inconclusive"]


class VerdictView(View):
    """The offline verdict against the incumbent: that of the worst scenario."""

    candidate: ArmView | None = None
    difference: IntervalView | None = None
    result: Literal["pass", "fail", "inconclusive"]
    margin: float | None = None
    scenario: str | None = None
    by_scenario: tuple[ScenarioVerdictView, ...] = ()


class ChoiceView(View):
    """One deployment setting that was tried."""

    label: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


class DeploymentView(View):
    """How the policy samples its actions in the plant."""

    noise_scale: float | None = None
    method: str = ""
    steps: int | None = None
    chosen_from: tuple[ChoiceView, ...] = ()


class EarlierView(View):
    """An evaluation of the run that was made before."""

    result: str
    same_policy: bool


class EvaluationView(View):
    """evaluation.json."""

    schema_version: Literal[1]
    plant: str
    command: str = ""
    seed: int | None = None
    episodes: int | None = None
    scenarios: tuple[Any, ...] = ()
    faulty_scenarios: tuple[str, ...] = ()
    deterministic: bool = False
    rows: tuple[EvaluationRowView, ...]
    verdict: VerdictView | None = None
    deployment: DeploymentView | None = None
    comparison: tuple[str, ...] = ()
    earlier: tuple[EarlierView, ...] = ()

    @property
    def compared(self) -> tuple[str, ...]:
        """Folders of the runs that this one was compared with: named as such, or by ``--against`` in the command."""
        words = shlex.split(self.command)
        named = tuple(word for flag, word in pairwise(words) if flag == "--against")
        return tuple(dict.fromkeys((*self.comparison, *named)))

    @field_validator("comparison", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if isinstance(value, dict):
            return tuple(str(folder) for folder in value.values())
        if isinstance(value, list | tuple):
            return tuple(str(v.get("run") or v.get("path") or v) if isinstance(v, dict) else str(v) for v in value)
        return value


class GateResultView(View):
    """A gate's verdict in a roll-out."""

    stage: str = ""
    authority: float | None = None
    name: str
    kind: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    criterion: str = ""
    n: int = 0
    verdict: Literal["pass", "fail", "inconclusive"]
    mode: str = "enforce"
    correlation: float | None = None


class TransitionView(View):
    """A change of stage."""

    seq: int | None = None
    episode: int | None = None
    step: int | None = None
    from_stage: str = ""
    to_stage: str = ""
    authority: float | None = None
    reason: str = ""


class StageKpiView(View):
    """Returns of both arms in one stage."""

    incumbent: IntervalView | None = None
    policy: IntervalView | None = None
    difference: IntervalView | None = None


class RolloutView(View):
    """rollout.json."""

    schema_version: Literal[1]
    plant: str
    command: str = ""
    seed: int | None = None
    final_stage: str
    final_authority: float | None = None
    episodes: int | None = None
    gates: tuple[GateResultView, ...] = ()
    transitions: tuple[TransitionView, ...] = ()
    guards: tuple[dict[str, Any], ...] = ()
    blocks: dict[str, int] = Field(default_factory=dict)
    kpi: dict[str, StageKpiView] = Field(default_factory=dict)
