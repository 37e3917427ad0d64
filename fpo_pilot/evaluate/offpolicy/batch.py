"""Logged transitions as an estimator takes them.

Letters: T steps, B stretches (rows of one episode without a gap), O observation, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

SAME = 1e-4
"""Of the spread of a column: stretches that are nearer to each other than this everywhere are copies."""


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

    @cached_property
    def distinct(self) -> Tensor:
        """``[B]`` bool: no other stretch before it is the same. A plant without chance writes one episode again and again."""
        rows = torch.cat((self.obs, self.action, self.reward[..., None]), dim=-1).double()
        spread = rows[self.kept].std(dim=0)
        scaled = torch.where(self.kept[..., None], rows / torch.where(spread > 1e-9, spread, 1.0), 0.0)
        flat = torch.cat((scaled, self.kept[..., None].double()), dim=-1).transpose(0, 1).flatten(1)  # [B, T·Z]
        generator = torch.Generator().manual_seed(0)
        direction = torch.randn(flat.shape[1], generator=generator, dtype=torch.float64)
        order = (flat @ direction).argsort()  # copies are side by side
        found = torch.ones(len(flat), dtype=torch.bool)
        last = order[0]
        for index in order[1:]:
            if (flat[index] - flat[last]).abs().max() < SAME:
                found[index] = False
            else:
                last = index
        return found

    @property
    def distinct_episodes(self) -> int:
        """As ``episodes``, copies counted once."""
        return int((self.starts & self.distinct).sum())
