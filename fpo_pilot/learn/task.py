"""What a training is of: a plant behind its shield, or an environment of Gymnasium."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

from fpo_pilot.learn.gym_loop import GymLoop
from fpo_pilot.learn.interaction import Interaction, Loop
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields.verdict import Shield
from fpo_pilot.specs.load import GYM
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec


class Task(Protocol):
    """Makes the environments of a training, and says what they are."""

    @property
    def name(self) -> str:
        """Name in the manifest and in commands."""

    @property
    def plant_spec(self) -> PlantSpec | None:
        """Of a plant."""

    @property
    def safety_spec(self) -> SafetySpec | None:
        """Of a plant that has one."""

    def loop(self, num_envs: int, *, seed: int, device: str, correction_penalty: float = 0.0) -> Interaction:
        """Make a batch of environments, with a shield of its own."""


@dataclass(frozen=True)
class PlantTask:
    """A plant with the shield that stands before it."""

    plant: Plant
    shield: Shield | None = None

    @property
    def name(self) -> str:
        """Id of the plant."""
        return self.plant.name

    @property
    def plant_spec(self) -> PlantSpec | None:
        """Its spec."""
        return self.plant.spec

    @property
    def safety_spec(self) -> SafetySpec | None:
        """Its safety spec."""
        return self.plant.safety

    def loop(self, num_envs: int, *, seed: int, device: str, correction_penalty: float = 0.0) -> Interaction:
        """Make a batch of plants; a shield keeps one memory a row, so each batch has its own."""
        simulation = Simulation(self.plant, num_envs, seed=seed, device=device)
        return Loop(simulation, copy.deepcopy(self.shield), correction_penalty=correction_penalty)


@dataclass(frozen=True)
class GymTask:
    """An environment of Gymnasium."""

    env_id: str

    @property
    def name(self) -> str:
        """``gym:`` and the id."""
        return f"{GYM}{self.env_id}"

    @property
    def plant_spec(self) -> PlantSpec | None:
        """None: it has no spec."""
        return None

    @property
    def safety_spec(self) -> SafetySpec | None:
        """None: nothing is declared that must not happen."""
        return None

    def loop(self, num_envs: int, *, seed: int, device: str, correction_penalty: float = 0.0) -> Interaction:
        """Make a batch of environments; they step on the CPU, whatever the device."""
        return GymLoop(self.env_id, num_envs, seed=seed)
