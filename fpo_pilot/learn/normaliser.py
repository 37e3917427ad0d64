"""Running mean and variance of observations, merged by Chan's formula; it moves only when it is told to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fpo_pilot.learn.mirror import Mirror

_LEAST_VARIANCE = 1e-4
"""Observations are in spans of their declared scale: what varies by less than a hundredth of it is not blown up."""
_WIDEST = 10.0
"""Standard deviations at which a normalised observation is cut, so that one freak reading cannot own a network."""


class Normaliser(nn.Module):
    """Maps observations to mean 0 and standard deviation 1 as seen so far.

    The statistics are float64 buffers. They stay as they are while a policy acts and updates, so that the ratio of
    the first minibatch is exactly 1, and move afterwards by :meth:`merge`.

    Args:
        size: O.
        mirror: in which the plant is the same; every observation then counts with its mirror's.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor
    centre: Tensor  # what is subtracted and multiplied, in float32, so that nothing is computed twice
    scale: Tensor

    def __init__(self, size: int, mirror: Mirror | None = None) -> None:
        super().__init__()
        self._mirror = mirror
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    @property
    def variance(self) -> Tensor:
        """Population variance ``[O]``; 1 before anything was seen."""
        return torch.where(self.count > 0, self.squares / self.count.clamp(min=1.0), torch.ones_like(self.squares))

    def forward(self, obs: Tensor) -> Tensor:
        """Return ``obs`` ``[..., O]`` normalised, in its own float type."""
        centred = obs - self.centre.to(obs.dtype)
        return (centred * self.scale.to(obs.dtype)).clamp(-_WIDEST, _WIDEST)

    @torch.no_grad()
    def merge(self, obs: Tensor) -> None:
        """Take ``obs`` ``[..., O]`` into the statistics (Chan, Golub, LeVeque 1979)."""
        rows = obs.reshape(-1, obs.shape[-1]).to(torch.float64)
        if self._mirror is not None:
            rows = torch.cat((rows, rows * rows.new_tensor(self._mirror.observation)))
        batch_mean = rows.mean(dim=0)
        batch_squares = (rows - batch_mean).square().sum(dim=0)
        total = self.count + rows.shape[0]
        shift = batch_mean - self.mean
        self.squares += batch_squares + shift.square() * self.count * rows.shape[0] / total
        self.mean += shift * rows.shape[0] / total
        self.count.copy_(total)
        self.centre.copy_(self.mean)
        self.scale.copy_(self.variance.clamp(min=_LEAST_VARIANCE).rsqrt())
