"""Logged transitions as an estimator takes them.

Letters: T steps, B stretches (rows of one episode without a gap), O observation, A action.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class LogBatch:
    """Transitions ``[T, B, ...]`` of a log; what is not ``kept`` is filling, and changes no estimate.

    Args:
        obs: ``[T, B, O]`` what a policy would have seen.
        action: ``[T, B, A]`` what was applied, normalised.
        reward: ``[T, B]``.
        next_obs: ``[T, B, O]`` the true next observation, also where a stretch was cut.
        ends: ``[T, B]`` bool: nothing comes after it. A cut is no end: there the value goes on.
        kept: ``[T, B]`` bool.
        step: ``[T, B]`` of the episode, as a share of the horizon.
        starts: ``[B]`` bool: the stretch begins where an episode does.
        log_density: ``[T, B]`` of the logged proposals under what wrote the log; None where nobody knows.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    ends: Tensor
    kept: Tensor
    step: Tensor
    starts: Tensor
    log_density: Tensor | None = None

    @property
    def episodes(self) -> int:
        """Stretches that begin where an episode does: only these tell what an episode is worth."""
        return int(self.starts.sum())
