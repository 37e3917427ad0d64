"""Is an identified model good enough to train on? Declared thresholds, and a reason for every no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from fpo_pilot.evidence import clopper_pearson
from fpo_pilot.identification.accuracy import Intervals, SignalAccuracy
from fpo_pilot.identification.windows import Windows

ReasonKind = Literal["error", "persistence", "coverage", "level", "still", "entangled", "check"]


@dataclass(frozen=True)
class Thresholds:
    """What a model must reach; written into its README."""

    share: float = 0.3
    """Error some steps ahead as a share of the spread, at most, for every signal."""
    persistence: float = 0.9
    """That error as a share of the error of saying that nothing changes, at most."""
    level: float = 0.8
    """Level of the intervals that the calibration episodes must reach."""
    excitation: float = 0.03
    """Standard deviation of an action that the measurements and other actions do not explain, of its range, at least.

    Set after docs/studies/identify.py: on four tanks a log with 1.7 % had smaller errors on its own episodes than one
    with 8 %, and what was trained on its model cost 2.00 on the true plant against 1.59 (three seeds each)."""
    coverage_confidence: float = 0.95
    """Coverage is too low if the exact interval of the share of covered episodes, at this confidence, is below the level."""


@dataclass(frozen=True)
class Excitation:
    """How much an action moved in the fitted rows, as shares of its range."""

    action: str
    moved: float
    """Standard deviation."""
    own: float
    """Standard deviation of what a linear function of the measurements and the other actions does not explain."""


@dataclass(frozen=True)
class Reason:
    """One reason against a model: of which kind, about which signal or action, what was found and what is asked for."""

    kind: ReasonKind
    name: str
    found: float
    asked: float
    detail: str = ""


def excitation(windows: Windows, names: Sequence[str], ranges: Sequence[tuple[float, float]]) -> tuple[Excitation, ...]:
    """Measure how much each action moves, and how much of that is its own.

    Under feedback alone an action is a function of the measurements: then no log, however long, tells its effect from
    that of what it answers to.

    Args:
        windows: the fitted rows; all past rows of the measurements count as explanation.
        names: of the actions.
        ranges: lowest and highest value of each.
    """
    now = windows.past - 1
    applied = windows.applied[:, now]
    seen = windows.measured[:, : windows.past].flatten(1)
    found = []
    for column, (name, (low, high)) in enumerate(zip(names, ranges, strict=True)):
        others = torch.cat((applied[:, :column], applied[:, column + 1 :], seen), dim=1)
        others = others - others.mean(dim=0)
        size = others.std(dim=0, correction=0)
        others = others / torch.where(size > 0.0, size, torch.ones_like(size))
        own = applied[:, column : column + 1] - applied[:, column].mean()
        rest = own - others @ torch.linalg.lstsq(others, own, driver="gelsd").solution
        moved, left = (float(part.std(correction=0)) / (high - low) for part in (own, rest))
        found.append(Excitation(name, moved, left))
    return tuple(found)


def reasons_against(
    accuracy: Sequence[SignalAccuracy],
    moved: Sequence[Excitation],
    intervals: Intervals,
    tested: int,
    thresholds: Thresholds,
) -> tuple[Reason, ...]:
    """List every reason not to train on a model; none if it is good enough.

    Args:
        accuracy: on the test episodes.
        moved: excitation of every action.
        intervals: what was calibrated.
        tested: number of test episodes.
        thresholds: what is asked for.
    """
    found: list[Reason] = []
    for one in moved:
        if one.moved < thresholds.excitation:
            found.append(Reason("still", one.action, one.moved, thresholds.excitation))
        elif one.own < thresholds.excitation:
            found.append(Reason("entangled", one.action, one.own, thresholds.excitation))
    for signal in accuracy:
        if not signal.share <= thresholds.share:
            found.append(Reason("error", signal.name, signal.share, thresholds.share))
        beaten = signal.many.model / max(signal.many.persistence, 1e-300)
        never_moved = signal.many.persistence < 0.1 * signal.spread
        if not beaten <= thresholds.persistence and not never_moved:
            found.append(Reason("persistence", signal.name, beaten, thresholds.persistence))
        upper = clopper_pearson(signal.episodes_covered, tested, thresholds.coverage_confidence)[1]
        if upper < intervals.level:
            found.append(Reason("coverage", signal.name, signal.episodes_covered / tested, intervals.level))
    if intervals.level < thresholds.level:
        found.append(Reason("level", "", intervals.level, thresholds.level, detail=str(intervals.episodes)))
    return tuple(found)
