"""The critic, which learns returns in units of their own spread, so that no reward scale has to be guessed."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fpo_pilot.learn.mirror import Mirror, MirroredPerceptron
from fpo_pilot.learn.network import Perceptron

_RATE = 0.1
"""Share of the newest returns in the running moments: the returns of a policy that learns move."""


class Critic(nn.Module):
    """Value of a normalised observation.

    The network's output is (value − mean)/std of recent returns. When these two move, the last layer is corrected so
    that no value changes (PopArt, arXiv 1602.07714).

    Args:
        observation_size: O.
        width: units of a hidden layer.
        depth: hidden layers.
        members: networks of the ensemble, which differ in their initial weights; the value is their mean.
        generator: of the initial weights.
        mirror: in which the plant is the same; None for none.
    """

    mean: Tensor
    square: Tensor
    seen: Tensor

    def __init__(
        self,
        observation_size: int,
        *,
        width: int,
        depth: int,
        members: int = 1,
        generator: torch.Generator | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        super().__init__()
        made = [Perceptron(observation_size, 1, width=width, depth=depth, generator=generator) for _ in range(members)]
        self.members = nn.ModuleList(
            member if mirror is None else MirroredPerceptron(member, mirror.observation, (1.0,)) for member in made
        )
        for name in ("mean", "square", "seen"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    @property
    def std(self) -> Tensor:
        """Spread of recent returns, a float64 scalar; 1 before any were seen."""
        variance = (self.square - self.mean.square()).clamp(min=1e-12)
        return torch.where(self.seen > 0, variance.sqrt(), torch.ones_like(variance))

    def forward(self, obs: Tensor) -> Tensor:
        """Return the value ``[...]`` of normalised observations ``[..., O]``, in units of the learning reward."""
        return self.values(obs).mean(dim=0)

    def values(self, obs: Tensor) -> Tensor:
        """Return the value by each member, ``[M, ...]``."""
        return self._outputs(obs) * self.std.to(obs.dtype) + self.mean.to(obs.dtype)

    def _outputs(self, obs: Tensor) -> Tensor:
        return torch.stack([member(obs).squeeze(-1) for member in self.members])

    def scaled(self, returns: Tensor) -> Tensor:
        """Return ``returns`` in the units of the network's output: the targets of the update."""
        return (returns - self.mean.to(returns.dtype)) / self.std.to(returns.dtype)

    def loss(self, obs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of each member against targets ``[B]`` that :meth:`scaled` gave, summed."""
        return (self._outputs(obs) - targets).square().mean(dim=-1).sum()

    @torch.no_grad()
    def rescale(self, returns: Tensor) -> None:
        """Move the moments towards those of ``returns``, and keep every value as it is."""
        mean, std = self.mean.clone(), self.std
        values = returns.to(torch.float64)
        rate = torch.where(self.seen > 0, torch.full_like(self.mean, _RATE), torch.ones_like(self.mean))
        self.mean.lerp_(values.mean(), rate)
        self.square.lerp_(values.square().mean(), rate)
        self.seen.add_(1.0)
        for member in self.members:
            last = cast(Perceptron | MirroredPerceptron, member).last
            last.weight.mul_((std / self.std).to(last.weight.dtype))
            last.bias.copy_((last.bias.to(torch.float64) * std + mean - self.mean) / self.std)
