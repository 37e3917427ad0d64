"""Electric furnace with three zones in a row: walls heat the load by radiation, and neighbours heat each other.

Designed here: the standard lumped model of radiation and conduction, with numbers of our own. See README.md beside this
file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_STEFAN_BOLTZMANN = 5.670374e-8  # W/m²/K⁴
_ZONES = (1, 2, 3)


@dataclass(frozen=True)
class ZoneFurnace:
    """Temperatures [K] of three wall zones, of the load in each, and of the thermocouples on the load.

    Radiation grows with the fourth power of temperature: the hot furnace answers twice as fast as the warm one. A
    thermocouple follows its zone of the load with a lag, and with an error that nobody knows.
    """

    states: ClassVar[tuple[str, ...]] = tuple(f"{kind}{i}" for kind in ("Tw", "Tl", "TI") for i in _ZONES)
    actions: ClassVar[tuple[str, ...]] = ("u1", "u2", "u3")
    disturbances: ClassVar[tuple[str, ...]] = ("door",)
    output_names: ClassVar[tuple[str, ...]] = ("spread", "ramp")
    parameters: ClassVar[Mapping[str, str]] = {
        "wall_capacity": "J/K",
        "load_capacity": "J/K",
        "radiating_area": "m**2",
        "convection": "W/K",
        "wall_bridge": "W/K",
        "load_bridge": "W/K",
        "loss_1": "W/K",
        "loss_2": "W/K",
        "loss_3": "W/K",
        "ambient": "K",
        "power": "W",
        "thermocouple_lag": "s",
        "bias_1": "delta_degC",
        "bias_2": "delta_degC",
        "bias_3": "delta_degC",
        "door_factor": "1",
    }
    signal_units: ClassVar[Mapping[str, str]] = {
        **{f"{kind}{i}": "K" for kind in ("Tw", "Tl", "TI") for i in _ZONES},
        **{f"u{i}": "1" for i in _ZONES},
        "spread": "K",
        "ramp": "K/min",
    }
    time_unit: ClassVar[str] = "s"

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the rates of change ``[B, 9]`` [K/s] of walls, load and thermocouples.

        Args:
            state: ``[B, 9]`` [K].
            action: ``[B, 3]``, share of each zone's power.
            disturbance: ``[B, 1]``, how far the door is open, 0 to 1; the losses rise to ``door_factor`` times.
            parameters: ``[B, 16]`` or ``[1, 16]``, in the order and units of ``parameters``.
        """
        wall, load, reading = state[:, 0:3], state[:, 3:6], state[:, 6:9]
        capacity, bridge, loss = parameters[:, 0:1], parameters[:, 4:5], parameters[:, 6:9]
        ambient, power, lag = parameters[:, 9:10], parameters[:, 10:11], parameters[:, 11:12]
        bias, door_factor = parameters[:, 12:15], parameters[:, 15:16]
        opened = 1.0 + (door_factor - 1.0) * disturbance
        losses = loss * opened * (wall - ambient)
        wall_rate = (power * action - _exchange(wall, load, parameters) - losses + bridge * _bridged(wall)) / capacity
        return torch.cat((wall_rate, _load_rate(wall, load, parameters), (load + bias - reading) / lag), dim=-1)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return ``[B, 2]`` the spread of the load [K], and the fastest heating of a zone of it [K/min]."""
        wall, load = state[:, 0:3], state[:, 3:6]
        spread = load.amax(dim=-1) - load.amin(dim=-1)
        return torch.stack((spread, 60.0 * _load_rate(wall, load, parameters).amax(dim=-1)), dim=-1)


def _exchange(wall: Tensor, load: Tensor, parameters: Tensor) -> Tensor:
    """Return the heat from each wall to its load ``[B, 3]`` [W], by radiation and by the furnace gas."""
    area, convection = parameters[:, 2:3], parameters[:, 3:4]
    radiated = _STEFAN_BOLTZMANN * area * (wall.square().square() - load.square().square())
    return radiated + convection * (wall - load)


def _load_rate(wall: Tensor, load: Tensor, parameters: Tensor) -> Tensor:
    """Return the heating of the load ``[B, 3]`` [K/s]."""
    capacity, bridge = parameters[:, 1:2], parameters[:, 5:6]
    return (_exchange(wall, load, parameters) + bridge * _bridged(load)) / capacity


def _bridged(temperature: Tensor) -> Tensor:
    """Return the sum of the differences to the neighbours ``[B, 3]`` [K]; the ends have one neighbour."""
    step = temperature[:, 1:] - temperature[:, :-1]
    return torch.cat((step[:, :1], step[:, 1:] - step[:, :1], -step[:, 1:]), dim=-1)
