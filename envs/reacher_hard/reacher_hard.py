"""A two-link arm that is to reach a small target, simulated by MuJoCo. Model, reward and source: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fpo_pilot.plants.mujoco import MujocoModel

UPPER = LOWER = 0.12
"""Lengths in m from shoulder to wrist and from wrist to finger."""
NEAR = 0.015 + 0.01
"""The target is reached where finger (radius 0.01 m) and target (0.015 m) touch."""


@dataclass(frozen=True)
class ReacherHard:
    """States: angles of shoulder and wrist [rad], their rates, and where the target of the episode is.

    The target is a direction [rad] and a distance [m] from the shoulder that never change within an episode; MuJoCo
    does not know it.
    """

    model: ClassVar[MujocoModel] = MujocoModel(Path(__file__).with_suffix(".xml"))
    states: ClassVar[tuple[str, ...]] = (
        *("shoulder", "wrist", "shoulder_rate", "wrist_rate"),
        *("target_angle", "target_radius"),
    )
    actions: ClassVar[tuple[str, ...]] = ("shoulder_drive", "wrist_drive")
    output_names: ClassVar[tuple[str, ...]] = (
        *("shoulder_cosine", "shoulder_sine", "to_target_x", "to_target_y"),
        *("distance", "reached"),
    )
    parameters: ClassVar[Mapping[str, str]] = {}
    signal_units: ClassVar[Mapping[str, str]] = {
        "shoulder": "rad",
        "wrist": "rad",
        "target_radius": "m",
        "distance": "m",
    }

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 6]`` after ``period`` seconds."""
        return torch.cat((self.model.advance(state[:, :4], action, period), state[:, 4:]), dim=1)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return ``[B, 6]``: direction of the upper arm, way from finger to target [m], its length, 1 where reached."""
        shoulder, wrist, _, _, angle, radius = state.unbind(-1)
        cosine, sine = shoulder.cos(), shoulder.sin()
        x = radius * angle.sin() - UPPER * cosine - LOWER * (shoulder + wrist).cos()
        y = radius * angle.cos() - UPPER * sine - LOWER * (shoulder + wrist).sin()
        distance = torch.hypot(x, y)
        return torch.stack((cosine, sine, x, y, distance, (distance <= NEAR).to(state.dtype)), dim=-1)
