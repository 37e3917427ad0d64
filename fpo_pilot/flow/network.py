"""The velocity network: a perceptron whose first layer is split, so that each part is computed as seldom as it may."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from fpo_pilot.flow.embedding import embed_time


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

    def condition(self, obs: Tensor) -> ConditionedField:
        """Return the field at ``obs`` ``[..., O]``; leading dimensions broadcast against those of the points."""
        return self.field(self.observe(obs))

    def observe(self, obs: Tensor) -> Tensor:
        """Return the observation's part of the first layer, ``[..., H]``."""
        return functional.linear(obs, _like(self.observation_weight, obs), _like(self.biases[0], obs))

    def field(self, features: Tensor) -> ConditionedField:
        """Return the field of features ``[..., H]`` that :meth:`observe` gave."""
        return ConditionedField(self, features)

    def forward(self, obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
        """Return the velocity ``[..., A]`` at ``obs`` ``[..., O]``, ``x`` ``[..., A]``, ``time`` ``[...]``."""
        velocity: Tensor = self.condition(obs)(x, time)
        return velocity

    def layers(self, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return weights and biases of all layers but the first, in the type of ``like``."""
        pairs = zip(self.weights, list(self.biases)[1:], strict=True)
        return [(_like(weight, like), _like(bias, like)) for weight, bias in pairs]

    def first_layer(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first layer's weights of points ``[H, A]`` and of the time embedding ``[H, 2F]``."""
        weight = _like(self.draw_weight, like)
        return weight[:, : self.action_size], weight[:, self.action_size :]


_FEW_ROWS = 64
"""Up to so many rows a call costs more than what it computes."""


class ConditionedField:
    """The field of a network at given observations; a sampler that knows its times beforehand asks for :meth:`schedule`.

    Args:
        network: whose field.
        features: ``[..., H]``, the observation's part of the first layer.
    """

    def __init__(self, network: VelocityNetwork, features: Tensor) -> None:
        self._network = network
        self._features = features

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Return the velocity ``[..., A]`` at ``x`` ``[..., A]`` and ``time``, one a point or one that broadcasts."""
        network = self._network
        embedding = embed_time(time, network.frequencies)
        if time.shape == x.shape[:-1]:  # each point has a time of its own
            weight = _like(network.draw_weight, x)
            hidden = functional.linear(torch.cat((x, embedding), dim=-1), weight) + self._features
        else:
            point, moment = network.first_layer(x)
            hidden = functional.linear(x, point) + (self._features + functional.linear(embedding, moment))
        in_place = not torch.is_grad_enabled()
        for weight, bias in network.layers(x):
            hidden = functional.linear(functional.silu(hidden, inplace=in_place), weight, bias)
        return hidden.mul_(network.output_scale) if in_place else hidden * network.output_scale

    def schedule(self, times: tuple[float, ...], like: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """Return the field of points ``[B, A]``, such as ``like``, at each of ``times``: all else is done here.

        A sampler takes many small steps, so that each operation spared counts: weights are transposed and scaled once.
        """
        network = self._network
        point, moment = network.first_layer(like)
        point = point.T
        moments = functional.linear(_embeddings(times, network.frequencies, like.dtype, like.device), moment)
        layers = [(weight.T, bias) for weight, bias in network.layers(like)]
        layers[-1] = (layers[-1][0] * network.output_scale, layers[-1][1] * network.output_scale)
        in_place = not torch.is_grad_enabled()

        def field(base: Tensor, x: Tensor) -> Tensor:
            hidden = torch.addmm(base, x, point)
            for weight, bias in layers:
                hidden = torch.addmm(bias, functional.silu(hidden, inplace=in_place), weight)
            return hidden

        if (
            len(self._features) <= _FEW_ROWS
        ):  # one call for all steps; of many rows all sums would not stay in the cache
            return [partial(field, base) for base in (self._features + moments.unsqueeze(1)).unbind(0)]
        return [partial(self._at, field, moment) for moment in moments.unbind(0)]

    def _at(self, field: Callable[[Tensor, Tensor], Tensor], moment: Tensor, x: Tensor) -> Tensor:
        return field(self._features + moment, x)


@lru_cache(maxsize=64)
def _embeddings(times: tuple[float, ...], frequencies: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the embeddings ``[K, 2F]`` of a sampler's times, which are the same at every call."""
    with torch.inference_mode(False):  # what is kept must serve training too
        return embed_time(torch.tensor(times, dtype=dtype, device=device), frequencies)


def _like(parameter: Tensor, other: Tensor) -> Tensor:
    """Return the parameter in the type of the data: exact densities are computed in float64 with the same weights."""
    return parameter if parameter.dtype == other.dtype else parameter.to(other.dtype)
