"""Exothermic stirred-tank reactor that has to cross an unstable region from one grade to another.

Equations and constants: the CSTR of MathWorks' examples of gain-scheduled and adaptive model predictive control, which
Microsoft's Bonsai chemical-processing sample took over. See README.md beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradeCstr:
    """Perfectly mixed reactor of constant volume; states are the concentration left [kmol/m³] and temperature [K].

    Between the grade of low and the one of high conversion every steady state is unstable: the reactor stays there only
    while someone steers.
    """

    states: ClassVar[tuple[str, ...]] = ("C", "T")
    actions: ClassVar[tuple[str, ...]] = ("Tc",)
    disturbances: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[Mapping[str, str]] = {
        "flow": "m**3/h",
        "volume": "m**3",
        "rate_constant": "1/h",
        "activation_energy": "kcal/kmol",
        "gas_constant": "kcal/kmol/K",
        "heat_of_reaction": "kcal/kmol",
        "capacity": "kcal/m**3/K",
        "heat_transfer": "kcal/K/h",
        "feed_concentration": "kmol/m**3",
        "feed_temperature": "K",
    }
    signal_units: ClassVar[Mapping[str, str]] = {"C": "kmol/m**3", "T": "K", "Tc": "K"}
    time_unit: ClassVar[str] = "h"

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the rates of change ``[B, 2]`` per hour of concentration and temperature.

        Args:
            state: ``[B, 2]``, C [kmol/m³] and T [K].
            action: ``[B, 1]``, the coolant temperature Tc [K].
            disturbance: ``[B, 0]``, there is none.
            parameters: ``[B, 10]`` or ``[1, 10]``, in the order and units of ``parameters``.
        """
        c, t = state.unbind(-1)
        flow, volume, constant, energy, gas, heat, capacity, transfer, feed_c, feed_t = parameters.unbind(-1)
        dilution = flow / volume  # 1/h
        rate = constant * torch.exp(-energy / (gas * t)) * c  # kmol/m³/h
        cooling = transfer / (capacity * volume) * (t - action[..., 0])  # K/h
        c_rate = dilution * (feed_c - c) - rate
        t_rate = dilution * (feed_t - t) - heat / capacity * rate - cooling
        return torch.stack((c_rate, t_rate), dim=-1)
