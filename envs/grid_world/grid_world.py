"""The square with two goals of the FPO paper, moved through in continuous steps: a saddle lies between the goals.

Idea: arXiv 2507.21053, section on the grid world; sizes and rewards here are ours (README.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class GridWorld:
    """A point in a square of side ``size`` (cells); a step moves it by the action, in cells; walls stop it.

    ``goal`` is 1 once the point is within ``radius`` of the middle of the top or the bottom edge.
    """

    states: ClassVar[tuple[str, ...]] = ("x", "y", "goal")
    actions: ClassVar[tuple[str, ...]] = ("step_x", "step_y")
    parameters: ClassVar[Mapping[str, str]] = {"size": "1", "radius": "1"}
    signal_units: ClassVar[Mapping[str, str]] = {"x": "1", "y": "1", "step_x": "1", "step_y": "1"}

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 3]`` after one step; coordinates run from −size/2 to size/2."""
        size, radius = parameters.unbind(-1)
        half = (size / 2.0).unsqueeze(-1)
        place = torch.minimum(torch.maximum(state[:, :2] + action, -half), half)
        x, y = place.unbind(-1)
        distance = (x.square() + (y.abs() - half[..., 0]).square()).sqrt()
        return torch.cat((place, (distance <= radius).to(state.dtype).unsqueeze(-1)), dim=-1)
