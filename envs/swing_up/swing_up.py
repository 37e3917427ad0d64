"""Cart-pole swing-up: the trial task of the notes on flow policies, as a batched plant.

Equations: A. G. Barto, R. S. Sutton, C. W. Anderson (1983), without friction; the pole hangs at θ = π.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fpo_pilot.plants.integrator import rk4

TRACK = 1.8
"""Half the length of the track in m: a cart at its end stands still."""


@dataclass(frozen=True)
class SwingUp:
    """A pole on a cart. States: position x [m], speed v [m/s], angle from upright [rad] and its rate [rad/s]."""

    states: ClassVar[tuple[str, ...]] = ("x", "v", "angle", "rate")
    actions: ClassVar[tuple[str, ...]] = ("drive",)
    output_names: ClassVar[tuple[str, ...]] = ("cosine", "sine")
    parameters: ClassVar[Mapping[str, str]] = {
        "force": "N",
        "cart_mass": "kg",
        "pole_mass": "kg",
        "half_length": "m",
        "gravity": "m/s**2",
    }
    signal_units: ClassVar[Mapping[str, str]] = {"x": "m", "v": "m/s", "angle": "rad", "rate": "rad/s", "drive": "1"}

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 4]`` after ``period`` seconds, with one Runge-Kutta step; the track ends at ±1.8 m."""
        force, cart, pole, half, gravity = parameters.unbind(-1)
        push = force * action[..., 0]
        total = cart + pole

        def derivative(now: Tensor) -> Tensor:
            _, v, angle, rate = now.unbind(-1)
            sine, cosine = angle.sin(), angle.cos()
            pulled = (push + pole * half * rate.square() * sine) / total
            turn = (gravity * sine - cosine * pulled) / (half * (4.0 / 3.0 - pole * cosine.square() / total))
            return torch.stack((v, pulled - pole * half * turn * cosine / total, rate, turn), dim=-1)

        x, v, angle, rate = rk4(derivative, state, period).unbind(-1)
        v = torch.where(x.abs() > TRACK, torch.zeros_like(v), v)
        return torch.stack((x.clamp(-TRACK, TRACK), v, angle, rate), dim=-1)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return cosine and sine of the angle, ``[B, 2]``: an angle itself jumps where it wraps round."""
        return torch.stack((state[:, 2].cos(), state[:, 2].sin()), dim=-1)
