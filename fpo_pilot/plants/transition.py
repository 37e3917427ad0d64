"""What one step of a simulation gives, and what a simulation remembers between two steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError


@dataclass(frozen=True)
class Transition:
    """The outcome of one step of B plants; values at the end of the step, before a reset, unless said otherwise."""

    observation: Tensor
    """``[B, O]`` float32, of the new episode where one ended and autoreset is on."""
    final_observation: Tensor
    """``[B, O]`` float32, the true next observation: bootstrap from this one."""
    reward: Tensor
    """``[B]`` float32, the sum of ``terms``."""
    terms: Mapping[str, Tensor]
    """Weighted reward terms ``[B]``."""
    kpi: Mapping[str, Tensor]
    """Key figures ``[B]``; ``goal.<name>`` is 1 where a goal is satisfied."""
    robustness: Mapping[str, Tensor]
    """Of each goal with a condition, by how much ``[B]`` the step is as it should be, over the goal's scale."""
    cost: Tensor
    """``[B]``, 1 where a hard limit is violated or the plant tripped, else 0."""
    margins: Mapping[str, Tensor]
    """Distance ``[B]`` of the true signal to each limit, by id; positive is safe."""
    terminated: Tensor
    """``[B]`` bool: a trip, or the declared end of the task."""
    truncated: Tensor
    """``[B]`` bool: the horizon, unless terminated."""
    tripped: Tensor
    """``[B]`` bool: the part of ``terminated`` that is a trip."""
    state: Tensor
    """``[B, S]``, true."""
    measurement: Tensor
    """``[B, M]``."""
    quality: Tensor
    """``[B, M]`` uint8."""
    age: Tensor
    """``[B, M]`` seconds."""
    applied: Tensor
    """``[B, A]``, what the actuators report; an actuator with an ``offset`` stands elsewhere."""
    reference: Tensor
    """``[B, R]``, in force during the step."""
    episode_return: Tensor
    """``[B]`` sum of rewards of the episode so far, this step included."""
    episode_length: Tensor
    """``[B]`` int64 steps of the episode so far."""


@dataclass(frozen=True)
class Memory:
    """All tensors that a simulation keeps: with the generator, they are its whole state."""

    state: Tensor  # [B, S]
    measured: Tensor  # [B, H, M] newest first
    applied: Tensor  # [B, H, A] newest first
    sent: Tensor  # [B, A] where actuators were sent last, or [B, 0]
    quality: Tensor  # [B, M]
    age: Tensor  # [B, M]
    line: Tensor  # [B, L, M] sensors' delay
    held: Tensor  # [B, M] or [B, 0]
    lagged: Tensor  # [B, 2, M] behind and before the lag, or [B, 0, M]
    bias: Tensor  # [B, M] or [B, 0]
    last: Tensor  # [B, M] or [B, 0]
    step: Tensor  # [B] int64
    altered: Tensor  # [B] bool, the last proposal was not applied as it was
    active: Tensor  # [B, N] disturbances that happen
    level: Tensor  # [B, N] of drifting disturbances
    parameters: Tensor  # [B, P] or [B, 0]
    reached: Tensor  # [B, G]
    episode_return: Tensor  # [B]

    def where(self, mask: Tensor, other: Memory) -> Memory:
        """Return a memory that is ``other``'s where ``mask`` ``[B]`` is true; the device is not asked for it."""
        masks = {1: mask, 2: mask[:, None], 3: mask[:, None, None]}
        merged: dict[str, Tensor] = {}
        for name in _NAMES:
            mine, theirs = getattr(self, name), getattr(other, name)
            merged[name] = mine if mine is theirs or mine.numel() == 0 else torch.where(masks[mine.ndim], theirs, mine)
        return Memory(**merged)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        return {name: getattr(self, name).clone() for name in _NAMES}

    def loaded(self, tensors: Mapping[str, Tensor]) -> Memory:
        """Return a memory with the tensors of a state dict.

        Raises:
            PlantError: one is missing or has another shape.
        """
        loaded: dict[str, Tensor] = {}
        for name in _NAMES:
            mine = getattr(self, name)
            if name not in tensors or tensors[name].shape != mine.shape:
                found = tuple(tensors[name].shape) if name in tensors else "nothing"
                raise PlantError(
                    f"simulation state: {name} is {found}, expected a tensor of shape {tuple(mine.shape)}. "
                    "Load a state into a simulation of the same plant, scenario and number of copies."
                )
            loaded[name] = tensors[name].to(dtype=mine.dtype, device=mine.device).clone()
        return Memory(**loaded)


_NAMES = tuple(f.name for f in fields(Memory))
