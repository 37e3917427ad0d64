"""Chooses how a policy samples its actions in the plant, from episodes behind the shield that are not reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fpo_pilot.evidence import Interval
from fpo_pilot.evidence.choice import Scored, best_of
from fpo_pilot.evidence.evaluation import Choice, ChosenDeployment, Estimate

if TYPE_CHECKING:
    from fpo_pilot.learn.policy import Deployment


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
    best = best_of([Scored(one.returns.mean, one.violated, one.deployment.noise_scale) for one in tried])
    chosen = tried[best.index].deployment
    return ChosenDeployment(
        arm=arm,
        label=chosen.label,
        noise_scale=chosen.noise_scale,
        method=chosen.method,
        steps=chosen.steps,
        candidates=chosen.candidates,
        chosen_from=tuple(_choice(one) for one in tried) if len(tried) > 1 else (),
        seed=seed,
        reason=_reason(tried, fewest, best.equal),
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
