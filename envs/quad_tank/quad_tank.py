"""Four tanks, two pumps, and each pump splits its flow between a lower tank and the upper tank above the other one.

Equations: K. H. Johansson, "The quadruple-tank process: a multivariable laboratory process with an adjustable zero",
IEEE Transactions on Control Systems Technology 8(3), 2000. See README.md beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class QuadTank:
    """Levels in metres. Tanks 1 and 2 are the lower ones; tank 3 drains into 1, tank 4 into 2.

    Pump 1 feeds tanks 1 and 4, pump 2 feeds tanks 2 and 3; ``split`` is the share that goes to the lower tank. With a
    sum of the splits below 1 most water takes the way through the upper tanks, and the plant first answers the wrong
    way (a zero in the right half plane).
    """

    states: ClassVar[tuple[str, ...]] = ("h1", "h2", "h3", "h4")
    actions: ClassVar[tuple[str, ...]] = ("v1", "v2")
    disturbances: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[Mapping[str, str]] = {
        **{f"area_{i}": "m**2" for i in (1, 2, 3, 4)},
        **{f"outlet_{i}": "m**2" for i in (1, 2, 3, 4)},
        "split_1": "1",
        "split_2": "1",
        "pump_1": "m**3/s/V",
        "pump_2": "m**3/s/V",
        "gravity": "m/s**2",
    }
    signal_units: ClassVar[Mapping[str, str]] = {**dict.fromkeys(("h1", "h2", "h3", "h4"), "m"), "v1": "V", "v2": "V"}
    time_unit: ClassVar[str] = "s"

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the rates of change ``[B, 4]`` of the levels per second.

        Args:
            state: ``[B, 4]`` levels; below zero counts as empty.
            action: ``[B, 2]`` pump voltages [V].
            disturbance: ``[B, 0]``, there is none.
            parameters: ``[B, 13]`` or ``[1, 13]``, in the order and units of ``parameters``.
        """
        area, outlet = parameters[:, 0:4], parameters[:, 4:8]
        split, pump, gravity = parameters[:, 8:10], parameters[:, 10:12], parameters[:, 12:13]
        drain = outlet * torch.sqrt(2.0 * gravity * state.clamp(min=0.0))  # [B, 4] flow out of each tank
        flow = pump * action  # [B, 2] flow of each pump
        lower = split * flow  # to tanks 1 and 2
        upper = (flow - lower).flip(-1)  # pump 2 feeds tank 3, pump 1 tank 4
        inflow = torch.cat((lower + drain[:, 2:4], upper), dim=-1)
        return (inflow - drain) / area


@dataclass(frozen=True)
class QuadTankCentimetres(QuadTank):
    """The same tanks with levels in centimetres, as in Johansson's paper."""

    parameters: ClassVar[Mapping[str, str]] = {
        **{f"area_{i}": "cm**2" for i in (1, 2, 3, 4)},
        **{f"outlet_{i}": "cm**2" for i in (1, 2, 3, 4)},
        "split_1": "1",
        "split_2": "1",
        "pump_1": "cm**3/s/V",
        "pump_2": "cm**3/s/V",
        "gravity": "cm/s**2",
    }
    signal_units: ClassVar[Mapping[str, str]] = {**dict.fromkeys(("h1", "h2", "h3", "h4"), "cm"), "v1": "V", "v2": "V"}
