"""The safety spec: what must NEVER happen, who holds the plant otherwise, and how authority is given and taken away."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fpo_pilot.specs.base import Finite, Fraction, Identifier, Name, NonNegative, Positive, Range, Spec, Text
from fpo_pilot.specs.plant import Uncertainty

SensorFaultKind = Literal["nan", "range", "stale", "stuck"]


class Hazard(Spec):
    """One row of the hazard log."""

    added = frozenset({"faults"})

    title: Text
    deviation: Text
    cause: Text
    consequence: Text
    safeguard: Text
    severity: Annotated[int, Field(ge=1, le=5)]
    likelihood: Annotated[int, Field(ge=1, le=5)]
    owner: str
    faults: tuple[SensorFaultKind, ...] = ()
    """Sensor faults that it is about: no number, out of range, too old, frozen. The safety case asks for the rows of each."""


class Limit(Spec):
    """A limit of a signal; at least one of ``low`` and ``high``. ``hard`` trips the plant, ``soft`` is counted."""

    id: Identifier
    signal: Name
    low: Finite | None = None
    high: Finite | None = None
    kind: Literal["hard", "soft"]
    hazard: str | None = None


class ActionLimit(Spec):
    """What the policy may do to one actuator. ``rate`` in units per step."""

    low: Finite
    high: Finite
    rate: Positive | None = None
    fallback: Finite
    """Safe value, the target of the fallback of kind ``value`` and of the last resort of every shield."""


class Vote(Spec):
    """n of m: trips when at least ``least`` of the conditions hold, one for each redundant sensor."""

    least: Annotated[int, Field(ge=1)]
    of: Annotated[tuple[str, ...], Field(min_length=2)]
    lost: Literal["abstains", "trips"] = "abstains"
    """What a condition does whose reading is no number: 2 of 3 becomes 2 of the other 2, or 1 of them."""


class Interlock(Spec):
    """A latched rule: trips when ``trip_when``, or its ``vote``, held for ``samples`` steps; a human resets if ``reset_when`` holds."""

    added = frozenset({"vote"})
    confirming = frozenset({"over"})

    id: Identifier
    trip_when: str | None = None
    vote: Vote | None = None
    """In the place of ``trip_when``."""
    reset_when: str
    samples: Annotated[int, Field(ge=1)] = 1
    set: dict[Name, Finite]
    """Actions while latched."""
    over: tuple[Identifier, ...] = ()
    """Interlocks that set one of these actions otherwise, and give way while both are latched; they stand after this one."""
    hazard: str | None = None

    @property
    def trips(self) -> dict[str, str]:
        """The conditions that are counted, by the place in which they stand: one, or those that vote."""
        if self.vote is not None:
            return {f"vote.of.{index}": text for index, text in enumerate(self.vote.of)}
        return {} if self.trip_when is None else {"trip_when": self.trip_when}

    @property
    def trip_text(self) -> str:
        """What trips it, for a reader."""
        if self.vote is None:
            return self.trip_when or ""
        return f"{self.vote.least}oo{len(self.vote.of)}: {'; '.join(self.vote.of)}"


class SequenceStep(Spec):
    """A way out of a phase, taken after ``when`` held for ``samples`` steps."""

    to: Identifier
    when: str
    samples: Annotated[int, Field(ge=1)] = 1


class SequencePhase(Spec):
    """What is held while a sequence is in this phase, and the ways out of it."""

    hold: dict[Name, Finite] = Field(default_factory=dict)
    """Actions that the phase keeps at a value."""
    next: tuple[SequenceStep, ...] = ()


class Sequence(Spec):
    """An order in which things are done: a small automaton that holds actions until what must come first has been done."""

    id: Identifier
    start: Identifier
    """The phase in which it begins."""
    phases: dict[Identifier, SequencePhase]
    hazard: str | None = None


class SensorIntegrity(Spec):
    """When a measurement is not to be believed. ``range`` defaults to the signal's own."""

    added = frozenset({"hazard"})

    range: Range | None = None
    stale_after: Positive | None = None
    """Seconds."""
    frozen_after: Annotated[int, Field(ge=2)] | None = None
    """Steps with exactly the same value."""
    hazard: str | None = None


class ConstantController(Spec):
    """Holds fixed actions."""

    kind: Literal["constant"] = "constant"
    values: dict[Name, Finite]


class ProportionalLoop(Spec):
    """action = bias + gain · (measurement − reference)."""

    action: Name
    measurement: Name
    reference: Name
    gain: Finite
    bias: Finite


class ProportionalController(Spec):
    """One proportional loop an action."""

    kind: Literal["proportional"] = "proportional"
    loops: tuple[ProportionalLoop, ...]


class PiLoop(Spec):
    """Velocity-form PI with anti-windup by tracking the read-back. error = reference − measurement."""

    action: Name
    measurement: Name
    reference: Name
    gain: Finite
    integral_time: Positive
    """Seconds."""
    bias: Finite


class PiController(Spec):
    """One PI loop an action."""

    kind: Literal["pi"] = "pi"
    loops: tuple[PiLoop, ...]


ControllerSpec = Annotated[ConstantController | ProportionalController | PiController, Field(discriminator="kind")]


class Fallback(Spec):
    """What a shield hands over to when it cannot certify: the incumbent or the declared safe values."""

    kind: Literal["incumbent", "value"] = "incumbent"


