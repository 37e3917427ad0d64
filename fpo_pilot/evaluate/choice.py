"""Chooses how a policy samples its actions in the plant, from episodes behind the shield that are not reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fpo_pilot.evidence import Interval
from fpo_pilot.evidence.evaluation import Choice, ChosenDeployment, Estimate

if TYPE_CHECKING:
    from fpo_pilot.learn.policy import Deployment

TIE = 1e-6
"""Means that differ by less than this part of their size are equal: then the smaller noise is taken."""


@dataclass(frozen=True)
class Tried:
    """A deployment and how it did on the episodes of the choice."""

    deployment: Deployment
    returns: Interval
    violated: int
    """Episodes in which a hard limit was passed."""


def choose(arm: str, tried: Sequence[Tried], *, seed: int) -> ChosenDeployment:
    """Choose the fewest episodes with a hard violation, then the best mean return, then the smallest noise.

    Args:
        arm: name of the arm.
        tried: at least one; a single one is taken without episodes.
        seed: of the episodes.
    """
    fewest = min(one.violated for one in tried)
    clean = [one for one in tried if one.violated == fewest]
    best = max(_mean(one) for one in clean)
    slack = TIE * max(1.0, abs(best)) if math.isfinite(best) else 0.0
    equal = [one for one in clean if _mean(one) >= best - slack]
    chosen = min(equal, key=lambda one: one.deployment.noise_scale).deployment
    return ChosenDeployment(
        arm=arm,
        label=chosen.label,
        noise_scale=chosen.noise_scale,
        method=chosen.method,
        steps=chosen.steps,
        candidates=chosen.candidates,
        chosen_from=tuple(_choice(one) for one in tried) if len(tried) > 1 else (),
        seed=seed,
        reason=_reason(tried, fewest, len(equal)),
    )


def _reason(tried: Sequence[Tried], fewest: int, equal: int) -> str:
    if len(tried) == 1:
        return "the only one declared"
    words = "best mean return on episodes that are not reported"
    if any(one.violated > fewest for one in tried):
        words = f"fewest episodes with a hard violation ({fewest}), then {words}"
    return f"{words}; smallest noise of {equal} that are equal" if equal > 1 else words


def _choice(one: Tried) -> Choice:
    estimate = Estimate.of(one.returns)
    return Choice(
        label=one.deployment.label,
        noise_scale=one.deployment.noise_scale,
        mean=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
    )


def _mean(one: Tried) -> float:
    return one.returns.mean if math.isfinite(one.returns.mean) else -math.inf
