r"""Tests that may be looked at after every block: their error holds for all looks together.

Rate of violations (mixture of binomial likelihoods, an e-process; Ville's inequality): with k violations in n blocks,

.. math:: E_n(p) = \frac{B(a+k,\, b+n-k)}{B(a, b)\, p^k (1-p)^{n-k}}, \qquad a = 1/2,\; b = 1/p_0.

If the rate is p, then :math:`P(\exists n: E_n(p) \ge 1/\delta) \le \delta`. Clean blocks needed at 95 %: 74, 376 and
3,776 for limits of 5, 1 and 0.1 %. Each block must have the same conditional rate given the past, or less.

Mean of a bounded value (hedged betting confidence sequence; Waudby-Smith, Ramdas, arXiv 2010.09686), x in [0, 1]:

.. math::
    \lambda_t = \sqrt{\frac{2 \ln(2/\alpha)}{\hat\sigma^2_{t-1}\, t \ln(t+1)}},\quad
    \hat\mu_t = \frac{1/2 + \sum x}{t+1},\quad \hat\sigma^2_t = \frac{1/4 + \sum (x_i - \hat\mu_i)^2}{t+1}

    K^+_t(m) = \prod (1 + \min(\lambda_i, \tfrac{1}{2m})(x_i - m)),\quad
    K^-_t(m) = \prod (1 - \min(\lambda_i, \tfrac{1}{2(1-m)})(x_i - m))

and the confidence set is :math:`\{m: \max(K^+/2, K^-/2) < 1/\alpha\}`, intersected over all t so far. :math:`K^+_t`
falls in m and :math:`K^-_t` rises, so the intersection is an interval whose ends are found by bisection on the
running maximum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize, special

from fpo_pilot.evidence.interval import EvidenceError, Floats, as_values
from fpo_pilot.evidence.statistics import check_rate

PRIOR_A = 0.5
_LARGEST_LOG = 700.0
_BISECTIONS = 50


def log_rate_e_value(violations: int, blocks: int, limit_rate: float, *, rate: float | None = None) -> float:
    """Return ``ln E_n``, the evidence against the rate of violations being ``rate``.

    Args:
        violations: blocks with a violation, k.
        blocks: blocks so far, n.
        limit_rate: p0 of the gate; it shapes the prior, so it is fixed before the first block.
        rate: the hypothesis p; the limit itself if left out.

    Raises:
        EvidenceError: counts that are none, or a rate outside (0, 1).
    """
    check_rate(limit_rate, "limit_rate")
    hypothesis = limit_rate if rate is None else check_rate(rate, "rate")
    if not 0 <= violations <= blocks:
        raise EvidenceError(
            f"e-process: found {violations!r} violations in {blocks!r} blocks, expected 0 ≤ violations ≤ blocks. "
            "Count each block once."
        )
    prior_b = 1.0 / limit_rate
    mixture = special.betaln(PRIOR_A + violations, prior_b + blocks - violations) - special.betaln(PRIOR_A, prior_b)
    likelihood = violations * math.log(hypothesis) + (blocks - violations) * math.log1p(-hypothesis)
    return float(mixture) - likelihood


def rate_e_value(violations: int, blocks: int, limit_rate: float) -> float:
    """Return E_n(p0). At 1/δ or more, with a lower rate seen, the rate is below p0 at confidence 1 − δ."""
    return math.exp(min(log_rate_e_value(violations, blocks, limit_rate), _LARGEST_LOG))


def blocks_needed(limit_rate: float, delta: float = 0.05) -> int:
    """Return how many blocks without any violation certify a rate below ``limit_rate`` at confidence 1 − δ."""
    target = -math.log(check_rate(delta, "delta"))

    def certified(blocks: int) -> bool:
        return log_rate_e_value(0, blocks, limit_rate) >= target

    high = 1
    while not certified(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if certified(middle) else (middle, high)
    return high


def rate_interval(violations: int, blocks: int, limit_rate: float, delta: float = 0.05) -> tuple[float, float]:
    """Return the rates that the e-process has not ruled out so far: a confidence sequence, valid at every look.

    Its upper end is at or below ``limit_rate`` exactly when the gate certifies.
    """
    target = -math.log(check_rate(delta, "delta"))
    if blocks == 0:
        return 0.0, 1.0

    def excess(rate: float) -> float:
        return log_rate_e_value(violations, blocks, limit_rate, rate=rate) - target

    seen = violations / blocks
    tiny = 1e-12
    low = 0.0 if violations == 0 else _root(excess, tiny, min(max(seen, tiny), 1 - tiny), outside=0.0)
    high = 1.0 if violations == blocks else _root(excess, 1 - tiny, max(seen, tiny), outside=1.0)
    return low, high


def betting_interval(
    values: Sequence[float] | Floats, low: float, high: float, alpha: float = 0.05
) -> tuple[float, float]:
    """Return the confidence interval of the mean of values in [``low``, ``high``], valid at every look.

    Args:
        values: ``[n]`` in the order in which they came.
        low: least possible value, declared before the start, never estimated from the values.
        high: greatest possible value.
        alpha: 1 − confidence of the two-sided interval.

    Returns:
        The running intersection of the intervals after each value. NaN twice if it is empty, which has a chance of at
        most ``alpha`` while the mean stays the same: then it does not.

    Raises:
        EvidenceError: a value is outside the declared range or not finite, or the range is empty.
    """
    check_rate(alpha, "alpha")
    data = as_values(values)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise EvidenceError(f"range: found [{low!r}, {high!r}], expected low < high. Declare it in the spec.")
    if len(data) == 0:
        return low, high
    wrong = ~((data >= low) & (data <= high))
    if wrong.any():
        raise EvidenceError(
            f"values: found {data[wrong][0]!r}, expected numbers in the declared range [{low!r}, {high!r}]. "
            "Declare a range that no block can leave."
        )
    unit = (data - low) / (high - low)
    lower = _lower_end(unit, alpha)
    upper = 1.0 - _lower_end(1.0 - unit, alpha)  # K⁻ of x at m is K⁺ of 1 − x at 1 − m
    if lower > upper:
        return math.nan, math.nan
    return low + lower * (high - low), low + upper * (high - low)


def _lower_end(unit: Floats, alpha: float) -> float:
    """Return the greatest m that K⁺ has ever ruled out, from below; 0 if none."""
    stakes = _stakes(unit, alpha)
    target = math.log(2.0 / alpha)

    def ruled_out(mean: float) -> bool:
        wealth = np.cumsum(np.log1p(np.minimum(stakes, 0.5 / mean) * (unit - mean)))
        return bool(wealth.max() >= target)

    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ruled_out(middle) else (low, middle)
    return low


def _stakes(unit: Floats, alpha: float) -> Floats:
    """λ_t, which knows the values before t only."""
    times = np.arange(1, len(unit) + 1)
    means = (0.5 + np.cumsum(unit)) / (times + 1)
    variances = (0.25 + np.cumsum((unit - means) ** 2)) / (times + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.asarray(np.sqrt(2.0 * math.log(2.0 / alpha) / (before * times * np.log(times + 1))))


def _root(excess: Callable[[float], float], outer: float, inner: float, *, outside: float) -> float:
    """Where ``excess`` changes sign between the rate that was seen and the end of the scale."""
    if excess(outer) <= 0.0:
        return outside
    return float(optimize.brentq(excess, outer, inner, xtol=1e-14))
