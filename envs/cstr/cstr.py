"""Exothermic stirred-tank reactor with a cooling jacket: A → B, first order, Arrhenius rate.

Equations and constants: D. E. Seborg, T. F. Edgar, D. A. Mellichamp, F. J. Doyle, *Process Dynamics and Control*; the
same numbers as in J. Hedengren's published CSTR exercises and in pc-gym. See README.md beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cstr:
    """Perfectly mixed reactor of constant volume; the jacket temperature is what one sets.

    States are the concentration of A [mol/L] and the temperature [K]. The heat of reaction grows faster with
    temperature than the jacket can take it away, so that a hot reactor runs away: above a jacket of about 303 K there
    is no cold steady state at all.
    """

    states: ClassVar[tuple[str, ...]] = ("Ca", "T")
    actions: ClassVar[tuple[str, ...]] = ("Tc",)
    disturbances: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[Mapping[str, str]] = {
        "flow": "L/min",
        "volume": "L",
        "density": "g/L",
        "heat_capacity": "J/g/K",
        "heat_of_reaction": "J/mol",
        "activation_temperature": "K",
        "rate_constant": "1/min",
        "heat_transfer": "J/min/K",
        "feed_temperature": "K",
        "feed_concentration": "mol/L",
    }
    signal_units: ClassVar[Mapping[str, str]] = {"Ca": "mol/L", "T": "K", "Tc": "K"}
    time_unit: ClassVar[str] = "min"

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the rates of change ``[B, 2]`` per minute of concentration and temperature.

        Args:
            state: ``[B, 2]``, Ca [mol/L] and T [K].
            action: ``[B, 1]``, the jacket temperature Tc [K].
            disturbance: ``[B, 0]``, there is none.
            parameters: ``[B, 10]`` or ``[1, 10]``, in the order and units of ``parameters``.
        """
        ca, t = state.unbind(-1)
        flow, volume, density, capacity, heat, activation, constant, transfer, feed_t, feed_ca = parameters.unbind(-1)
        dilution = flow / volume  # 1/min
        capacity_by_volume = density * capacity  # J/L/K
        rate = constant * torch.exp(-activation / t) * ca  # mol/L/min
        ca_rate = dilution * (feed_ca - ca) - rate
        cooling = transfer / (capacity_by_volume * volume) * (action[..., 0] - t)
        t_rate = dilution * (feed_t - t) - heat / capacity_by_volume * rate + cooling
        return torch.stack((ca_rate, t_rate), dim=-1)
