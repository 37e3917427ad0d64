"""The plant spec: what a plant IS. Limits, hazards and interlocks are in the safety spec, never here.

After loading, every number is a float in the engineering unit of its signal (or parameter), and every time is in
seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from fpo_pilot.specs.base import Finite, Fraction, Name, NonNegative, Positive, Range, Spec, Text


class Dynamics(Spec):
    """Where the dynamics are: a Python class beside the spec, loaded by path and only on request."""

    model_config = ConfigDict(populate_by_name=True)  # both kinds of dump can be read again

    file: str
    cls: str = Field(alias="class")
    substeps: Annotated[int, Field(ge=1)] = 4


class Uncertainty(Spec):
    """What the owner of the plant does not know of a parameter; used for domain randomisation in training."""

    kind: Literal["relative", "absolute"] = "relative"
    half_width: NonNegative


class Parameter(Spec):
    """A constant of the plant, converted at load time to the unit that the dynamics class declares."""

    value: Finite
    unit: str = "1"
    uncertainty: Uncertainty | None = None
    description: str = ""


class Noise(Spec):
    """Measurement noise. ``std`` in the signal's unit; ``truncate`` in standard deviations."""

    kind: Literal["gauss"] = "gauss"
    std: NonNegative
    truncate: Positive | None = None


class Dropout(Spec):
    """Readings that do not arrive, each by itself with ``probability``."""

    probability: Annotated[float, Field(ge=0.0, lt=1.0)]
    hold: Literal["last", "none"] = "last"
    """``last``: the reading before stands, and grows old; ``none``: there is no number, and the quality is bad."""


class Sensor(Spec):
    """How a measured signal differs from the true one.

    In this order: lag, delay, bias, noise, quantisation, range of the signal, dropout.
    """

    lag: NonNegative = 0.0
    """Time constant of a first-order lag, in seconds."""
    delay_steps: Annotated[int, Field(ge=0)] = 0
    bias: Finite = 0.0
    bias_spread: NonNegative = 0.0
    """Standard deviation of a bias that is drawn anew for each episode."""
    bias_walk: NonNegative = 0.0
    """Standard deviation of the step that the bias takes in each period: a drift without end."""
    noise: Noise | None = None
    quantize: NonNegative = 0.0
    dropout: Dropout | None = None


class Actuator(Spec):
    """How an actuator differs from what it is told.

    In this order: stiction or dead band, lag, then the signal's ``rate``.
    """

    stiction: NonNegative = 0.0
    """It stays where it is until the command is farther away than this, then jumps to it (the one-parameter model of
    Stenman, Gustafsson and Forsman, Int. J. Adaptive Control and Signal Processing 17, 2003)."""
    dead_band: NonNegative = 0.0
    """Backlash: width of the play in which the command moves and the actuator does not."""
    lag: NonNegative = 0.0
    """Time constant of a first-order lag, in seconds."""


class SchedulePoint(Spec):
    """The value of a reference from ``step`` on."""

    step: Annotated[int, Field(ge=0)]
    value: Finite


class Signal(Spec):
    """One tag of the plant. Its unit is the unit of every other number about it."""

    tag: str = ""
    label: Text | None = None
    unit: str
    range: Range
    """Physical range: of the instrument for a measurement, of the actuator for an action."""
    role: Literal["state", "measurement", "action", "reference", "disturbance"]
    """``state`` is a state variable that is also measured unless ``measured: false``; ``measurement`` is computed from
    states by the dynamics class (method ``outputs``); ``reference`` is a set point; ``disturbance`` an unmeasured
    input."""
    measured: bool = True
    actuator: Actuator = Actuator()
    rate: Positive | None = None
    """Physical rate of the actuator, in units per step (what must not be passed is in the safety spec)."""
    start: Finite | None = None
    """Read-back value of an action at the start of an episode, nominal value of a disturbance."""
    sensor: Sensor = Sensor()
    schedule: tuple[SchedulePoint, ...] = ()
    """Of a reference: its values over the episode; the first point is at step 0."""
    steady_actions: tuple[dict[str, Finite], ...] = ()
    """Of a reference, optional: for each schedule point, the actions that hold it (used by the ``hold`` controller)."""


class ObservationTerm(Spec):
    """One entry of the observation vector. Exactly one of ``signal`` and ``term``.

    ``signal``: the present measured value (``history`` > 1 stacks past values, newest first). ``setpoint_error``:
    measurement ``of`` minus its reference ``reference``. ``previous_action``: applied action (all, or ``of``).
    ``preview``: the reference ``of``, ``ahead`` steps later. ``progress``: step / horizon. ``shield_active``: 1 where the
    shield altered the proposal of the step before. Each is mapped linearly from
    ``scale`` (defaults to the signal's range; for an error to ± the span) to [−1, 1], unclipped.
    """

    signal: Name | None = None
    term: Literal["setpoint_error", "previous_action", "preview", "progress", "shield_active"] | None = None
    of: Name | None = None
    reference: Name | None = None
    ahead: Annotated[int, Field(ge=0)] = 1
    history: Annotated[int, Field(ge=1)] = 1
    scale: Range | None = None


