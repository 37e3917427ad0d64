"""One plant as a Gymnasium environment: a simulation with a single copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.picture import Picture
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.plants.transition import Transition
from fpo_pilot.specs.evaluation import Scenario

Array = npt.NDArray[np.float32]


class PlantEnv(gymnasium.Env[Array, Array]):
    """One plant; actions in [−1, 1] are mapped to the limits of the safety spec, and clipped there.

    ``terminated`` is a trip or the declared end of the task; the horizon is ``truncated``. ``info`` of a step is made
    anew each time: ``reward_terms``, ``margins`` (positive is safe), ``kpi``, ``cost`` (1 for a violated hard limit),
    ``tripped``, and ``applied``, the action in engineering units that the actuators took.

    Args:
        plant: a plant, or its name or path.
        scenario: start, parameters, faults and disturbances that differ from plant.yaml.
        render_mode: "rgb_array" for pictures by :meth:`render`, of plants that MuJoCo simulates.

    Raises:
        PlantError: pictures are asked for of a plant that has none.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # declared like this by Gymnasium

    def __init__(
        self, plant: Plant | str | Path, *, scenario: Scenario | None = None, render_mode: str | None = None
    ) -> None:
        self.plant = plant if isinstance(plant, Plant) else load_plant(plant)
        if render_mode not in {None, "rgb_array"}:
            raise PlantError(
                f"plant {self.plant.name}: found render_mode {render_mode!r}, expected 'rgb_array' or None. Correct it."
            )
        self.render_mode = render_mode
        self._picture = None if render_mode is None else Picture(self.plant)
        # not every plant has pictures, and not every machine can draw: this one promises those that were asked for
        modes = [] if render_mode is None else [render_mode]
        self.metadata = {"render_modes": modes, "render_fps": max(1, round(1.0 / self.plant.period))}
        self.simulation = Simulation(self.plant, 1, scenario=scenario, autoreset=False)
        self.observation_space, self.action_space = spaces(self.simulation)
        self._is_seeded = False

    @property
    def prediction(self) -> Prediction:
        """The model by which a shield looks ahead."""
        return Prediction(self.plant)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode; a ``seed`` seeds the simulation, and without one the random stream goes on."""
        super().reset(seed=seed)
        if seed is not None or not self._is_seeded:
            self.simulation.seed(int(self.np_random.integers(2**62)))
            self._is_seeded = True
        return self.simulation.reset()[0].numpy().copy(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply an action for one period."""
        proposal = torch.as_tensor(np.asarray(action, dtype=np.float64)).reshape(1, -1).clamp(-1.0, 1.0)
        transition = self.simulation.step(self.plant.to_engineering(proposal))
        info: dict[str, Any] = {
            key: {name: value.item() for name, value in entry.items()} if isinstance(entry, dict) else entry[0]
            for key, entry in step_info(transition).items()
        }
        return (
            transition.observation[0].numpy().copy(),
            float(transition.reward[0]),
            bool(transition.terminated[0]),
            bool(transition.truncated[0]),
            info,
        )

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Return a picture ``[240, 320, 3]`` of the plant as it stands; None without a ``render_mode``.

        Raises:
            PlantError: there is nothing to draw with on this machine; the message says what to install and to set.
        """
        return None if self._picture is None else self._picture.draw(self.simulation.state)

    def close(self) -> None:
        """Give back what draws."""
        if self._picture is not None:
            self._picture.close()


def spaces(simulation: Simulation) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
    """Return the observation and action space of one copy."""
    low, high = (np.asarray(bound, dtype=np.float32) for bound in simulation.observation_bounds)
    size = (simulation.action_size,)
    return gymnasium.spaces.Box(low, high, dtype=np.float32), gymnasium.spaces.Box(-1.0, 1.0, size, np.float32)


def step_info(transition: Transition) -> dict[str, Any]:
    """Return what a step tells beside observation and reward, as fresh arrays ``[B]`` and ``[B, A]``."""
    return {
        "reward_terms": {name: value.cpu().numpy().copy() for name, value in transition.terms.items()},
        "margins": {name: value.cpu().numpy().copy() for name, value in transition.margins.items()},
        "kpi": {name: value.cpu().numpy().copy() for name, value in transition.kpi.items()},
        "cost": transition.cost.cpu().numpy().copy(),
        "tripped": transition.tripped.cpu().numpy().copy(),
        "applied": transition.applied.cpu().numpy().copy(),
    }
