"""What follows from the estimates: a veto, none, or no answer. Nothing here ever promotes a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from fpo_pilot.evaluate.offpolicy.estimate import OffPolicyEstimate

MOST_BEYOND = 0.1
"""Share of the policy's actions beyond the log, from which on the log says nothing of the policy."""


class Answer(BaseModel):
    """The answer, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: Literal["veto", "no veto", "no answer"]
    reasons: tuple[str, ...]


def decide(
    estimates: Sequence[OffPolicyEstimate],
    beyond: float,
    logged: float,
    *,
    margin: float,
    most_beyond: float = MOST_BEYOND,
) -> Answer:
    """Veto where a valid estimate leaves no hope that the policy is within ``margin`` of what the log was worth.

    Args:
        estimates: of all estimators; those that are not valid do not count.
        beyond: from :func:`support`.
        logged: mean return of the logged episodes, which the incumbent earned.
        margin: by which a policy may be worse.
        most_beyond: more than this is no answer: an estimate there is made up of what the features go on to.
    """
    numbers = (("support", beyond), ("return of the log", logged), ("margin", margin))
    missing = [name for name, number in numbers if not math.isfinite(number)]
    if missing:  # a comparison with NaN is false, and would read as no veto
        reason = (
            f"the {' and the '.join(missing)} cannot be told: the log has no whole episode, or the margin is no number"
        )
        return Answer(result="no answer", reasons=(reason,))
    valid = [one for one in estimates if one.valid and one.high is not None and math.isfinite(one.high)]
    worse = [one for one in valid if one.high is not None and one.high < logged - margin]
    if beyond > most_beyond:
        reason = f"{beyond:.0%} of what the policy does lies beyond the log, at most {most_beyond:.0%} may: nobody knows what comes of it"
        return Answer(result="no answer", reasons=(reason,))
    if not valid:
        return Answer(result="no answer", reasons=tuple(f"{one.method}: {one.reason}" for one in estimates))
    if worse:
        told = tuple(
            f"{one.method}: at most {one.high:.4g}, the log was worth {logged:.4g}, margin {margin:g}" for one in worse
        )
        return Answer(result="veto", reasons=told)
    return Answer(
        result="no veto",
        reasons=("no valid estimate lies wholly below the log less the margin; this promotes nothing",),
    )