class IntegrityShield(Spec):
    """NaN, out of range, stale or frozen measurements, or a proposal that is not finite, give the fallback."""

    kind: Literal["integrity"] = "integrity"


class InterlockShield(Spec):
    """The latched interlocks of this file."""

    kind: Literal["interlock"] = "interlock"


class SequenceShield(Spec):
    """The sequences of this file."""

    kind: Literal["sequence"] = "sequence"


class BoxRateShield(Spec):
    """Box, and rate against the read-back."""

    kind: Literal["box_rate"] = "box_rate"


class StateBounds(Spec):
    """Where a state must lie; at least one of the two."""

    low: Finite | None = None
    high: Finite | None = None


class PredictiveShield(Spec):
    """Backup roll-out: of proposal and backup, the mixture nearest to the proposal after which the backup keeps every hard limit.

    The backup drives each action to its ``fallback`` at its ``rate``. Needs a reading of every state.
    """

    kind: Literal["predictive"] = "predictive"
    horizon: Annotated[int, Field(ge=1)] = 12
    """Steps of the backup after the step that is judged."""
    candidates: Annotated[int, Field(ge=2, le=101)] = 9
    """Mixtures that are tried, evenly from the proposal to the backup, both included."""
    terminal_set: dict[Name, StateBounds]
    """Where every roll-out must end: states in which the backup can be held for ever."""
    margin: dict[Name, NonNegative] = Field(default_factory=dict)
    """Distance to keep from the hard limits of a state: for peaks between two checks and for errors of integration."""
    substeps: Annotated[int, Field(ge=1)] | None = None
    """Checks, and integrator steps, in one control step; those of the plant if left out."""
    budget: Positive | None = None
    """Seconds that a live decision may take; over it the backup acts."""


class BarrierShield(Spec):
    """Discrete-time barrier: after one step each hard limit's distance is at least (1 − ``decay``) times what it was."""

    kind: Literal["barrier"] = "barrier"
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """The share of its distance to a limit that a state may use up in one step (γ)."""
    margin: dict[Name, NonNegative] = Field(default_factory=dict)
    """Distance to keep from the hard limits of a state."""
    model_error: dict[Name, NonNegative] = Field(default_factory=dict)
    """How far a state may be from its prediction after one step, errors of the reading included."""
    substeps: Annotated[int, Field(ge=1)] | None = None
    """Checks, and integrator steps, in one control step; those of the plant if left out."""


ShieldSpec = Annotated[
    IntegrityShield | SequenceShield | InterlockShield | PredictiveShield | BarrierShield | BoxRateShield,
    Field(discriminator="kind"),
]


class UncertaintySet(Spec):
    """What the predictive shield does not know: it must be right at every corner of these bounds, and at ``samples`` points inside."""

    parameters: dict[Name, Uncertainty] | None = None
    """Of the model; left out, what plant.yaml declares of each parameter."""
    states: dict[Name, NonNegative] | None = None
    """How far a reading may be from the true state; left out, what the sensors of plant.yaml can be wrong by."""
    samples: Annotated[int, Field(ge=0, le=1000)] = 0


class RateGate(Spec):
    """Violations per block below ``limit_rate``, by the e-process, at ``confidence``."""

    kind: Literal["rate"] = "rate"
    id: Identifier
    event: Literal["hard_violation", "outside_band", "intervention", "infeasible"]
    limit_rate: Annotated[float, Field(gt=0.0, lt=1.0)]
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    mode: Literal["enforce", "observe"] = "enforce"


class DifferenceGate(Spec):
    """Return of the policy minus return of the incumbent, by a betting confidence sequence on the declared range."""

    kind: Literal["difference"] = "difference"
    id: Identifier
    margin: NonNegative
    """Non-inferiority margin in units of return; 0 with ``superior: true`` asks for more than the incumbent."""
    superior: bool = False
    range: Range
    """Least and greatest possible difference of a block, declared, never estimated."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    mode: Literal["enforce", "observe"] = "enforce"


Gate = Annotated[RateGate | DifferenceGate, Field(discriminator="kind")]


StageName = Literal["shadow", "bounded", "full"]


class Stage(Spec):
    """One stage and the gates to leave it upward."""

    name: StageName
    authority: tuple[Fraction, ...] = ()
    """Of ``bounded``: the β levels in rising order, as fractions of the action span."""
    min_blocks: Annotated[int, Field(ge=1)] = 1
    max_blocks: Annotated[int, Field(ge=1)] = 400
    """Without a decision by then the stage is inconclusive and holds."""
    gates: tuple[Gate, ...] = ()
    agreement_band: Fraction = 1.0
    """Of ``shadow``: a block is outside the band if the proposals, cut to the limits, were farther from the incumbent than this
    fraction of the span, as the root mean square over the block."""


class SafetySpec(Spec):
    """A whole safety/NAME.yaml."""

    added = frozenset({"sequences"})

    schema_version: Literal[1]
    plant: Name
    owner: str = ""
    hazards: dict[str, Hazard] = Field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    actions: dict[Name, ActionLimit]
    interlocks: tuple[Interlock, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    sensors: dict[Name, SensorIntegrity] = Field(default_factory=dict)
    incumbent: ControllerSpec
    fallback: Fallback = Fallback()
    shields: tuple[ShieldSpec, ...] = (IntegrityShield(), InterlockShield(), BoxRateShield())
    uncertainty: UncertaintySet = UncertaintySet()
    stages: tuple[Stage, ...] = ()
