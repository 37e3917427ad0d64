"""The velocity network: a perceptron whose first layer is split, so that each part is computed as seldom as it may."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fpo_pilot.flow.embedding import embed_time
from fpo_pilot.flow.velocity import Field


class VelocityNetwork(nn.Module):
    """``velocity(obs, x, time)`` with SiLU between layers.

    The first layer is ``W_o·obs + W_x·x + W_t·embedding(time) + b``. The observation part has one row an action, while
    the point and time parts have one a draw or a sampler step: :meth:`condition` computes the former once. At sampling
    all rows share a time, and its part is one row.

    Args:
        observation_size: O.
        action_size: A.
        width: H, units of a hidden layer.
        depth: hidden layers.
        frequencies: F, octaves of the time embedding.
        output_scale: factor of the last layer; small, so that training begins near v = 0, where an action is its noise.
        generator: source of the initial weights.
        device: where the weights live.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        width: int = 64,
        depth: int = 3,
        frequencies: int = 4,
        output_scale: float = 0.25,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.observation_size = observation_size
        self.action_size = action_size
        self.frequencies = frequencies
        self.output_scale = output_scale
        inputs = observation_size + action_size + 2 * frequencies

        def weight(rows: int, columns: int, fan_in: int) -> nn.Parameter:
            tensor = torch.empty((rows, columns), device=device)
            bound = math.sqrt(3.0 / fan_in)  # uniform with variance 1/fan_in (LeCun)
            return nn.Parameter(tensor if tensor.is_meta else tensor.uniform_(-bound, bound, generator=generator))

        self.observation_weight = weight(width, observation_size, inputs)
        self.draw_weight = weight(width, action_size + 2 * frequencies, inputs)
        sizes = [width] * (depth - 1) + [action_size]
        self.weights = nn.ParameterList([weight(size, width, width) for size in sizes])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(size, device=device)) for size in (width, *sizes)])

    def condition(self, obs: Tensor) -> Field:
        """Return the field at ``obs`` ``[..., O]``; leading dimensions broadcast against those of the points."""
        return self.field(self.observe(obs))

    def observe(self, obs: Tensor) -> Tensor:
        """Return the observation's part of the first layer, ``[..., H]``."""
        return functional.linear(obs, _like(self.observation_weight, obs), _like(self.biases[0], obs))

    def field(self, features: Tensor) -> Field:
        """Return the field of features ``[..., H]`` that :meth:`observe` gave."""

        def at(x: Tensor, time: Tensor) -> Tensor:
            embedding = embed_time(time, self.frequencies)
            weight = _like(self.draw_weight, x)
            if time.shape == x.shape[:-1]:  # each point has a time of its own
                return self._rest(functional.linear(torch.cat((x, embedding), dim=-1), weight) + features)
            point, moment = weight[:, : self.action_size], weight[:, self.action_size :]
            return self._rest(functional.linear(x, point) + (features + functional.linear(embedding, moment)))

        return at

    def forward(self, obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
        """Return the velocity ``[..., A]`` at ``obs`` ``[..., O]``, ``x`` ``[..., A]``, ``time`` ``[...]``."""
        velocity: Tensor = self.condition(obs)(x, time)
        return velocity

    def _rest(self, hidden: Tensor) -> Tensor:
        """Apply all but the first linear layer; in place where no gradient is asked for."""
        in_place = not torch.is_grad_enabled()
        for weight, bias in zip(self.weights, list(self.biases)[1:], strict=True):
            hidden = functional.linear(
                functional.silu(hidden, inplace=in_place), _like(weight, hidden), _like(bias, hidden)
            )
        return hidden.mul_(self.output_scale) if in_place else hidden * self.output_scale


def _like(parameter: Tensor, other: Tensor) -> Tensor:
    """Return the parameter in the type of the data: exact densities are computed in float64 with the same weights."""
    return parameter if parameter.dtype == other.dtype else parameter.to(other.dtype)
