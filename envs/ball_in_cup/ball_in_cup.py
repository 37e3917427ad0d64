"""A ball on a string that is to be caught in a cup, simulated by MuJoCo. Model, reward and source: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from fpo_pilot.plants.mujoco import MujocoModel

CUP_HEIGHT, BALL_HEIGHT = 0.6, 0.2
"""Heights in m of cup and ball where their coordinates are zero."""
INSIDE_BELOW = 0.05
"""The inside of the cup is centred this far below its rim, in m."""
REACH = 0.05 - 0.025
"""Half the width of the inside less the radius of the ball, in m."""


@dataclass(frozen=True)
class BallInCup:
    """States: displacements of cup and ball, across and up [m], and their speeds."""

    model: ClassVar[MujocoModel] = MujocoModel(Path(__file__).with_suffix(".xml"))
    states: ClassVar[tuple[str, ...]] = (
        *("cup_x", "cup_z", "ball_x", "ball_z"),
        *("cup_v_x", "cup_v_z", "ball_v_x", "ball_v_z"),
    )
    actions: ClassVar[tuple[str, ...]] = ("push_x", "push_z")
    output_names: ClassVar[tuple[str, ...]] = ("caught",)
    parameters: ClassVar[Mapping[str, str]] = {}
    signal_units: ClassVar[Mapping[str, str]] = dict.fromkeys(states[:4], "m") | dict.fromkeys(states[4:], "m/s")

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 8]`` after ``period`` seconds."""
        return self.model.advance(state, action, period)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return ``[B, 1]``: 1 where the whole ball is within the box that the cup encloses, else 0."""
        cup_x, cup_z, ball_x, ball_z = state[:, :4].unbind(-1)
        across = ball_x - cup_x
        up = ball_z + BALL_HEIGHT - (cup_z + CUP_HEIGHT - INSIDE_BELOW)
        return ((across.abs() < REACH) & (up.abs() < REACH)).to(state.dtype).unsqueeze(-1)
