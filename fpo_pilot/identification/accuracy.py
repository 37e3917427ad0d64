"""How wrong a model is on episodes that it has not seen, and how sure one can be of a prediction.

Intervals are split conformal over episodes (Vovk et al. 2005; for a maximum over a trajectory, Lindemann et al. 2023,
doi:10.1109/LRA.2023.3292071): the score of an episode is the largest error of any of its predictions, each divided by
the usual error that many steps ahead. The k-th smallest score of n calibration episodes, k = ⌈(n + 1)·level⌉, bounds
the score of a new episode with probability ``level`` or more, if episodes are exchangeable. So an interval holds for
all predictions of an episode at once: it is wider than one for a single prediction, and steps, which depend on each
other, are never counted as evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.identification.windows import Windows, predict
from fpo_pilot.plants.fitted import Weights

LEVEL = 0.9
"""Of the intervals, where there are calibration episodes enough: n of them reach n / (n + 1)."""
LEAST_SPREAD = 1e-3
"""Of the range: a signal that moves less is divided by this, so that a constant one does not divide by zero."""
_NO_ERROR = 1e-12


@dataclass(frozen=True)
class Errors:
    """Root mean square errors of one signal, in its unit, at one number of steps ahead."""

    steps: int
    model: float
    persistence: float
    """Of saying that nothing changes."""
    mean: float
    """Of saying the mean of the fitted rows."""
    half_width: float
    """Of the interval at this step."""


@dataclass(frozen=True)
class SignalAccuracy:
    """One signal on the test episodes."""

    name: str
    unit: str
    spread: float
    """Standard deviation over the test episodes, or a thousandth of the range if that is more."""
    one: Errors
    many: Errors
    episodes_covered: int
    """Test episodes all of whose predictions lie in the intervals."""
    predictions_covered: float
    """Share of the single predictions that lie in the intervals."""

    @property
    def share(self) -> float:
        """Error some steps ahead as a share of the spread."""
        return self.many.model / self.spread

    @property
    def share_one(self) -> float:
        """Error one step ahead as a share of the spread."""
        return self.one.model / self.spread


@dataclass(frozen=True)
class Intervals:
    """Half widths ``[H, S]`` of the prediction intervals, and the level that the calibration episodes reach."""

    half_width: Tensor
    level: float
    episodes: int


def spread_of(windows: Windows, low: Tensor, high: Tensor) -> Tensor:
    """Return the standard deviation of each signal ``[S]``, or a thousandth of its range if that is more."""
    rows = windows.measured.flatten(0, 1)
    return torch.maximum(rows.std(dim=0, correction=0), LEAST_SPREAD * (high - low))


def calibrate(weights: Weights, usual: Windows, calibration: Windows, level: float = LEVEL) -> Intervals:
    """Make prediction intervals.

    Args:
        weights: the model.
        usual: windows that say how large errors usually are, by step and signal; of other episodes.
        calibration: windows of the calibration episodes.
        level: what is asked for; fewer episodes than 1 / (1 − level) − 1 reach less.
    """
    size = (predict(weights, usual) - usual.future()).square().mean(dim=0).sqrt()  # [H, S]
    size = size.clamp(min=_NO_ERROR * float(usual.measured.abs().max().clamp(min=1.0)))
    scores = episode_scores(weights, calibration, size)  # [E, S]
    count = len(scores)
    reached = min(level, count / (count + 1))
    rank = math.ceil((count + 1) * reached - 1e-9)
    return Intervals(size * scores.sort(dim=0).values[rank - 1], reached, count)


def episode_scores(weights: Weights, windows: Windows, size: Tensor) -> Tensor:
    """Return for each episode and signal ``[E, S]`` the largest error of any prediction, in units of ``size`` [H, S]."""
    worst = ((predict(weights, windows) - windows.future()).abs() / size).amax(dim=1)  # [N, S]
    _, index = torch.unique(windows.episode, return_inverse=True)
    scores = worst.new_zeros((int(index.max()) + 1, worst.shape[1]))
    return scores.scatter_reduce(0, index.unsqueeze(1).expand_as(worst), worst, "amax")


def measure(
    weights: Weights,
    test: Windows,
    intervals: Intervals,
    mean: Tensor,
    spread: Tensor,
    names: tuple[str, ...],
    units: tuple[str, ...],
) -> tuple[SignalAccuracy, ...]:
    """Measure a model on the test windows.

    Args:
        weights: the model.
        test: windows of episodes that decided nothing.
        intervals: of the calibration episodes.
        mean: ``[S]`` of the fitted rows.
        spread: ``[S]`` of the test rows.
        names: of the signals.
        units: of the signals.
    """
    future = test.future()  # [N, H, S]
    error = predict(weights, test) - future
    still = test.measured[:, test.past - 1 : test.past] - future
    usual = mean - future
    inside = error.abs() <= intervals.half_width
    covered = episode_scores(weights, test, intervals.half_width) <= 1.0

    def at(step: int, signal: int) -> Errors:
        model, nothing, average = (float(e[:, step, signal].square().mean().sqrt()) for e in (error, still, usual))
        return Errors(step + 1, model, nothing, average, float(intervals.half_width[step, signal]))

    return tuple(
        SignalAccuracy(
            name,
            unit,
            float(spread[i]),
            at(0, i),
            at(test.ahead - 1, i),
            int(covered[:, i].sum()),
            float(inside[:, :, i].double().mean()),
        )
        for i, (name, unit) in enumerate(zip(names, units, strict=True))
    )
