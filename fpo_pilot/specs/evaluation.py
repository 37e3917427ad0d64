"""The evaluation spec: episodes, scenarios and the verdict against the incumbent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fpo_pilot.specs.base import Finite, Fraction, Name, NonNegative, Spec
from fpo_pilot.specs.plant import DisturbanceSpec, Start

FaultKind = Literal["nan", "stuck", "bias", "stale", "range"]


class SensorFault(Spec):
    """A fault of one sensor between two steps of an episode. ``value`` is the bias for ``bias``."""

    signal: Name
    kind: FaultKind
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
