"""Linear models by ridge regression: x+ = A x + B u + c, with past rows where they help (ARX).

The ridge shrinks the change of a step towards its mean, not the signals towards zero: a model that knows nothing says
that everything stays as it is. Order and ridge are those with the least held-out error some steps ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.identification.windows import MOST_ORDER, Windows, predict
from fpo_pilot.plants.fitted import Weights, regressors

RIDGES = (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
"""Penalties tried, per row, on regressors and changes scaled to unit spread."""
PAST_HELPS = 1.1
"""The lowest order is taken whose error is within this factor of the least. A model that looks at the past begins every
episode as if the plant had stood still before, which costs more than a small gain is worth."""
LIKE_BEST = 1.02
"""Of ridges of one order, the largest is taken whose error is within this factor of the least."""
NO_ERROR = 1e-9
"""In spreads: errors below this are rounding, and do not tell models apart."""
_LEAST = 1e-12


@dataclass(frozen=True)
class Trial:
    """One setting that was tried, and its held-out error: mean over signals, in spreads, some steps ahead."""

    order: int
    ridge: float
    error: float


def fit_linear(windows: Windows, order: int, ridge: float, low: Tensor, high: Tensor) -> Weights:
    """Fit the change of one step by ridge regression.

    Args:
        windows: the rows to fit; the first future row of each is the target.
        order: rows of the past to look at.
        ridge: penalty per row.
        low: ``[S]`` range of the signals.
        high: ``[S]``.
    """
    signals = windows.measured.shape[2]
    inputs = regressors(windows.start(order), windows.applied[:, windows.past - 1], signals)  # [N, Z]
    moved = windows.measured[:, windows.past] - windows.measured[:, windows.past - 1]  # [N, S]
    centre, scale, unit = inputs.mean(dim=0), _spread(inputs), _spread(moved)
    scaled, mean = (inputs - centre) / scale, (moved / unit).mean(dim=0)
    penalty = torch.eye(scaled.shape[1], dtype=scaled.dtype) * (ridge * len(scaled)) ** 0.5
    left = torch.cat((scaled, penalty)) if ridge > 0.0 else scaled
    right = moved / unit - mean
    right = torch.cat((right, right.new_zeros((scaled.shape[1], signals)))) if ridge > 0.0 else right
    gain = torch.linalg.lstsq(left, right, driver="gelsd").solution
    return Weights(centre, scale, gain, mean, unit, low, high, scaled.amin(dim=0), scaled.amax(dim=0))


def choose_linear(fit: Windows, held_out: Windows, spread: Tensor, low: Tensor, high: Tensor) -> tuple[Weights, Trial]:
    """Try every order and ridge; return the simplest model that is about as good as the best, and its trial."""
    found = []
    for order in range(1, MOST_ORDER + 1):
        for ridge in RIDGES:
            weights = fit_linear(fit, order, ridge, low, high)
            found.append((weights, Trial(order, ridge, score(weights, held_out, spread))))
    order = min(trial.order for _, trial in _near(found, PAST_HELPS))
    of_order = [pair for pair in found if pair[1].order == order]
    return max(_near(of_order, LIKE_BEST), key=lambda pair: pair[1].ridge)


def _near(found: Sequence[tuple[Weights, Trial]], factor: float) -> list[tuple[Weights, Trial]]:
    """Return the models whose error is within a factor of the least."""
    best = min(max(trial.error, NO_ERROR) for _, trial in found)
    return [pair for pair in found if pair[1].error <= factor * best]


def score(weights: Weights, windows: Windows, spread: Tensor) -> float:
    """Return the root mean square error at the last step of the windows, in spreads, mean over signals."""
    error = predict(weights, windows)[:, -1] - windows.future()[:, -1]
    return float((error.square().mean(dim=0).sqrt() / spread).mean())


def state_space(weights: Weights, actions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the linear part in engineering units: ``x+ = A [x, d1 …] + B [u, u1 …] + c``.

    Returns:
        A ``[S, S·p]``, B ``[S, A·p]`` and c ``[S]``. With order 1 they are the usual A, B and c.
    """
    signals = weights.signals
    raw = weights.gain / weights.scale.unsqueeze(1) * weights.unit  # [Z, S]
    constant = weights.unit * weights.bias - weights.centre @ raw
    past = signals * weights.order(actions)
    of_signals = raw[:past].T.clone()
    of_signals[:, :signals] += torch.eye(signals, dtype=raw.dtype)
    return of_signals, raw[past:].T.clone(), constant


def _spread(values: Tensor) -> Tensor:
    """Return the standard deviation of each column; 1 for a column that never moves."""
    spread = values.std(dim=0, correction=0)
    least = _LEAST * values.abs().amax(dim=0).clamp(min=_LEAST)
    return torch.where(spread > least, spread, torch.ones_like(spread))
