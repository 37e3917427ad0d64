"""Policies and critics of a plant that is the same seen in a mirror: no way round is forgotten for the other one.

A network f becomes (f(s) + M·f(Ms))/2, M the change of signs: what it says of a mirrored situation is the mirrored
answer, before the first update and after the last (arXiv 2006.16908, section 4, for a group of two).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fpo_pilot.flow import VelocityNetwork
from fpo_pilot.flow.velocity import Field, schedule
from fpo_pilot.learn.network import Perceptron


@dataclass(frozen=True)
class Mirror:
    """Signs, +1 or −1, of the entries of an observation and of an action."""

    observation: tuple[float, ...]
    action: tuple[float, ...]


class MirroredVelocity(nn.Module):
    """A velocity network whose flow from mirrored noise at a mirrored observation ends at the mirrored action.

    Args:
        network: what is learned.
        mirror: which entries change sign.
    """

    observation_signs: Tensor
    action_signs: Tensor

    def __init__(self, network: VelocityNetwork, mirror: Mirror) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("observation_signs", torch.tensor(mirror.observation), persistent=False)
        self.register_buffer("action_signs", torch.tensor(mirror.action), persistent=False)

    def observe(self, obs: Tensor) -> Tensor:
        """Return the observation's part of the first layer as it is and mirrored, ``[..., 2H]``."""
        mirrored = obs * self.observation_signs.to(obs.dtype)
        return torch.cat((self.network.observe(obs), self.network.observe(mirrored)), dim=-1)

    def field(self, features: Tensor) -> _MirroredField:
        """Return the field of features that :meth:`observe` gave."""
        straight, mirrored = features.chunk(2, dim=-1)
        signs = self.action_signs.to(features.dtype)
        return _MirroredField(self.network.field(straight), self.network.field(mirrored), signs)

    def condition(self, obs: Tensor) -> _MirroredField:
        """Return the field at ``obs`` ``[..., O]``."""
        return self.field(self.observe(obs))

    def forward(self, obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
        """Return the velocity ``[..., A]`` at ``obs`` ``[..., O]``, ``x`` ``[..., A]``, ``time`` ``[...]``."""
        return self.condition(obs)(x, time)


class _MirroredField:
    """The mean of a field and of the mirror's."""

    def __init__(self, straight: Field, mirrored: Field, signs: Tensor) -> None:
        self._straight, self._mirrored, self._signs = straight, mirrored, signs

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        return 0.5 * (self._straight(x, time) + self._signs * self._mirrored(self._signs * x, time))

    def schedule(self, times: tuple[float, ...], like: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """Return the field of points ``[B, A]``, such as ``like``, at each of ``times``."""
        pairs = zip(schedule(self._straight, times, like), schedule(self._mirrored, times, like), strict=True)
        return [partial(self._at, straight, mirrored) for straight, mirrored in pairs]

    def _at(self, straight: Callable[[Tensor], Tensor], mirrored: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return 0.5 * (straight(x) + self._signs * mirrored(self._signs * x))


class MirroredPerceptron(nn.Module):
    """A perceptron whose answer to a mirrored input is the mirrored output.

    Args:
        perceptron: what is learned.
        inputs: signs of the input.
        outputs: signs of the output; all +1 for a critic.
    """

    input_signs: Tensor
    output_signs: Tensor

    def __init__(self, perceptron: Perceptron, inputs: tuple[float, ...], outputs: tuple[float, ...]) -> None:
        super().__init__()
        self.perceptron = perceptron
        self.register_buffer("input_signs", torch.tensor(inputs), persistent=False)
        self.register_buffer("output_signs", torch.tensor(outputs), persistent=False)

    @property
    def last(self) -> nn.Linear:
        """The output layer."""
        return self.perceptron.last

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[..., outputs]``."""
        mirrored = self.perceptron(x * self.input_signs.to(x.dtype))
        mean: Tensor = 0.5 * (self.perceptron(x) + self.output_signs.to(x.dtype) * mirrored)
        return mean
