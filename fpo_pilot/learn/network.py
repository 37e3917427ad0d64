"""The plain multilayer perceptron of critics and Gaussian policies."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class Perceptron(nn.Module):
    """SiLU units; ``[..., inputs] -> [..., outputs]``.

    Args:
        inputs: size of the input.
        outputs: size of the output.
        width: units of a hidden layer.
        depth: hidden layers, at least 1.
        generator: of the initial weights.
    """

    def __init__(
        self, inputs: int, outputs: int, *, width: int, depth: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth]
        self.hidden = nn.ModuleList(make_linear(a, b, generator) for a, b in pairwise(sizes))
        self.last = make_linear(width, outputs, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[..., outputs]``."""
        for layer in self.hidden:
            x = functional.silu(layer(x))
        return self.last(x)  # type: ignore[no-any-return]


def make_linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """Make a layer with LeCun-uniform weights (variance 1/inputs) and zero bias, drawn from ``generator``."""
    layer = nn.Linear(inputs, outputs, device="meta")  # its own initial weights would draw from the global generator
    bound = math.sqrt(3.0 / inputs)
    weight = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(outputs))
    return layer
