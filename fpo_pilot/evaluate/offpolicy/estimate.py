"""An off-policy estimate, with all that tells how little it may be worth."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

UNKNOWN_DENSITY = (
    "the density of the logged actions is not known; those of an operator or of a PID loop have none that is"
)
"""Why importance sampling is off on most logs."""


class OffPolicyEstimate(BaseModel):
    """What one estimator says of the mean return of a policy. One that is not valid has no numbers, and a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    valid: bool
    reason: str = ""
    """Why it is not valid."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % bootstrap over episodes; of FQE widened to what other features say."""
    episodes: int = 0
    effective_sample_size: float | None = None
    """Of the weights at the end of the episodes; None for an estimator without weights."""
    largest_weight_share: float | None = None
    warnings: tuple[str, ...] = ()


def off(method: str, reason: str, episodes: int = 0) -> OffPolicyEstimate:
    """Return an estimate that is none, and why."""
    return OffPolicyEstimate(method=method, valid=False, reason=reason, episodes=episodes)
