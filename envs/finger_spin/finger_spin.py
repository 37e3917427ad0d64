"""A two-link finger that is to spin a body on a hinge, simulated by MuJoCo. Model, reward and source: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fpo_pilot.plants.mujoco import MujocoModel

TIP_RADIUS = 0.13
"""Distance in m of the marked tip of the body from its hinge."""
SPINNING = -15.0
"""The body spins where it turns at this rate [rad/s] or faster in this direction."""


@dataclass(frozen=True)
class FingerSpin:
    """States: angles of the two joints and of the hinge [rad], their rates, and the forces on the two touch pads [N].

    Only MuJoCo knows a contact force, so the readings of the last time step are columns of the state; the next state
    does not depend on them.
    """

    model: ClassVar[MujocoModel] = MujocoModel(Path(__file__).with_suffix(".xml"))
    states: ClassVar[tuple[str, ...]] = (
        *("proximal", "distal", "hinge", "proximal_rate", "distal_rate", "hinge_rate"),
        *("touch_top", "touch_bottom"),
    )
    actions: ClassVar[tuple[str, ...]] = ("proximal_drive", "distal_drive")
    output_names: ClassVar[tuple[str, ...]] = ("tip_x", "tip_z", "contact_top", "contact_bottom", "spinning")
    parameters: ClassVar[Mapping[str, str]] = {}
    signal_units: ClassVar[Mapping[str, str]] = (
        dict.fromkeys(states[:3], "rad") | dict.fromkeys(states[3:6], "rad/s") | {"tip_x": "m", "tip_z": "m"}
    )

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 8]`` after ``period`` seconds."""
        return self.model.advance(state, action, period)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return ``[B, 5]``: tip of the body from its hinge [m], touch as log(1 + force / 1 N), 1 where it spins."""
        hinge, rate = state[:, 2], state[:, 5]
        tip = (-TIP_RADIUS * hinge.sin(), TIP_RADIUS * hinge.cos())
        touch = state[:, 6:].log1p().unbind(-1)
        return torch.stack((*tip, *touch, (rate <= SPINNING).to(state.dtype)), dim=-1)
