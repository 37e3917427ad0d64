"""Cooled stirred-tank reactor with the van de Vusse reactions: A → B → C and 2 A → D.

Equations and constants: K.-U. Klatt and S. Engell, "Gain-scheduling trajectory control of a continuous stirred tank
reactor", Computers & Chemical Engineering 22, 1998, as in the CSTR example of do-mpc. See README.md beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_ZERO_CELSIUS = 273.15  # K


@dataclass(frozen=True)
class VanDeVusse:
    """Perfectly mixed reactor of constant volume with a cooling jacket of one temperature.

    States are the concentrations of A and of the product B [mol/L] and the temperatures of reactor and jacket [°C].
    A longer stay first makes more B of A and then more C of B, so that each grade of B below the best one has two
    feed rates that make it.
    """

    states: ClassVar[tuple[str, ...]] = ("CA", "CB", "T", "TK")
    actions: ClassVar[tuple[str, ...]] = ("F", "Q")
    disturbances: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[Mapping[str, str]] = {
        "feed_concentration": "mol/L",
        "feed_temperature": "degC",
        "rate_constant_b": "1/h",
        "activation_b": "K",
        "rate_constant_d": "L/mol/h",
        "activation_d": "K",
        "heat_b": "kJ/mol",
        "heat_c": "kJ/mol",
        "heat_d": "kJ/mol",
        "density": "kg/L",
        "heat_capacity": "kJ/kg/K",
        "volume": "L",
        "transfer_coefficient": "kJ/h/m**2/K",
        "jacket_area": "m**2",
        "jacket_mass": "kg",
        "jacket_capacity": "kJ/kg/K",
    }
    signal_units: ClassVar[Mapping[str, str]] = {
        "CA": "mol/L",
        "CB": "mol/L",
        "T": "degC",
        "TK": "degC",
        "F": "1/h",
        "Q": "kJ/h",
    }
    time_unit: ClassVar[str] = "h"

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the rates of change ``[B, 4]`` per hour of both concentrations and both temperatures.

        Args:
            state: ``[B, 4]``, CA and CB [mol/L], T and TK [°C].
            action: ``[B, 2]``, the feed by volume of the reactor F [1/h] and the heat to the jacket Q [kJ/h], which is
                negative as it cools.
            disturbance: ``[B, 0]``, there is none.
            parameters: ``[B, 16]`` or ``[1, 16]``, in the order and units of ``parameters``.
        """
        ca, cb, t, jacket = state.unbind(-1)
        feed, heat = action.unbind(-1)
        feed_ca, feed_t, k_b, e_b, k_d, e_d = parameters[:, :6].unbind(-1)
        heat_b, heat_c, heat_d, density, capacity, volume = parameters[:, 6:12].unbind(-1)
        coefficient, area, jacket_mass, jacket_capacity = parameters[:, 12:].unbind(-1)
        inverse = 1.0 / (t + _ZERO_CELSIUS)  # 1/K
        k1 = k_b * torch.exp(-e_b * inverse)  # 1/h, of A → B and of B → C alike
        to_b, to_c = k1 * ca, k1 * cb  # mol/L/h
        to_d = k_d * torch.exp(-e_d * inverse) * ca.square()
        transfer = coefficient * area * (jacket - t)  # kJ/h from the jacket to the reactor
        reaction = heat_b * to_b + heat_c * to_c + heat_d * to_d  # kJ/L/h, negative as heat is given
        capacity_by_volume = density * capacity  # kJ/L/K
        ca_rate = feed * (feed_ca - ca) - to_b - to_d
        cb_rate = to_b - to_c - feed * cb
        t_rate = feed * (feed_t - t) + (transfer / volume - reaction) / capacity_by_volume
        jacket_rate = (heat - transfer) / (jacket_mass * jacket_capacity)
        return torch.stack((ca_rate, cb_rate, t_rate, jacket_rate), dim=-1)
