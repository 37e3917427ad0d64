"""Thousands of copies of a plant as one Gymnasium vector environment: torch inside, numpy outside, no loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.env import spaces, step_info
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.evaluation import Scenario

Array = npt.NDArray[Any]


class PlantVectorEnv(gymnasium.vector.VectorEnv[Array, Array, Array]):
    """B copies of one plant, reset in the step in which their episode ends (``AutoresetMode.SAME_STEP``).

    Where an episode ends, the observation is the first of the new one; the true last observation is in
    ``infos["final_obs"]`` and what the step told in ``infos["final_info"]``, as in Gymnasium's own vector
    environments. Bootstrap from ``final_obs`` at a truncation, not at a termination.

    Args:
        num_envs: number of copies.
        plant: a plant, or its name or path.
        scenario: start, parameters, faults and disturbances that differ from plant.yaml.
        device: where the simulation runs.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        plant: Plant | str | Path,
        *,
        scenario: Scenario | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.num_envs = num_envs
        self.plant = plant if isinstance(plant, Plant) else load_plant(plant)
        self.simulation = Simulation(self.plant, num_envs, scenario=scenario, device=device)
        self.single_observation_space, self.single_action_space = spaces(self.simulation)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._is_seeded = False

    @property
    def prediction(self) -> Prediction:
        """The model by which a shield looks ahead."""
        return Prediction(self.plant)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begin new episodes: everywhere, or where ``options["reset_mask"]`` is true.

        Args:
            seed: of the one generator of the simulation. A sequence, one a copy, is mixed to one seed.
            options: ``reset_mask``, a numpy array of B truth values.
        """
        number = _mixed(seed)
        super().reset(seed=number)
        if number is not None or not self._is_seeded:
            self.simulation.seed(int(self.np_random.integers(2**62)))
            self._is_seeded = True
        mask = None if options is None or "reset_mask" not in options else self._mask(options.pop("reset_mask"))
        return self.simulation.reset(mask).cpu().numpy().copy(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Apply actions ``[B, A]`` in [−1, 1] for one period."""
        given = torch.as_tensor(np.asarray(actions, dtype=np.float64), device=self.simulation.device)
        if given.shape != (self.num_envs, self.simulation.action_size):
            raise PlantError(
                f"plant {self.plant.name}: the actions have shape {tuple(given.shape)}, expected "
                f"{(self.num_envs, self.simulation.action_size)}. Give one row for each copy."
            )
        transition = self.simulation.step(self.plant.to_engineering(given.clamp(-1.0, 1.0)))
        terminated, truncated = transition.terminated.cpu().numpy().copy(), transition.truncated.cpu().numpy().copy()
        done = terminated | truncated
        told = step_info(transition)
        infos = _masked(told, ~done)
        if done.any():
            final = np.full(self.num_envs, None, dtype=object)
            rows = transition.final_observation.cpu().numpy().copy()[done]
            final[done] = np.fromiter(rows, dtype=object, count=len(rows))
            infos |= {"final_obs": final, "_final_obs": done.copy()}
            infos |= {"final_info": _masked(told, done), "_final_info": done.copy()}
        observation = transition.observation.cpu().numpy().copy()
        return observation, transition.reward.cpu().numpy().astype(np.float64), terminated, truncated, infos

    def _mask(self, mask: object) -> torch.Tensor:
        if (
            not isinstance(mask, np.ndarray)
            or mask.shape != (self.num_envs,)
            or mask.dtype != np.bool_
            or not mask.any()
        ):
            shape, dtype = getattr(mask, "shape", "()"), getattr(mask, "dtype", "none")
            found = f"{type(mask).__name__} of shape {shape} and type {dtype}"
            raise PlantError(
                f"options['reset_mask']: found {found}, expected a numpy array of {self.num_envs} truth "
                "values, at least one of "
                "them true. Build it with np.array([...], dtype=np.bool_)."
            )
        return torch.as_tensor(mask, device=self.simulation.device)


def _masked(told: dict[str, Any], mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Pair every array with its mask ``_key``, and blank it outside the mask, as Gymnasium's vector environments do."""
    infos: dict[str, Any] = {}
    for key, value in told.items():
        if isinstance(value, dict):
            infos[key] = _masked(value, mask)
        else:
            where = mask.reshape((-1,) + (1,) * (value.ndim - 1))
            infos[key] = np.where(where, value, np.zeros((), dtype=value.dtype))
        infos[f"_{key}"] = mask.copy()
    return infos


def _mixed(seed: int | Sequence[int | None] | None) -> int | None:
    """Turn a seed a copy into one seed."""
    if seed is None or isinstance(seed, int | np.integer):
        return None if seed is None else int(seed)
    numbers = [number for number in seed if number is not None]
    return int(np.random.SeedSequence(numbers).generate_state(1)[0]) if numbers else None
