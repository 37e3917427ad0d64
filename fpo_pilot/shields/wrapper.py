"""Shields around any Gymnasium environment: two lines for a user of another library.

>>> env = gymnasium.make("fpo_pilot/cstr_safety-v0")
>>> env = ShieldWrapper(env)

An environment of this package tells its readings, its read-back and its safety spec, so that its own stack stands before it. Of any
other one says which shield it is, and how the readings are found in an observation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.build import build_stack
from fpo_pilot.shields.model import Dynamics
from fpo_pilot.shields.verdict import Readings, Shield, ShieldContext, Verdict
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec

Array = npt.NDArray[Any]
Measure = Callable[[Array], Array]
"""Finds the measured signals ``[B, M]``, in engineering units, in observations ``[B, O]``."""


class GuardedPlant(Protocol):
    """What is asked of the plant of an environment."""

    @property
    def spec(self) -> PlantSpec:
        """Its spec."""
        ...

    @property
    def safety(self) -> SafetySpec | None:
        """Its safety spec."""
        ...

    @property
    def period(self) -> float:
        """Seconds between two actions."""
        ...

    def to_engineering(self, normalised: Tensor) -> Tensor:
        """Map actions from [−1, 1] to the limits."""
        ...

    def to_normalised(self, action: Tensor) -> Tensor:
        """Map them back."""
        ...


@runtime_checkable
class HasPlant(Protocol):
    """An environment that knows its plant and shows what its sensors read."""

    @property
    def plant(self) -> GuardedPlant:
        """The plant."""
        ...

    @property
    def simulation(self) -> Readings:
        """Its readings now."""
        ...

    @property
    def prediction(self) -> Dynamics:
        """The model by which a shield looks ahead."""
        ...


def _require_direct(env: Any) -> None:
    """Refuse a wrapper that changes actions between the shield and a plant: something else than was judged would be applied.

    Raises:
        ShieldError: there is one.
    """
    changing = (gymnasium.ActionWrapper, gymnasium.vector.VectorActionWrapper)
    layer = env
    while layer is not env.unwrapped:
        if isinstance(layer, changing) or layer.action_space != env.unwrapped.action_space:
            raise ShieldError(
                f"ShieldWrapper: found {type(layer).__name__} between shield and plant, which changes actions, expected none. "
                "Put the shield next to the plant, and wrappers of actions around the shield."
            )
        layer = layer.env


class _Guard:
    """A shield with what it needs to know of an environment, for B rows."""

    def __init__(
        self,
        wrapped: Any,
        rows: int,
        shield: Shield | None,
        measure: Measure | None,
        start: Array | None,
        period: float,
    ) -> None:
        env = wrapped.unwrapped
        self._env, self._rows, self._measure, self._period = env, rows, measure, period
        self._space = wrapped.action_space
        self._plant: GuardedPlant | None = None
        if shield is None:
            if not isinstance(env, HasPlant) or env.plant.safety is None:
                raise ShieldError(
                    "ShieldWrapper: found an environment without a safety spec of its own, expected `shield=` and `measure=`. "
                    "Build a shield, such as a ShieldStack, and say how its readings are found in an observation."
                )
            _require_direct(wrapped)
            self._plant = env.plant
            shield = build_stack(env.plant.safety, env.plant.spec, dynamics=env.prediction)
        elif measure is None or start is None:
            raise ShieldError(
                "ShieldWrapper: found a shield without `measure=` or `start=`, expected both. "
                "Say how readings are found in an observation, and where the actuators are when an episode begins."
            )
        self.shield = shield
        self._start = None if start is None else torch.as_tensor(np.asarray(start, dtype=np.float64)).reshape(1, -1)
        self._applied: Tensor | None = None
        self._observation: Array | None = None

    def begin(self, observation: Array, mask: Array | None = None) -> None:
        """Begin new episodes, everywhere or where ``mask`` ``[B]`` is true."""
        self._observation = observation.reshape(self._rows, -1)
        chosen = None if mask is None else torch.as_tensor(mask)
        self.shield.reset(chosen)
        if self._start is not None:
            fresh = self._start.expand(self._rows, -1)
            old = fresh if self._applied is None or chosen is None else self._applied
            self._applied = fresh if chosen is None else torch.where(chosen[:, None], fresh, old)

    def judge(self, action: Array) -> tuple[Array, Verdict, Tensor]:
        """Return the action that may pass ``[B, A]``, in the units of the environment, the verdict, and the proposal."""
        given = torch.as_tensor(np.array(action, dtype=np.float64)).reshape(self._rows, -1)
        proposal = given if self._plant is None else self._plant.to_engineering(given)
        verdict = self.shield(self._context(proposal), proposal)
        self._applied = verdict.action
        sent = verdict.action if self._plant is None else self._plant.to_normalised(verdict.action)
        return self._fitting(sent.numpy()), verdict, proposal

    def _fitting(self, action: Array) -> Array:
        """Return ``action`` ``[B, A]`` in the dtype of another environment's space, which rounding must not leave."""
        if self._plant is not None or not isinstance(self._space, gymnasium.spaces.Box):
            return action
        low, high = (side.reshape(-1)[-action.shape[-1] :] for side in (self._space.low, self._space.high))
        fitting: Array = np.clip(action.astype(self._space.dtype), low, high)
        return fitting

    def seen(self, observation: Array) -> None:
        """Keep what the next decision is judged by."""
        self._observation = observation.reshape(self._rows, -1)

    def _context(self, proposal: Tensor) -> ShieldContext:
        nothing = torch.full_like(
            proposal, torch.nan
        )  # no other controller is asked: the last resort is the safe value
        if self._plant is not None:
            return ShieldContext.read(self._env.simulation, fallback=nothing, period=self._plant.period)
        if self._observation is None or self._applied is None or self._measure is None:
            raise ShieldError("ShieldWrapper: found no observation yet, expected one. Call reset() first.")
        measured = torch.as_tensor(np.asarray(self._measure(self._observation), dtype=np.float64))
        good, fresh = torch.zeros(measured.shape, dtype=torch.uint8), torch.zeros_like(measured)
        return ShieldContext(measured, good, fresh, self._applied, nothing, self._period)


