"""A pole on a cart, simulated by MuJoCo; the pole stands at angle 0. Model, reward and source: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fpo_pilot.plants.mujoco import MujocoModel


@dataclass(frozen=True)
class CartpoleBalance:
    """States: cart position x [m], angle of the pole from upright [rad], and their rates."""

    model: ClassVar[MujocoModel] = MujocoModel(Path(__file__).with_suffix(".xml"))
    states: ClassVar[tuple[str, ...]] = ("x", "angle", "v", "rate")
    actions: ClassVar[tuple[str, ...]] = ("drive",)
    output_names: ClassVar[tuple[str, ...]] = ("cosine", "sine")
    parameters: ClassVar[Mapping[str, str]] = {}
    signal_units: ClassVar[Mapping[str, str]] = {"x": "m", "angle": "rad", "v": "m/s", "rate": "rad/s", "drive": "1"}

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 4]`` after ``period`` seconds."""
        return self.model.advance(state, action, period)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return cosine and sine of the angle, ``[B, 2]``: the angle itself grows with every turn."""
        return torch.stack((state[:, 1].cos(), state[:, 1].sin()), dim=-1)
