"""Several proposals for one cycle: the first that the shield need not alter, so that a policy's own choice is replaced by its own.

Replacement by resampling keeps the mode that a policy is in, which a projection may leave and a mean of proposals always does
(SAFETY.md 1.7); candidates are never averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fpo_pilot.shields.verdict import Shield, ShieldContext, Verdict

RESAMPLED = "resampled"
_WILL = (
    "box:",
    "rate:",
    "predictive.reduced",
    "predictive.backup",
    "predictive.terminal",
    "predictive.limit:",
    "barrier.projected",
    "barrier.reduced",
    "barrier.backup",
    "barrier.limit:",
)
"""Reasons that speak of what was asked for. All others speak of the plant or of a model that failed: no other proposal answers them."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A verdict, and the proposal ``[B, A]`` that it is on: candidate ``index`` ``[B]``."""

    verdict: Verdict
    proposal: Tensor
    index: Tensor


def judge(shield: Shield, context: ShieldContext, proposals: Tensor) -> Judged:
    """Judge one proposal a row, ``[B, A]``, or the first of K candidates ``[B, K, A]`` that passes unaltered.

    The shield advances once, on the first candidate. Where it altered that one, and for its value alone, the others are checked in
    their order against every promise. Where none passes, the verdict on the first stands. Reason: ``resampled``.

    Args:
        shield: stands between policy and actuator.
        context: of this cycle.
        proposals: in engineering units.
    """
    if proposals.dim() == 2:
        verdict = shield(context, proposals)
        return Judged(verdict, proposals, torch.zeros(len(proposals), dtype=torch.int64, device=proposals.device))
    first = proposals[:, 0]
    verdict = shield(context, first)
    wanted = verdict.altered(first) & verdict.feasible & first.isfinite().all(dim=-1)
    for code, applies in verdict.reasons.items():
        if not code.startswith(_WILL):
            wanted = wanted & ~applies
    index = torch.zeros_like(wanted, dtype=torch.int64)
    for candidate in range(1, proposals.shape[1]):
        passes = wanted & shield.holds(context, proposals[:, candidate].to(verdict.action.dtype))
        index = torch.where(passes, candidate, index)
        wanted = wanted & ~passes
    proposal = proposals[torch.arange(len(proposals), device=proposals.device), index]
    resampled = index > 0
    reasons = {code: applies & ~resampled for code, applies in verdict.reasons.items()} | {RESAMPLED: resampled}
    action = torch.where(resampled[:, None], proposal.to(verdict.action.dtype), verdict.action)
    alpha = None if verdict.alpha is None else torch.where(resampled, 1.0, verdict.alpha)
    return Judged(replace(verdict, action=action, reasons=reasons, alpha=alpha), proposal, index)
