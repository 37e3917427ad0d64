"""Adam over networks whose weights lie in one vector each: clipping, stepping and averaging are then a few operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fpo_pilot.specs.training import Common

_EPSILON = 1e-5


class FlatNetwork:
    """The weights of a module, moved into one vector of which they become views; so do their gradients.

    Args:
        module: on its device already; it works as before, and must not be moved afterwards.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = list(module.parameters())
        with torch.no_grad():
            self.vector = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self.gradient = torch.zeros_like(self.vector, requires_grad=False)
        self.vector.grad = self.gradient
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.data = self.vector.detach()[start:end].view(parameter.shape)
            parameter.grad = self.gradient[start:end].view(parameter.shape)
            start = end

    def clip(self, bound: float | None) -> Tensor:
        """Scale the gradient so that its norm is at most ``bound``; return the norm before, a scalar on the device."""
        norm: Tensor = torch.linalg.vector_norm(self.gradient)
        if bound is not None:
            self.gradient.mul_((bound / (norm + 1e-6)).clamp(max=1.0))
        return norm


class Optimiser:
    """One Adam over several networks, each with a gradient clip of its own: an error of one never shortens the step of another.

    Args:
        networks: flattened.
        spec: learning rate and gradient clip.
    """

    def __init__(self, networks: Sequence[FlatNetwork], spec: Common) -> None:
        self.networks = tuple(networks)
        self.bound = spec.gradient_clip
        on_meta = self.networks[0].vector.is_meta
        self._adam = torch.optim.Adam(
            [{"params": [network.vector]} for network in self.networks],
            lr=spec.learning_rate,
            eps=_EPSILON,
            fused=not on_meta,
            foreach=on_meta,
        )

    def set_rate(self, rate: float, *, first: float | None = None) -> None:
        """Set the learning rate; of the first network, if it is to be another, ``first``."""
        for group in self._adam.param_groups:
            group["lr"] = rate
        if first is not None:
            self._adam.param_groups[0]["lr"] = first

    def step(self, loss: Tensor) -> tuple[Tensor, ...]:
        """Go one step down the gradient of ``loss``; return the gradient norm of each network before clipping."""
        for network in self.networks:
            network.gradient.zero_()
        torch.autograd.backward(loss)
        norms = tuple(network.clip(self.bound) for network in self.networks)
        self._adam.step()
        return norms

    def forget(self) -> None:
        """Drop moments and step counts, as after a jump of the weights."""
        self._adam.state.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """Return moments and step counts as tensors by ``network.name``."""
        return {
            f"{index}.{name}": value
            for index, entry in self._adam.state_dict()["state"].items()
            for name, value in entry.items()
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        self._adam.load_state_dict({"state": state, "param_groups": self._adam.state_dict()["param_groups"]})
