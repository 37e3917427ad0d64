"""A gantry that is to put a square peg into a hole that stands off to an unknown side, simulated by MuJoCo: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fpo_pilot.plants.mujoco import MujocoModel

TIP = 0.07
"""Height in m of the tip of the peg above the base where the gantry stands at z = 0."""
DEEP = 0.016
"""The peg is in where its tip is at this height [m] or below; the hole is 0.04 m deep."""
REACH = ((-0.01, 0.01), (-0.01, 0.01), (-0.055, 0.0))
"""Where the targets of the three servos may be [m]."""


@dataclass(frozen=True)
class PegCell:
    """States: bending of the fixture, gantry [m], their speeds, force at the wrist [N], targets of the servos, and the hole.

    The model has its hole in the middle. Seen from the hole, a hole that stands off is a gantry with targets that stand off
    the other way, so that one compiled model serves all environments. Only MuJoCo knows the force: the reading of the last
    time step is three columns of the state, on which the next state does not depend.
    """

    model: ClassVar[MujocoModel] = MujocoModel(Path(__file__).with_suffix(".xml"))
    states: ClassVar[tuple[str, ...]] = (
        *("fixture", "x", "y", "z", "fixture_rate", "x_rate", "y_rate", "z_rate"),
        *("wrist_x", "wrist_y", "wrist_z", "target_x", "target_y", "target_z", "hole_x", "hole_y"),
    )
    actions: ClassVar[tuple[str, ...]] = ("dx", "dy", "dz")
    output_names: ClassVar[tuple[str, ...]] = ("tip_x", "tip_y", "tip_z", "lateral", "inserted")
    parameters: ClassVar[Mapping[str, str]] = {}
    signal_units: ClassVar[Mapping[str, str]] = (
        dict.fromkeys((*states[:4], *states[11:], *actions, *output_names[:3]), "m")
        | dict.fromkeys(states[4:8], "m/s")
        | dict.fromkeys((*states[8:11], "lateral"), "N")
    )

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 16]`` after ``period`` seconds in which the targets, moved at once, are held."""
        low, high = (state.new_tensor(bound) for bound in zip(*REACH, strict=True))
        target = torch.clamp(state[:, 11:14] + action, low, high)
        aside = _aside(state)
        start = torch.cat((self.pose(state), state[:, 4:8]), dim=1)
        moved = self.model.advance(start, target - aside, period)
        return torch.cat((moved[:, :1], moved[:, 1:4] + aside, moved[:, 4:11], target, state[:, 14:]), dim=1)

    def pose(self, state: Tensor) -> Tensor:
        """Return the model's coordinates ``[B, 4]``: fixture and gantry as they are seen from the hole."""
        return torch.cat((state[:, :1], state[:, 1:4] - _aside(state)), dim=1)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return ``[B, 5]``: tip of the peg [m], horizontal force at the wrist [N], 1 where the peg is in."""
        tip_z = TIP + state[:, 3]
        lateral = torch.hypot(state[:, 8], state[:, 9])
        return torch.stack((state[:, 1], state[:, 2], tip_z, lateral, (tip_z <= DEEP).to(state.dtype)), dim=-1)


def _aside(state: Tensor) -> Tensor:
    """Return ``[B, 3]`` by how much the hole stands off [m]; it is never higher or lower."""
    return torch.nn.functional.pad(state[:, 14:], (0, 1))
