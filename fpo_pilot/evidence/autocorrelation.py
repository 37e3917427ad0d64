r"""How long a block must be, so that blocks count as independent while steps do not.

The integrated autocorrelation time :math:`\tau = 1 + 2\sum_{k=1}^{M} \hat\rho_k` is summed over the smallest window with
:math:`M \ge 5\tau(M)` (Sokal, "Monte Carlo methods in statistical mechanics", 1989): n steps of a series are worth about
n/τ independent ones. A block has at least ten of them, and the means of two neighbours correlate by less than 0.2
(EVIDENCE.md 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fpo_pilot.evidence.interval import EvidenceError, Floats, as_values, is_one_value

WINDOW = 5.0
TIMES_IN_BLOCK = 10
TIMES_TO_TELL = 50
"""A series that is shorter than this many of its own times gives too low a one (Foreman-Mackey and others, arXiv 1202.3665)."""
MOST_CORRELATION = 0.2


def integrated_autocorrelation_time(values: Sequence[float] | Floats) -> float:
    """Return τ of a series ``[n]`` in steps, at least 1; infinite where the series is too short to tell, or never changes.

    Raises:
        EvidenceError: a value is not finite.
    """
    data = _series(values)
    n = len(data)
    centred = data - data.mean()
    if n < 2 or float(np.abs(centred).max()) <= 1e-12 * max(1.0, float(np.abs(data).max())):
        return math.inf
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), size)[:n]
    times = 1.0 + 2.0 * np.cumsum(covariance[1:] / covariance[0])
    windows = np.arange(1, n)
    enough = windows >= WINDOW * np.maximum(times, 1.0)
    if not enough.any():
        return math.inf
    time = max(1.0, float(times[int(np.argmax(enough))]))
    return time if n >= TIMES_TO_TELL * time else math.inf


def block_length(values: Sequence[float] | Floats) -> int | None:
    """Return how many steps a block of this series needs; None where the series is too short to tell."""
    time = integrated_autocorrelation_time(values)
    return math.ceil(TIMES_IN_BLOCK * time) if math.isfinite(time) else None


def block_means(values: Sequence[float] | Floats, length: int) -> Floats:
    """Return the mean of each whole block of ``length`` steps; what is left at the end is dropped.

    Raises:
        EvidenceError: a length below 1, or a value that is not finite.
    """
    if length < 1:
        raise EvidenceError(
            f"length: found {length!r}, expected at least 1 step. Ask block_length() how many a block needs."
        )
    data = _series(values)
    count = len(data) // length
    return np.asarray(data[: count * length].reshape(count, length).mean(axis=1))


def neighbour_correlation(means: Sequence[float] | Floats) -> float:
    """Return r1, the correlation of each block mean with the one before; NaN for fewer than three, or equal ones."""
    data = _series(means)
    if len(data) < 3 or is_one_value(data):
        return math.nan
    centred = data - data.mean()
    return float(centred[1:] @ centred[:-1]) / float(centred @ centred)


def _series(values: Sequence[float] | Floats) -> Floats:
    data = as_values(values)
    if not np.isfinite(data).all():
        raise EvidenceError(
            "values: found one that is not finite, expected numbers. Fill gaps, or cut the series there."
        )
    return data
