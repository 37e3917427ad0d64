"""Generalised advantage estimation with truncation and termination kept apart (arXiv 1506.02438)."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    discount: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, both ``[T, B]``.

    δ_t = r_t + γ·(1 − terminated_t)·V(next_t) − V_t; A_t = δ_t + γλ·(1 − terminated_t)(1 − truncated_t)·A_{t+1}. A
    truncation bootstraps from the value of the true next observation; a termination does not.

    Args:
        reward: ``[T, B]``.
        value: ``[T, B]`` of the observation acted on.
        next_value: ``[T, B]`` of the true next observation, before any reset.
        terminated: ``[T, B]`` bool.
        truncated: ``[T, B]`` bool.
        discount: γ.
        lam: λ.
    """
    alive = (~terminated.bool()).to(reward.dtype)
    going_on = alive * (~truncated.bool()).to(reward.dtype)
    delta = reward + discount * alive * next_value - value
    advantages: list[Tensor] = []
    following = torch.zeros_like(delta[0])
    for step in reversed(range(delta.shape[0])):
        following = delta[step] + discount * lam * going_on[step] * following
        advantages.append(following)
    advantage = torch.stack(advantages[::-1])
    return advantage, advantage + value
