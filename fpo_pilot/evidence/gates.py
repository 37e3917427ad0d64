"""Verdicts of gates: pass, fail, or inconclusive, which holds and never promotes.

A verdict is recomputed by an auditor from counts and differences alone. Whatever is missing, not a number or outside
the declared range is inconclusive, with the reason in ``detail``: absence of evidence never passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from fpo_pilot.evidence.autocorrelation import MOST_CORRELATION, neighbour_correlation
from fpo_pilot.evidence.interval import EvidenceError, Floats, as_values
from fpo_pilot.evidence.sequential import betting_interval, log_rate_e_value, rate_interval
from fpo_pilot.specs.safety import DifferenceGate, RateGate

GateVerdict = Literal["pass", "fail", "inconclusive"]
LEAST_TO_TELL = 20
"""Fewer blocks than this do not tell how neighbours correlate: the estimate has a spread of 1/√n. The offline verdict asks for as many."""
_LEAST_TO_MERGE = 40
"""Blocks, so that 20 groups are left when two are laid together."""


class GateResult(BaseModel):
    """What one gate says now. Numbers that do not exist are None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["rate", "difference"]
    value: float | None
    low: float | None
    high: float | None
    criterion: str
    n: int
    verdict: GateVerdict
    detail: str
    e_value: float | None = None
    """Of a rate gate: the evidence; it certifies from 1/(1 − confidence) on."""
    mode: Literal["enforce", "observe"] = "enforce"
    correlation: float | None = None
    """Of each block with the one before; None for fewer than three, or where all are alike."""


def rate_gate(spec: RateGate, violations: int | None, blocks: int) -> GateResult:
    """Judge the rate of an event per block by the e-process of :mod:`fpo_pilot.evidence.sequential`.

    Args:
        spec: the gate, frozen at stage entry.
        violations: blocks with the event; None when it was not measured in every block.
        blocks: blocks so far.

    Returns:
        ``pass`` when the rate is certified below the limit, ``fail`` when it is certified above, else ``inconclusive``.
    """
    sure = f"{100 * spec.confidence:g} %"
    criterion = f"{spec.event} in fewer than {100 * spec.limit_rate:g} % of blocks, at {sure} confidence"
    trouble = _count_trouble(violations, blocks)
    if trouble or violations is None:
        return GateResult(
            name=spec.id,
            kind="rate",
            value=None,
            low=None,
            high=None,
            criterion=criterion,
            n=max(blocks, 0) if isinstance(blocks, int) else 0,
            verdict="inconclusive",
            detail=trouble or "the event was not measured in every block",
            mode=spec.mode,
        )
    delta = 1.0 - spec.confidence
    evidence = log_rate_e_value(violations, blocks, spec.limit_rate)
    low, high = rate_interval(violations, blocks, spec.limit_rate, delta)
    verdict: GateVerdict = "inconclusive"
    if evidence >= -math.log(delta):
        verdict = "pass" if violations < spec.limit_rate * blocks else "fail"
    return GateResult(
        name=spec.id,
        kind="rate",
        value=violations / blocks if blocks else None,
        low=low,
        high=high,
        criterion=criterion,
        n=blocks,
        verdict=verdict,
        detail=f"{violations} of {blocks} blocks; with {sure} confidence fewer than {100 * high:.3g} %",
        e_value=math.exp(min(evidence, 700.0)),
        mode=spec.mode,
    )


def non_inferiority_gate(spec: DifferenceGate, differences: Sequence[float] | Floats) -> GateResult:
    """Judge the difference in return, policy minus incumbent, by the betting confidence sequence on the declared range.

    Args:
        spec: the gate. Not worse: the lower limit is above ``−margin``. ``superior``: it is above ``+margin``.
        differences: ``[n]``, one for each block (or pair of blocks), in order.

    Returns:
        ``pass`` when the lower confidence limit is above the threshold, ``fail`` when the upper one is below it, else
        ``inconclusive``; also when a difference is not a number or outside the declared range.
    """
    threshold = spec.margin if spec.superior else -spec.margin
    criterion = f"difference in return above {threshold:g}, at {100 * spec.confidence:g} % confidence"
    data = as_values(differences, spec.id)
    low: float | None = None
    high: float | None = None
    verdict: GateVerdict = "inconclusive"
    missing = int((~np.isfinite(data)).sum())
    if len(data) == 0:
        detail = "no block yet"
    elif missing:
        detail = f"{missing} of {len(data)} differences are missing or not numbers"
    else:
        low, high, detail = _difference_limits(spec, data)
    if low is not None and high is not None:
        verdict = "pass" if low > threshold else "fail" if high < threshold else "inconclusive"
    return GateResult(
        name=spec.id,
        kind="difference",
        value=float(data.mean()) if len(data) and not missing else None,
        low=low,
        high=high,
        criterion=criterion,
        n=len(data),
        verdict=verdict,
        detail=detail,
        mode=spec.mode,
    )


