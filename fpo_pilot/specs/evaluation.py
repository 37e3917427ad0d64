"""The evaluation spec: episodes, scenarios and the verdict against the incumbent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fpo_pilot.specs.base import Finite, Fraction, Name, NonNegative, Range, Spec
from fpo_pilot.specs.plant import DisturbanceSpec, SchedulePoint, Start

FaultKind = Literal["nan", "stuck", "bias", "stale", "range", "drift", "noise"]
ActuatorFaultKind = Literal["stuck", "slow", "offset"]


class SensorFault(Spec):
    """A fault of one sensor between two steps of an episode.

    ``value``: of ``bias`` the bias, of ``drift`` what is added in every step, of ``noise`` the standard deviation of
    normal noise on top.
    """

    signal: Name
    kind: FaultKind
    from_step: Annotated[int, Field(ge=0)] = 0
    to_step: Annotated[int, Field(ge=1)] | None = None
    value: Finite = 0.0


class ActuatorFault(Spec):
    """A fault of one actuator between two steps of an episode: nobody is told.

    ``stuck``: it stays where it is, and reports so. ``slow``: it moves by at most ``value`` a step, and reports so.
    ``offset``: it stands ``value`` above what it reports.
    """

    action: Name
    kind: ActuatorFaultKind
    from_step: Annotated[int, Field(ge=0)] = 0
    to_step: Annotated[int, Field(ge=1)] | None = None
    value: Finite = 0.0


class Scenario(Spec):
    """One condition of evaluation; what is not given is as in the plant spec."""

    name: Name = "nominal"
    start: dict[Name, Start] = Field(default_factory=dict)
    parameters: dict[Name, Finite] = Field(default_factory=dict)
    """Overrides of parameters in the unit of the plant spec."""
    faults: tuple[SensorFault, ...] = ()
    actuator_faults: tuple[ActuatorFault, ...] = ()
    references: dict[Name, tuple[SchedulePoint, ...]] = Field(default_factory=dict)
    """Other values of set points over the episode."""
    action_limits: dict[Name, Range] = Field(default_factory=dict)
    """Narrower ranges of actuators, such as of a pump that gives half. Policies and shields are not told."""
    disturbances: tuple[DisturbanceSpec, ...] | None = None
    noise_factor: NonNegative = 1.0


class EvaluationSpec(Spec):
    """envs/NAME/evaluate.yaml."""

    schema_version: Literal[1] = 1
    episodes: Annotated[int, Field(ge=1)] = 32
    scenarios: tuple[Scenario, ...] = (Scenario(),)
    noise_scales: tuple[Fraction, ...] = (0.0, 0.5, 1.0)
    """Deployment noise scales of a flow policy to choose from, by return under the shield."""
    margin: NonNegative = 0.0
    """Non-inferiority margin against the incumbent, in units of return."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    log_episodes: Annotated[int, Field(ge=0)] = 4
    """Episodes of each arm whose every step is logged."""
    oracle: bool = True
