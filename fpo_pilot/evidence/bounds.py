r"""Lower limits of a mean and of a tail from one look at n independent episodes or blocks.

With sample mean :math:`\bar X`, sample variance :math:`s^2` (n − 1) and values in [a, b], at confidence 1 − δ:

.. math::
    \text{Hoeffding:}\quad \bar X - (b-a)\sqrt{\ln(1/\delta)/(2n)}

    \text{empirical Bernstein (Maurer, Pontil, arXiv 0907.3740, theorem 4):}\quad
    \bar X - \sqrt{2 s^2 \ln(2/\delta)/n} - 7(b-a)\ln(2/\delta)/(3(n-1))

    \text{Student:}\quad \bar X - t_{1-\delta,\,n-1}\, s/\sqrt n

The first two hold for any values in the range, whatever their distribution; Student's is exact for normal ones only.
The range is declared, never estimated: an estimated one makes the limit say what the data said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import special

from fpo_pilot.evidence.interval import EvidenceError, Floats, as_values
from fpo_pilot.evidence.statistics import check_rate

EPISODES_IN_TAIL = 20
"""Fewer values than this in the tail say nothing about it (EVIDENCE.md 3)."""


def hoeffding_lower(values: Sequence[float] | Floats, low: float, high: float, delta: float = 0.05) -> float:
    """Return Hoeffding's lower limit of the mean of values in [``low``, ``high``]; never below ``low``.

    Raises:
        EvidenceError: no value, one outside the declared range, or a range that is none.
    """
    data = _in_range(values, low, high)
    reach = (high - low) * math.sqrt(math.log(1.0 / check_rate(delta, "delta")) / (2 * len(data)))
    return max(low, float(data.mean()) - reach)


def empirical_bernstein_lower(values: Sequence[float] | Floats, low: float, high: float, delta: float = 0.05) -> float:
    """Return the empirical Bernstein lower limit of the mean; never below ``low``. Tighter than Hoeffding's where values vary little.

    Raises:
        EvidenceError: as for :func:`hoeffding_lower`.
    """
    data = _in_range(values, low, high)
    n, term = len(data), math.log(2.0 / check_rate(delta, "delta"))
    if n < 2:
        return low
    reach = math.sqrt(2.0 * float(data.var(ddof=1)) * term / n) + 7.0 * (high - low) * term / (3.0 * (n - 1))
    return max(low, float(data.mean()) - reach)


def student_lower(values: Sequence[float] | Floats, delta: float = 0.05) -> float:
    """Return Student's lower limit of the mean; −inf for fewer than two values. For values that are about normal.

    Raises:
        EvidenceError: a value is not finite.
    """
    data = as_values(values)
    if not np.isfinite(data).all():
        raise EvidenceError(
            "values: found one that is not finite, expected numbers. Take broken episodes out, and say so."
        )
    n = len(data)
    if n < 2:
        return -math.inf
    quantile = float(special.stdtrit(n - 1, 1.0 - check_rate(delta, "delta")))
    return float(data.mean()) - quantile * float(data.std(ddof=1)) / math.sqrt(n)


class TailMean(BaseModel):
    """The mean of the worst episodes, and how little it may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float
    """Of the episodes, the worst."""
    mean: float
    """Of the worst ⌈share · n⌉ values."""
    low: float
    """Lower limit of the conditional value at risk."""
    n: int
    conclusive: bool
    """Whether the tail has enough episodes to be judged at all."""


def tail_mean(
    values: Sequence[float] | Floats, low: float, high: float, *, share: float = 0.1, delta: float = 0.05
) -> TailMean:
    r"""Estimate the conditional value at risk of returns, of which low ones are bad.

    The limit moves the empirical distribution by :math:`\varepsilon = \sqrt{\ln(1/\delta)/(2n)}` (Dvoretzky, Kiefer and Wolfowitz,
    with Massart's constant), with that mass at the least possible value:

    .. math:: \frac{1}{q}\Big(\min(\varepsilon, q)\,a + \int_0^{\max(q-\varepsilon, 0)} \hat F^{-1}(v)\,dv\Big)

    (Thomas and Learned-Miller, "Concentration inequalities for conditional value at risk", 2019). With fewer than 20 values in the
    tail it is not conclusive.

    Args:
        values: ``[n]`` returns of episodes.
        low: least possible value, declared.
        high: greatest possible value, declared; only checked.
        share: q, of the worst episodes.
        delta: 1 − confidence of the limit.

    Raises:
        EvidenceError: as for :func:`hoeffding_lower`.
    """
    data = np.sort(_in_range(values, low, high))
    check_rate(share, "share")
    n = len(data)
    shift = math.sqrt(math.log(1.0 / check_rate(delta, "delta")) / (2 * n))
    left = max(share - shift, 0.0)
    ends = np.minimum(np.arange(1, n + 1) / n, left)
    weights = np.diff(ends, prepend=0.0)
    limit = (min(shift, share) * low + float(weights @ data)) / share
    worst = data[: math.ceil(share * n - 1e-9)]
    return TailMean(share=share, mean=float(worst.mean()), low=limit, n=n, conclusive=n * share >= EPISODES_IN_TAIL)


def _in_range(values: Sequence[float] | Floats, low: float, high: float) -> Floats:
    data = as_values(values)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise EvidenceError(f"range: found [{low!r}, {high!r}], expected low < high. Declare it in the spec.")
    if len(data) == 0:
        raise EvidenceError("values: found none, expected at least one. Run episodes first.")
    wrong = ~((data >= low) & (data <= high))
    if wrong.any():
        raise EvidenceError(
            f"values: found {float(data[wrong][0])!r}, expected numbers in the declared range [{low!r}, {high!r}]. "
            "Declare a range that no episode can leave."
        )
    return data