def rate_gate_on_blocks(spec: RateGate, had: Sequence[bool]) -> GateResult:
    """Judge an event by whether each block had it, in their order; passes on blocks that count as independent alone.

    Blocks that are laid together have the event where one of them has it, which is no more favourable.
    """
    return _of_independent(
        np.asarray(had, dtype=np.float64),
        lambda one: rate_gate(spec, int(one.sum()), len(one)),
        lambda pairs: np.asarray(pairs.max(axis=1)),
    )


def difference_gate_on_blocks(spec: DifferenceGate, differences: Sequence[float] | Floats) -> GateResult:
    """Judge differences of blocks, in their order; passes on blocks that count as independent alone.

    Of blocks that are laid together the mean is taken.
    """
    return _of_independent(
        as_values(differences, spec.id),
        partial(non_inferiority_gate, spec),
        lambda pairs: np.asarray(pairs.mean(axis=1)),
    )


def _of_independent(
    series: Floats, judge: Callable[[Floats], GateResult], merge: Callable[[Floats], Floats]
) -> GateResult:
    """Let a gate pass only on blocks that count as independent: neighbours correlate by less than 0.2 (EVIDENCE.md 3).

    Blocks that hang together are less evidence than as many that do not, and the sequences take them for independent. So they are
    laid together, two, four, eight and so on to one, until neighbours correlate by less; the gate passes if it passes on these as well.
    A failure stands whatever they are. Blocks that are all alike show no correlation and pass as they are: where an event was never
    seen, nothing tells how blocks hang together.

    Args:
        series: ``[n]`` what is judged of each block, in their order: 1 or 0 of an event, or a difference.
        judge: the gate, of such a series.
        merge: from pairs ``[m, 2]`` to what is judged of both together, ``[m]``.

    Returns:
        The result on the single blocks with their correlation; inconclusive where it passes on these alone.
    """
    result, data = judge(series), series
    found = neighbour_correlation(data) if np.isfinite(data).all() else math.nan
    if math.isnan(found):
        return result
    known = result.model_copy(update={"correlation": found})
    if result.verdict != "pass":
        return known
    if len(data) < LEAST_TO_TELL:
        few = f"{result.detail}; {LEAST_TO_TELL} blocks are needed to tell how neighbours correlate"
        return known.model_copy(update={"verdict": "inconclusive", "detail": few})
    if abs(found) < MOST_CORRELATION:
        return known
    told = f"{result.detail}; neighbouring blocks correlate by {found:.2g}, expected less than {MOST_CORRELATION:g}"
    left, together = found, 1
    while not math.isnan(left) and abs(left) >= MOST_CORRELATION and len(data) >= _LEAST_TO_MERGE:
        data, together = merge(data[: len(data) // 2 * 2].reshape(-1, 2)), 2 * together
        left = neighbour_correlation(data)
    if abs(left) >= MOST_CORRELATION or judge(data).verdict != "pass":
        return known.model_copy(update={"verdict": "inconclusive", "detail": told})
    return known.model_copy(update={"detail": f"{told}; it passes on groups of {together} as well"})


def _difference_limits(spec: DifferenceGate, data: Floats) -> tuple[float | None, float | None, str]:
    try:
        low, high = betting_interval(data, *spec.range, alpha=1.0 - spec.confidence)
    except EvidenceError as problem:
        return None, None, str(problem)
    if math.isnan(low):
        return None, None, "the differences contradict a constant mean: something changed between the blocks"
    return low, high, f"mean {data.mean():.6g} in {len(data)} blocks; between {low:.6g} and {high:.6g}"


def _count_trouble(violations: object, blocks: object) -> str:
    """Say what is wrong with the counts; empty if nothing is."""
    if violations is None:
        return "the event was not measured in every block"
    for name, value in (("violations", violations), ("blocks", blocks)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            return f"{name}: found {value!r}, expected a whole number"
        if value < 0:
            return f"{name}: found {value!r}, expected 0 or more"
    if isinstance(violations, int | np.integer) and isinstance(blocks, int | np.integer) and violations > blocks:
        return f"found {violations} violations in {blocks} blocks, expected no more violations than blocks"
    return ""
