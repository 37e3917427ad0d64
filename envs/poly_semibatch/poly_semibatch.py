"""Semi-batch polymerisation: a monomer is dosed into a stirred vessel with a jacket and an external heat exchanger.

Equations and constants: S. Lucia, T. Finkler and S. Engell, "Multi-stage nonlinear model predictive control applied to a
semi-batch polymerization reactor under uncertainty", Journal of Process Control 23, 2013, as in the example of do-mpc.
See README.md beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_TEMPERATURES = ("TR", "TS", "TM", "TEK", "TAWT")


@dataclass(frozen=True)
class SemiBatch:
    """Masses of water, monomer and polymer, and five temperatures from the contents to the exchanger's coolant.

    Monomer that has been dosed and has not reacted is heat that is still to come: ``Tad`` is the temperature that the
    contents would reach if all of it reacted at once and every cooling failed.
    """

    states: ClassVar[tuple[str, ...]] = ("mW", "mA", "mP", *_TEMPERATURES, "acc")
    actions: ClassVar[tuple[str, ...]] = ("mF", "TinM", "TinEK")
    disturbances: ClassVar[tuple[str, ...]] = ()
    output_names: ClassVar[tuple[str, ...]] = ("Tad",)
    parameters: ClassVar[Mapping[str, str]] = {
        "gas_constant": "kJ/kmol/K",
        "feed_temperature": "K",
        "activation_energy": "kJ/kmol",
        "heat_of_reaction": "kJ/kg",
        "wall_area": "m**2",
        "rate_constant": "1/h",
        "conversion_high": "1",
        "conversion_low": "1",
        "water_share": "1",
        "monomer_share": "1",
        "jacket_mass": "kg",
        "jacket_flow": "kg/h",
        "coolant_mass": "kg",
        "coolant_flow": "kg/h",
        "exchanger_mass": "kg",
        "exchanger_flow": "kg/h",
        "steel_mass": "kg",
        "capacity_water": "kJ/kg/K",
        "capacity_steel": "kJ/kg/K",
        "capacity_feed": "kJ/kg/K",
        "capacity_contents": "kJ/kg/K",
        "wall_water": "kJ/h/m**2/K",
        "wall_monomer": "kJ/h/m**2/K",
        "wall_polymer": "kJ/h/m**2/K",
        "exchanger_transfer": "kJ/h/K",
        "recipe": "kg",
    }
    signal_units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("mW", "mA", "mP", "acc"), "kg"),
        **dict.fromkeys((*_TEMPERATURES, "TinM", "TinEK", "Tad"), "K"),
        "mF": "kg/h",
    }
    time_unit: ClassVar[str] = "h"

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the rates of change ``[B, 9]`` per hour of four masses and five temperatures.

        Args:
            state: ``[B, 9]``; water, monomer and polymer [kg], contents, steel, jacket, exchanger and its coolant [K],
                and what has been dosed in all [kg].
            action: ``[B, 3]``; feed [kg/h], inlet temperatures of jacket and exchanger coolant [K].
            disturbance: ``[B, 0]``, there is none.
            parameters: ``[B, 26]`` or ``[1, 26]``, in the order and units of ``parameters``.
        """
        water, monomer, polymer, contents, steel, jacket, exchanger, coolant, dosed = state.unbind(-1)
        asked, jacket_inlet, coolant_inlet = action.unbind(-1)
        feed = asked * (dosed < parameters[:, 25])  # the batch counter shuts the dosing valve when the recipe is in
        _, feed_t, _, heat, area, _, _, _, water_share, monomer_share = parameters[:, :10].unbind(-1)
        m_jacket, f_jacket, m_coolant, f_coolant, m_loop, f_loop, m_steel = parameters[:, 10:17].unbind(-1)
        c_water, c_steel, c_feed, c, wall_water, wall_monomer, wall_polymer, transfer = parameters[:, 17:25].unbind(-1)
        mass = water + monomer + polymer
        inside, outside = self._reaction(state, parameters)  # kg/h in the vessel and in the exchanger
        wall = (water * wall_water + monomer * wall_monomer + polymer * wall_polymer) / mass * area  # kJ/h/K
        to_steel, to_jacket = wall * (contents - steel), wall * (steel - jacket)  # kJ/h
        to_loop, to_coolant = f_loop * c * (contents - exchanger), transfer * (exchanger - coolant)
        fed = feed * c_feed * (feed_t - contents)
        return torch.stack(
            (
                feed * water_share,
                feed * monomer_share - inside - outside,
                inside + outside,
                (fed - to_steel - to_loop + heat * inside) / (c * mass),
                (to_steel - to_jacket) / (c_steel * m_steel),
                (f_jacket * c_water * (jacket_inlet - jacket) + to_jacket) / (c_water * m_jacket),
                (to_loop - to_coolant + heat * outside) / (c * m_loop),
                (f_coolant * c_water * (coolant_inlet - coolant) + to_coolant) / (c_water * m_coolant),
                feed,
            ),
            dim=-1,
        )

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the adiabatic temperature ``[B, 1]`` [K]: all monomer in the vessel reacted, nothing cooled."""
        heat, capacity = parameters[:, 3], parameters[:, 20]
        mass = state[:, :3].sum(dim=-1)
        return (state[:, 1] * heat / (mass * capacity) + state[:, 3]).unsqueeze(-1)

    def _reaction(self, state: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return what reacts in the vessel and in the exchanger's loop [kg/h], ``[B]`` each."""
        water, monomer, polymer = state[:, :3].unbind(-1)
        gas, _, activation, _, _, constant, at_high, at_low = parameters[:, :8].unbind(-1)
        loop = parameters[:, 14] / (water + monomer + polymer)  # share of the contents that is in the loop
        conversion = polymer / (monomer + polymer)
        base = constant * (at_low * (1.0 - conversion) + at_high * conversion)  # 1/h
        vessel, exchanger = (base * torch.exp(-activation / (gas * t)) for t in (state[:, 3], state[:, 6]))
        return vessel * monomer * (1.0 - loop), exchanger * monomer * loop