class RewardTerm(Spec):
    """A named, weighted term of the reward: ``reward += weight * expression``; negative weights make costs."""

    name: Name
    expression: str
    weight: Finite


class Goal(Spec):
    """A goal in words that a process engineer uses; compiled to reward terms and to a satisfaction rate.

    Exactly one of ``avoid`` (a condition that must never hold), ``reach`` (must hold at some time),
    ``drive`` (must hold from ``within_steps`` on), ``minimize`` and ``maximize`` (an expression).

    A plant has ``reward`` or goals with a weight, never both. Goals of ``weight: 0`` are measured and not rewarded: they may
    stand beside either.
    """

    name: Name
    avoid: str | None = None
    reach: str | None = None
    drive: str | None = None
    within_steps: Annotated[int, Field(ge=1)] | None = None
    minimize: str | None = None
    maximize: str | None = None
    weight: NonNegative = 1.0
    """0 to measure the goal in every evaluation and leave the reward as it is."""
    scale: Positive | None = None
    """Divides the expression or the violated distance; defaults to the span of the first signal that is named."""
    hazard: str | None = None


class Replay(Spec):
    """A column of a file of measured data, such as a year of weather, in the place of a channel's own value."""

    file: str
    """CSV or Parquet, beside the spec or below its folder."""
    column: str
    unit: str
    """Of the column; it must convert to that of the channel."""
    time: str = "time"
    """Column of time stamps (ISO 8601), which grow from row to row."""
    longest_gap: Positive
    """Seconds; a file with a longer gap is refused."""
    between: Literal["linear", "hold"] = "linear"
    """What holds between two rows."""
    begin: Literal["random", "first"] = "random"
    """Where in the file an episode begins."""


class DisturbanceSpec(Spec):
    """A disturbance of an episode. ``channel`` names a disturbance signal, a state (impulse) or a parameter.

    ``ou`` is an Ornstein-Uhlenbeck process, ``white`` a normal number drawn anew at every step, ``replay`` measured data.
    """

    channel: Name
    kind: Literal["step", "impulse", "ramp", "periodic", "ou", "white", "replay"]
    at_step: Annotated[int, Field(ge=0)] = 0
    until_step: Annotated[int, Field(ge=0)] | None = None
    size: Finite = 0.0
    """Height of a step, impulse or ramp end; amplitude of a periodic one; standard deviation of ``ou`` and ``white``."""
    period_steps: Positive | None = None
    """Period of a periodic disturbance; time constant of ``ou``; both in steps."""
    probability: Fraction = 1.0
    replay: Replay | None = None


class Fixed(Spec):
    """A fixed start value."""

    kind: Literal["fixed"] = "fixed"
    value: Finite


class Uniform(Spec):
    """A start value drawn uniformly."""

    kind: Literal["uniform"] = "uniform"
    low: Finite
    high: Finite


class Normal(Spec):
    """A start value drawn from a normal distribution, cut at ``truncate`` standard deviations."""

    kind: Literal["normal"] = "normal"
    mean: Finite
    std: NonNegative
    truncate: Positive = 4.0


Start = Annotated[Fixed | Uniform | Normal, Field(discriminator="kind")]


class Timing(Spec):
    """``period`` seconds between two actions, ``horizon`` steps to an episode (which the horizon truncates)."""

    period: Positive
    horizon: Annotated[int, Field(ge=1)]


class Episode(Spec):
    """How episodes start and may end."""

    start: dict[Name, Start]
    """For every state signal, its distribution at the start."""
    ends_when: str | None = None
    """A declared end of the task (``terminated``), such as ``acc >= 30000 kg``."""
    randomize_parameters: bool = False
    """Draw each uncertain parameter at every reset."""


class PlantInfo(Spec):
    """Name and texts of a plant."""

    id: Name
    title: Text
    description: Text | None = None
    owner: str = ""
    source: str = ""


class PlantSpec(Spec):
    """A whole plant.yaml."""

    schema_version: Literal[1]
    plant: PlantInfo
    dynamics: Dynamics
    timing: Timing
    parameters: dict[Name, Parameter] = Field(default_factory=dict)
    signals: dict[Name, Signal]
    observations: tuple[ObservationTerm, ...]
    reward: tuple[RewardTerm, ...] = ()
    goals: tuple[Goal, ...] = ()
    disturbances: tuple[DisturbanceSpec, ...] = ()
    episode: Episode
    kpi: dict[Name, str] = Field(default_factory=dict)
    """Extra named expressions, logged but not rewarded."""
