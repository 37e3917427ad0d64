"""Any Gymnasium environment with continuous control, in the place of a plant: for published tasks, never for a plant.

There is no shield here: an environment has no safety spec. Actions are cut to the limits of its action space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from fpo_pilot.errors import TrainingError
from fpo_pilot.learn.interaction import Seen
from fpo_pilot.learn.mirror import Mirror


class GymLoop:
    """B copies of a Gymnasium environment, stepped one after the other on the CPU.

    Args:
        env_id: registered with Gymnasium, such as ``Pendulum-v1``.
        num_envs: B.
        seed: of the first reset.

    Raises:
        TrainingError: there is no such environment, or its spaces are not boxes.
    """

    def __init__(self, env_id: str, num_envs: int, *, seed: int) -> None:
        try:
            # A vector entry point of its own would not tell the true last observation in the way that is read here.
            self._envs = gymnasium.make_vec(
                env_id,
                num_envs=num_envs,
                vectorization_mode="sync",
                vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP},
            )
        except (gymnasium.error.Error, ImportError) as problem:
            raise TrainingError(
                f"--gym: found {env_id!r}, expected an environment that Gymnasium can make ({problem}). "
                "Correct the name, or install what the environment needs."
            ) from problem
        box, seen = self._envs.single_action_space, self._envs.single_observation_space
        if (
            not isinstance(box, gymnasium.spaces.Box)
            or not isinstance(seen, gymnasium.spaces.Box)
            or len(box.shape) != 1
        ):
            raise TrainingError(
                f"--gym: found {env_id!r} with spaces {seen} and {box}, expected boxes (continuous control). "
                "Choose another environment, or wrap this one."
            )
        self._low, self._high = box.low.astype(np.float64), box.high.astype(np.float64)
        if not (np.isfinite(self._low).all() and np.isfinite(self._high).all()):
            raise TrainingError(f"--gym: found {env_id!r} with unbounded actions, expected limits. Wrap it.")
        self._size = int(np.prod(seen.shape))
        spec = self._envs.spec
        self._horizon = (None if spec is None else spec.max_episode_steps) or 1000
        self._seed: int | None = seed
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, dtype=np.int64)
        self._observation = torch.zeros(num_envs, self._size)

    @property
    def num_envs(self) -> int:
        """B."""
        return self._envs.num_envs

    @property
    def observation_size(self) -> int:
        """O, the box flattened."""
        return self._size

    @property
    def action_size(self) -> int:
        """A."""
        return len(self._low)

    @property
    def horizon(self) -> int:
        """Steps after which an episode is truncated."""
        return self._horizon

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    @property
    def observation(self) -> Tensor:
        """The observation now, ``[B, O]`` float32."""
        return self._observation

    def mirror(self, signals: Sequence[str]) -> Mirror:
        """Refuse: an observation of Gymnasium has no names.

        Raises:
            TrainingError: always.
        """
        raise TrainingError(
            f"train.yaml: mirror: found {', '.join(signals)}, expected none: the observation of an environment of "
            "Gymnasium has no signals. Take `mirror` out, or train on a plant."
        )

    def seed(self, seed: int) -> None:
        """Seed the next reset."""
        self._seed = seed

    def reset(self) -> Tensor:
        """Begin new episodes everywhere; return the observation ``[B, O]``."""
        found, _ = self._envs.reset(seed=self._seed)
        self._seed = None
        self._returns[:], self._lengths[:] = 0.0, 0
        self._observation = self._tensor(found)
        return self._observation

    def incumbent_action(self) -> Tensor:
        """Refuse: nobody controls an environment of Gymnasium today."""
        raise TrainingError(
            "cloning: found an environment of Gymnasium, expected a plant with an incumbent to copy. Leave cloning out."
        )

    def step(self, action: Tensor) -> Seen:
        """Map ``action`` ``[B, A]`` from [−1, 1] to the limits, cut it there, and act."""
        if action.dim() != 2:
            raise TrainingError(
                f"candidates: found {action.shape[1]} for an environment of Gymnasium, expected 1: no shield stands before it "
                "to choose. Leave `candidates` out."
            )
        wanted = action.detach().numpy().astype(np.float64)
        cut = np.clip(wanted, -1.0, 1.0)
        scaled = self._low + (cut + 1.0) / 2.0 * (self._high - self._low)
        found, reward, terminated, truncated, info = self._envs.step(
            scaled.astype(self._envs.single_action_space.dtype)
        )
        self._observation = self._tensor(found)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        seen = Seen(
            observation=self._observation,
            final_observation=self._last(info, done),
            reward=torch.as_tensor(reward, dtype=torch.float32),
            terminated=torch.as_tensor(terminated),
            truncated=torch.as_tensor(truncated & ~terminated),
            episode_return=torch.as_tensor(self._returns.copy()),
            episode_length=torch.as_tensor(self._lengths.copy()),
            penalty=torch.zeros(self.num_envs),
            altered=torch.as_tensor((cut != wanted).any(axis=1)),
            cost=torch.zeros(self.num_envs),
        )
        self._returns[done], self._lengths[done] = 0.0, 0
        return seen

    def _last(self, info: dict[str, Any], done: np.ndarray[Any, Any]) -> Tensor:
        """Return the true next observations: before the reset where an episode ended."""
        if not done.any():
            return self._observation
        last = self._observation.clone()
        for index in np.flatnonzero(done):
            last[index] = torch.as_tensor(np.asarray(info["final_obs"][index], dtype=np.float32).reshape(-1))
        return last

    def _tensor(self, found: np.ndarray[Any, Any]) -> Tensor:
        return torch.as_tensor(found.reshape(self.num_envs, -1).astype(np.float32))

    def record(self, environments: int) -> None:
        """Record nothing: an environment of Gymnasium has no signals with units to log."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing: the state inside an environment cannot be read in general."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Begin new episodes: a run that is resumed here goes on with the same weights, but not to the bit."""
        self.reset()
