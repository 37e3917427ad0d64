"""What a figure shows, as data: series, limits and intervals, with phrases for labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fpo_pilot.reporting.phrases import Phrase

Role = Literal[
    "policy",
    "incumbent",
    "compared",
    "best",
    "target",
    "plain",
    "algorithm_1",
    "algorithm_2",
    "algorithm_3",
    "algorithm_4",
    "algorithm_5",
    "algorithm_6",
    "algorithm_7",
    "algorithm_8",
]


@dataclass(frozen=True)
class Series:
    """A line. ``held`` draws it as held values; ``faint`` as a thin line behind the others.

    ``low`` and ``high``, if given, are confidence limits at each x, drawn as a band.
    """

    label: Phrase
    x: tuple[float, ...]
    y: tuple[float, ...]
    role: Role
    held: bool = False
    faint: bool = False
    points: bool = False
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line across a panel: a limit or a reference value."""

    label: Phrase
    value: float
    kind: Literal["hard", "soft", "actuator", "reference"]


@dataclass(frozen=True)
class Panel:
    """One pair of axes. ``target`` is its set point."""

    y_label: Phrase
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    target: Series | None = None
    log: bool = False


@dataclass(frozen=True)
class Panels:
    """Panels above each other that share the x axis."""

    x_label: Phrase
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class IntervalRow:
    """A mean with its confidence limits, one line of an interval chart."""

    label: Phrase
    mean: float
    low: float
    high: float
    role: Role


@dataclass(frozen=True)
class Intervals:
    """Means and confidence limits below each other; ``reference`` is a vertical line, such as the incumbent's mean."""

    x_label: Phrase
    rows: tuple[IntervalRow, ...]
    reference: Level | None = None
    log: bool = False


@dataclass(frozen=True)
class StageSpan:
    """The time a roll-out spent in a stage with one authority (fraction of the actuator's span)."""

    name: Phrase
    stage: str
    start: float
    end: float
    authority: float


@dataclass(frozen=True)
class StageEvent:
    """A moment at which a guard took authority away."""

    at: float
    label: Phrase


@dataclass(frozen=True)
class StageLine:
    """Authority over the episodes of a roll-out."""

    x_label: Phrase
    y_label: Phrase
    spans: tuple[StageSpan, ...]
    events: tuple[StageEvent, ...] = ()


Drawing = Panels | Intervals | StageLine
