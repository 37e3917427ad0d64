"""What the report reads of the specs in a run's manifest: only the fields it shows, so that more may be added to the files.

Producers own their schemas; these views ignore what they do not know and are strict about what they do.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """A part of a JSON artefact; unknown keys are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class TextView(View):
    """A text in both languages."""

    en: str
    ja: str


class SignalView(View):
    """A tag of the plant."""

    label: TextView | None = None
    unit: str
    range: tuple[float, float]
    role: str
    measured: bool = True


class ObservationView(View):
    """One entry of the observation vector."""

    term: str | None = None
    of: str | None = None
    reference: str | None = None


class PlantInfoView(View):
    """Name of a plant."""

    id: str
    title: TextView


class TimingView(View):
    """Seconds between actions, steps of an episode."""

    period: float
    horizon: int


class ParameterView(View):
    """A constant; the report counts those that are declared uncertain."""

    uncertainty: dict[str, Any] | None = None


class EpisodeView(View):
    """Whether parameters are drawn anew."""

    randomize_parameters: bool = False


class PlantView(View):
    """A plant spec."""

    plant: PlantInfoView
    timing: TimingView
    signals: dict[str, SignalView]
    parameters: dict[str, ParameterView] = {}
    observations: tuple[ObservationView, ...] = ()
    episode: EpisodeView = EpisodeView()


class HazardView(View):
    """A row of the hazard log."""

    title: TextView
    deviation: TextView
    cause: TextView
    consequence: TextView
    safeguard: TextView
    severity: int
    likelihood: int


class LimitView(View):
    """A limit of a signal."""

    id: str
    signal: str
    low: float | None = None
    high: float | None = None
    kind: Literal["hard", "soft"]
    hazard: str | None = None


class ActionLimitView(View):
    """What the policy may do to an actuator."""

    low: float
    high: float


class VoteView(View):
    """Conditions of which some must hold."""

    least: int
    of: tuple[str, ...]


class InterlockView(View):
    """A latched rule."""

    id: str
    trip_when: str | None = None
    vote: VoteView | None = None
    hazard: str | None = None

    @property
    def trip_text(self) -> str:
        """What trips it; n of m as engineers write it, 2oo3."""
        if self.vote is None:
            return self.trip_when or ""
        return f"{self.vote.least}oo{len(self.vote.of)}: {'; '.join(self.vote.of)}"


class SequenceView(View):
    """An order in which things are done, and the hazard that it guards against."""

    id: str
    hazard: str | None = None


class SensorView(View):
    """When a measurement is not believed, and the hazard that this guards against, where one is named."""

    hazard: str | None = None


class GateSpecView(View):
    """A gate as declared."""

    kind: str
    id: str
    event: str = ""
    limit_rate: float | None = None
    margin: float | None = None
    superior: bool = False
    confidence: float = 0.95
    mode: str = "enforce"


class StageSpecView(View):
    """A stage as declared."""

    name: str
    authority: tuple[float, ...] = ()
    gates: tuple[GateSpecView, ...] = ()


class SafetyView(View):
    """A safety spec."""

    hazards: dict[str, HazardView] = {}
    limits: tuple[LimitView, ...] = ()
    actions: dict[str, ActionLimitView] = {}
    interlocks: tuple[InterlockView, ...] = ()
    sequences: tuple[SequenceView, ...] = ()
    sensors: dict[str, SensorView] = {}
    incumbent: dict[str, Any] = {}
    stages: tuple[StageSpecView, ...] = ()

    @property
    def guarded(self) -> frozenset[str | None]:
        """Hazards that a limit, an interlock or an integrity check names."""
        named = [limit.hazard for limit in self.limits] + [interlock.hazard for interlock in self.interlocks]
        named += [sequence.hazard for sequence in self.sequences]
        return frozenset(named + [sensor.hazard for sensor in self.sensors.values()])
