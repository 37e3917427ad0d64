"""From logged data to a model with its errors and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from fpo_pilot.identification.accuracy import Intervals, SignalAccuracy, calibrate, measure, spread_of
from fpo_pilot.identification.linear import Trial, choose_linear
from fpo_pilot.identification.log import PlantLog
from fpo_pilot.identification.residual import fit_residual
from fpo_pilot.identification.verdict import Excitation, Reason, Thresholds, excitation, reasons_against
from fpo_pilot.identification.windows import MOST_ORDER, Windows, cut, predict, split
from fpo_pilot.plants.fitted import Weights
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec

AHEAD = 20
"""Steps of an open-loop prediction; fewer where an episode of the plant is shorter."""
TRAINING_AHEAD = 8
"""Steps that the network is trained to predict."""

Kind = Literal["linear", "neural"]


@dataclass(frozen=True)
class Example:
    """Open-loop predictions from one moment of a test episode: arrays ``[H + 1, S]``, the first row being now."""

    measured: Tensor
    predicted: Tensor
    half_width: Tensor


@dataclass(frozen=True)
class Identification:
    """A model, how it was found, how wrong it is, and whether to train on it."""

    weights: Weights
    asked: Kind
    kind: Kind
    """``linear`` also where a network was asked for and did not help."""
    linear: Trial
    ahead: int
    seed: int
    signals: tuple[str, ...]
    actions: tuple[str, ...]
    episodes: dict[str, int]
    """Of each part: fit, select, calibrate, test, short."""
    accuracy: tuple[SignalAccuracy, ...]
    excitation: tuple[Excitation, ...]
    intervals: Intervals
    example: Example
    thresholds: Thresholds
    reasons: tuple[Reason, ...]

    @property
    def good_enough(self) -> bool:
        """Whether nothing speaks against training on the model."""
        return not self.reasons

    def with_reasons(self, more: tuple[Reason, ...]) -> Identification:
        """Return the same with further reasons against."""
        return replace(self, reasons=(*self.reasons, *more))


def identify(
    log: PlantLog,
    plant: PlantSpec,
    safety: SafetySpec | None,
    *,
    kind: Kind = "neural",
    seed: int = 0,
    thresholds: Thresholds | None = None,
) -> Identification:
    """Fit a model to logged data and judge it on episodes that it has not seen.

    Args:
        log: what was read.
        plant: units and ranges of its signals.
        safety: limits of the actions, against which their excitation is measured; the signals' ranges without one.
        kind: ``linear``, or ``neural`` for a small network on top.
        seed: of the split into parts and of the network.
        thresholds: what a model must reach.

    Raises:
        LogError: too few episodes are long enough.
    """
    asked = Thresholds() if thresholds is None else thresholds
    ahead = max(1, min(AHEAD, plant.timing.horizon - MOST_ORDER))
    parts = split(log, ahead, seed)
    rows = cut(parts.fit, MOST_ORDER, 1, most=None)
    held_out, calibration, test = (cut(part, MOST_ORDER, ahead) for part in (parts.select, parts.calibrate, parts.test))
    ranges = torch.tensor([plant.signals[name].range for name in log.signals], dtype=torch.float64)
    low, high = ranges[:, 0], ranges[:, 1]
    spread = spread_of(rows, low, high)
    weights, trial = choose_linear(rows, held_out, spread, low, high)
    if kind == "neural":
        training = cut(parts.fit, MOST_ORDER, min(ahead, TRAINING_AHEAD), most=None)
        weights = fit_residual(weights, training, held_out, spread, seed=seed)
    intervals = calibrate(weights, held_out, calibration)
    units = tuple(plant.signals[name].unit for name in log.signals)
    mean = rows.measured.flatten(0, 1).mean(dim=0)
    accuracy = measure(weights, test, intervals, mean, spread_of(test, low, high), log.signals, units)
    moved = excitation(rows, log.actions, [_limits(name, plant, safety) for name in log.actions])
    counts = {name: len({s.episode for s in getattr(parts, name)}) for name in ("fit", "select", "calibrate", "test")}
    return Identification(
        weights=weights,
        asked=kind,
        kind="neural" if weights.layers else "linear",
        linear=trial,
        ahead=ahead,
        seed=seed,
        signals=log.signals,
        actions=log.actions,
        episodes=counts | {"short": parts.short},
        accuracy=accuracy,
        excitation=moved,
        intervals=intervals,
        example=_example(weights, test, intervals),
        thresholds=asked,
        reasons=reasons_against(accuracy, moved, intervals, counts["test"], asked),
    )


def _limits(name: str, plant: PlantSpec, safety: SafetySpec | None) -> tuple[float, float]:
    if safety is not None and name in safety.actions:
        return safety.actions[name].low, safety.actions[name].high
    return plant.signals[name].range


def _example(weights: Weights, test: Windows, intervals: Intervals) -> Example:
    """Take the test window whose error is the median: neither the best picture nor the worst."""
    error = ((predict(weights, test) - test.future()) / intervals.half_width).square().mean(dim=(1, 2))
    chosen = error.argsort(stable=True)[len(error) // 2].reshape(1)
    window = test.rows(chosen)
    now = window.measured[:, window.past - 1]
    return Example(
        torch.cat((now, window.future()[0])),
        torch.cat((now, predict(weights, window)[0])),
        torch.cat((torch.zeros_like(now), intervals.half_width)),
    )