def _told(verdict: Verdict, proposal: Tensor, row: int) -> dict[str, Any]:
    return {
        "reasons": verdict.reasons_of(row),
        "margin": float(verdict.margin[row]),
        "feasible": bool(verdict.feasible[row]),
        "altered": bool(verdict.altered(proposal)[row]),
        "action": verdict.action[row].numpy().copy(),
    }


class ShieldWrapper(gymnasium.Wrapper[Array, Array, Array, Array]):
    """One environment behind a shield; ``info["shield"]`` has reasons, margin, feasibility and the action in engineering units.

    Args:
        env: of this package, with a safety spec; or any other, with the three below.
        shield: stands before another environment, in the units of its actions.
        measure: finds the shield's measured signals in observations.
        start: where the actuators are when an episode begins, ``[A]``; from then on the last action counts as read back.
        period: seconds between two actions of another environment.

    Raises:
        ShieldError: the environment has no safety spec and no shield was given.
    """

    def __init__(
        self,
        env: gymnasium.Env[Array, Array],
        shield: Shield | None = None,
        *,
        measure: Measure | None = None,
        start: Array | None = None,
        period: float = 1.0,
    ) -> None:
        super().__init__(env)
        self._guard = _Guard(env, 1, shield, measure, start, period)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode; the shield forgets."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._guard.begin(np.asarray(observation))
        return observation, info

    def step(self, action: Array) -> tuple[Array, Any, bool, bool, dict[str, Any]]:
        """Let the shield judge ``action``, and act."""
        sent, verdict, proposal = self._guard.judge(action)
        observation, reward, terminated, truncated, info = self.env.step(sent[0])
        self._guard.seen(np.asarray(observation))
        return observation, reward, terminated, truncated, {**info, "shield": _told(verdict, proposal, 0)}


class ShieldVectorWrapper(gymnasium.vector.VectorWrapper):
    """A vector environment behind a shield with one memory a row; ``infos["shield"]`` has arrays ``[B]`` and ``[B, A]``.

    The environment must begin new episodes in the step in which one ends (``AutoresetMode.SAME_STEP``), as those of this package do.

    Args:
        env: see :class:`ShieldWrapper`, as all that follows.
        shield: see there.
        measure: see there.
        start: see there.
        period: see there.
    """

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv[Any, Any, Any],
        shield: Shield | None = None,
        *,
        measure: Measure | None = None,
        start: Array | None = None,
        period: float = 1.0,
    ) -> None:
        super().__init__(env)
        mode = env.metadata.get("autoreset_mode")
        if mode != gymnasium.vector.AutoresetMode.SAME_STEP:
            raise ShieldError(
                f"ShieldVectorWrapper: found autoreset mode {mode}, expected SAME_STEP: the shield must know when an episode begins. "
                "Make the environment with vector_kwargs={'autoreset_mode': AutoresetMode.SAME_STEP}."
            )
        self._guard = _Guard(env, env.num_envs, shield, measure, start, period)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes, everywhere or where ``options["reset_mask"]`` is true; the shield forgets there."""
        mask = None if options is None else options.get("reset_mask")
        observation, info = self.env.reset(seed=seed, options=options)
        self._guard.begin(np.asarray(observation), mask)
        return observation, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Let the shield judge ``actions`` ``[B, A]``, and act."""
        sent, verdict, proposal = self._guard.judge(np.asarray(actions))
        observation, reward, terminated, truncated, infos = self.env.step(sent)
        done = np.asarray(terminated) | np.asarray(truncated)
        self._guard.begin(np.asarray(observation), done) if done.any() else self._guard.seen(np.asarray(observation))
        shield = {
            "margin": verdict.margin.numpy().copy(),
            "feasible": verdict.feasible.numpy().copy(),
            "altered": verdict.altered(proposal).numpy().copy(),
            "action": verdict.action.numpy().copy(),
            "reasons": {code: flag.numpy().copy() for code, flag in verdict.reasons.items()},
        }
        return observation, reward, terminated, truncated, {**infos, "shield": shield}
