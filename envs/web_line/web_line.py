"""A web of film over four driven rollers: three spans under tension, and a speed that all rollers share.

Equations: the textbook model of web tension (J. J. Shelton; P. R. Pagilla), with numbers of our own. See README.md beside
this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_ROLLERS = (1, 2, 3, 4)
_SPANS = (1, 2, 3)


@dataclass(frozen=True)
class WebLine:
    """Speeds of four rollers [m/s], tensions of the three spans between them [N], and the angle of the first [rad].

    A web carries the tension of a span on into the next one, and a stiff web turns a difference of speed of a
    thousandth into a tension that tears it.
    """

    states: ClassVar[tuple[str, ...]] = (*(f"v{i}" for i in _ROLLERS), *(f"T{i}" for i in _SPANS), "angle")
    actions: ClassVar[tuple[str, ...]] = tuple(f"u{i}" for i in _ROLLERS)
    disturbances: ClassVar[tuple[str, ...]] = ("eccentricity",)
    parameters: ClassVar[Mapping[str, str]] = {
        "stiffness": "N",
        **{f"length_{i}": "m" for i in _SPANS},
        **{f"inertia_{i}": "kg*m**2" for i in _ROLLERS},
        **{f"radius_{i}": "m" for i in _ROLLERS},
        **{f"friction_{i}": "N*m*s/rad" for i in _ROLLERS},
        **{f"torque_{i}": "N*m" for i in _ROLLERS},
    }
    signal_units: ClassVar[Mapping[str, str]] = {
        **{f"v{i}": "m/s" for i in _ROLLERS},
        **{f"T{i}": "N" for i in _SPANS},
        "angle": "rad",
        **{f"u{i}": "1" for i in _ROLLERS},
        "eccentricity": "N",
    }
    time_unit: ClassVar[str] = "s"

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the rates of change ``[B, 8]`` per second of speeds, tensions and the angle.

        Args:
            state: ``[B, 8]``.
            action: ``[B, 4]``, share of each drive's torque, −1 to 1.
            disturbance: ``[B, 1]``, the tension [N] by which an unwind roll that is out of round pulls, once a turn.
            parameters: ``[B, 20]`` or ``[1, 20]``, in the order and units of ``parameters``.
        """
        speed, tension, angle = state[:, 0:4], state[:, 4:7], state[:, 7:8]
        stiffness, length, inertia = parameters[:, 0:1], parameters[:, 1:4], parameters[:, 4:8]
        radius, friction, torque = parameters[:, 8:12], parameters[:, 12:16], parameters[:, 16:20]
        before = torch.cat((disturbance * angle.sin(), tension), dim=-1)  # of each roller; the first is the unwind
        after = torch.cat((tension, torch.zeros_like(angle)), dim=-1)  # the rewind pulls on nothing
        pull = (after - before) * radius + torque * action - friction * speed / radius  # N m
        # a span is stretched by the speeds at its ends, and takes in what the span before it was stretched to
        carried = before[:, :3] * speed[:, :3] - tension * speed[:, 1:]
        tension_rate = (stiffness * (speed[:, 1:] - speed[:, :-1]) + carried) / length
        return torch.cat((radius / inertia * pull, tension_rate, speed[:, :1] / radius[:, :1]), dim=-1)
