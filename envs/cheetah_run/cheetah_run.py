"""A planar runner on two legs, simulated by MuJoCo. Model, reward and source: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fpo_pilot.plants.mujoco import MujocoModel

LINKS = ("back_thigh", "back_shin", "back_foot", "front_thigh", "front_shin", "front_foot")


@dataclass(frozen=True)
class CheetahRun:
    """States: place [m] and pitch [rad] of the torso, angles of the six leg joints [rad], and all their rates."""

    model: ClassVar[MujocoModel] = MujocoModel(Path(__file__).with_suffix(".xml"))
    states: ClassVar[tuple[str, ...]] = (
        *("x", "z", "pitch", *LINKS),
        *("v_x", "v_z", "pitch_rate", *(f"{link}_rate" for link in LINKS)),
    )
    actions: ClassVar[tuple[str, ...]] = tuple(f"{link}_drive" for link in LINKS)
    output_names: ClassVar[tuple[str, ...]] = ("speed",)
    parameters: ClassVar[Mapping[str, str]] = {}
    signal_units: ClassVar[Mapping[str, str]] = {"x": "m", "z": "m", "pitch": "rad", "v_x": "m/s", "speed": "m/s"}

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 18]`` after ``period`` seconds."""
        return self.model.advance(state, action, period)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the forward speed of the centre of mass ``[B, 1]`` in m/s.

        Every link L turns at the sum of the rates of the joints above it, and moves what it carries: with the first
        moment (p, q) of its own mass and of the links that hang on it, in its frame, over the total mass, it adds
        ω_L (q cos θ_L − p sin θ_L) to the speed of the torso.
        """
        across, up = _carried(self.model, state.dtype, state.device)
        angle, rate = _of_links(state[:, 2:9]), _of_links(state[:, 11:18])
        turned = rate * (up * angle.cos() - across * angle.sin())
        return state[:, 9:10] + turned.sum(dim=1, keepdim=True)


def _of_links(joints: Tensor) -> Tensor:
    """Add up, for torso, hind leg and foreleg ``[B, 7]``, what each joint turns on top of the joints above it."""
    torso = joints[:, :1]
    return torch.cat((torso, torso + joints[:, 1:4].cumsum(dim=1), torso + joints[:, 4:7].cumsum(dim=1)), dim=1)


@cache
def _carried(model: MujocoModel, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the first moments over the total mass ``[7]`` in m, across and up, of what each link carries."""
    made = model.compiled
    bodies = range(1, made.nbody)  # 0 is the world; each further one is a link with one hinge
    across = [made.body_mass[body] * made.body_ipos[body, 0] for body in bodies]
    up = [made.body_mass[body] * made.body_ipos[body, 2] for body in bodies]
    for body in bodies:
        parent = made.body_parentid[body]
        if parent > 0:
            across[parent - 1] += made.body_subtreemass[body] * made.body_pos[body, 0]
            up[parent - 1] += made.body_subtreemass[body] * made.body_pos[body, 2]
    total = made.body_subtreemass[1]
    moments = ([value / total for value in column] for column in (across, up))
    across_row, up_row = (torch.tensor(row, dtype=dtype, device=device) for row in moments)
    return across_row, up_row
