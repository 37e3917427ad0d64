"""The controllers of today, batched: constant, proportional, PI, and holding the steady input of each set point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.safety import ConstantController, ControllerSpec, PiController, PiLoop, ProportionalController


class Controller(Protocol):
    """Computes actions from what can be read. It may keep tensors between two steps, and nothing else."""

    def reset(self, num_envs: int, mask: Tensor | None = None) -> None:
        """Begin new episodes of ``num_envs`` plants; only where ``mask`` ``[B]`` is true, if it is given."""

    def act(self, signals: Mapping[str, Tensor], previous: Tensor) -> Tensor:
        """Return actions ``[B, A]`` in engineering units.

        Args:
            signals: measurements, set points and applied actions by name, ``[B]`` each.
            previous: read-back ``[B, A]`` of the actions applied last.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the next action depends on."""

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue where :meth:`state_dict` was taken."""


class _Bounds:
    """What a controller of today keeps by itself: box and rate of the safety spec, else the actuators' ranges."""

    def __init__(self, plant: Plant) -> None:
        limits = {} if plant.safety is None else plant.safety.actions
        self.low, self.high = plant.action_low, plant.action_high
        self.rate = tuple(
            torch.inf if name not in limits or limits[name].rate is None else float(limits[name].rate or 0.0)
            for name in plant.action_names
        )
        self._tensors: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def keep(self, action: Tensor, previous: Tensor) -> Tensor:
        """Clip ``action`` ``[B, A]`` to the box, and to the rate around the read-back."""
        key = (action.dtype, action.device)
        if key not in self._tensors:
            low, high, rate = (action.new_tensor(row) for row in (self.low, self.high, self.rate))
            self._tensors[key] = (low, high, rate)
        low, high, rate = self._tensors[key]
        return torch.clamp(torch.clamp(action, previous - rate, previous + rate), low, high)


class Stateless:
    """A controller that remembers nothing."""

    def reset(self, num_envs: int, mask: Tensor | None = None) -> None:
        """Do nothing: there is nothing to forget."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return no tensors."""
        return {}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Accept no tensors."""


class ConstantAction(Stateless):
    """Holds the same actions for ever."""

    def __init__(self, plant: Plant, values: Sequence[float]) -> None:
        self._bounds = _Bounds(plant)
        self.values = tuple(values)

    def act(self, signals: Mapping[str, Tensor], previous: Tensor) -> Tensor:
        """Return the constant actions ``[B, A]``, within the rate."""
        return self._bounds.keep(previous.new_tensor(self.values).expand_as(previous), previous)


class Proportional(Stateless):
    """One proportional loop an action: bias + gain · (measurement − reference)."""

    def __init__(self, plant: Plant, spec: ProportionalController) -> None:
        self._bounds = _Bounds(plant)
        loops = {loop.action: loop for loop in spec.loops}
        _require_all(plant, tuple(loops))
        self.loops = tuple(loops[name] for name in plant.action_names)

    def act(self, signals: Mapping[str, Tensor], previous: Tensor) -> Tensor:
        """Return actions ``[B, A]``."""
        columns = [loop.bias + loop.gain * (signals[loop.measurement] - signals[loop.reference]) for loop in self.loops]
        return self._bounds.keep(torch.stack(columns, dim=-1).to(previous.dtype), previous)


class ProportionalIntegral:
    """One PI loop an action, in velocity form: it moves on from the read-back, so that it cannot wind up.

    The first action of an episode is bias + gain · error; from then on action = read-back + gain · (change of the
    error + period / integral time · error), with error = reference − measurement.
    """

    def __init__(self, plant: Plant, spec: PiController) -> None:
        self._bounds = _Bounds(plant)
        loops: dict[str, PiLoop] = {loop.action: loop for loop in spec.loops}
        _require_all(plant, tuple(loops))
        self.loops = tuple(loops[name] for name in plant.action_names)
        self.period = plant.period
        self._last_error: Tensor | None = None  # [B, A]; NaN where an episode begins

    def reset(self, num_envs: int, mask: Tensor | None = None) -> None:
        """Forget the last error of all plants, or of those in ``mask`` ``[B]``."""
        if mask is None or self._last_error is None:
            self._last_error = None
        else:
            self._last_error = torch.where(mask.unsqueeze(-1), torch.nan, self._last_error)

    def act(self, signals: Mapping[str, Tensor], previous: Tensor) -> Tensor:
        """Return actions ``[B, A]``."""
        rows = [(loop.gain, self.period / loop.integral_time, loop.bias) for loop in self.loops]
        gain, share, bias = (previous.new_tensor(column) for column in zip(*rows, strict=True))
        error = torch.stack([signals[loop.reference] - signals[loop.measurement] for loop in self.loops], dim=-1)
        error = error.to(previous.dtype)
        last = torch.full_like(error, torch.nan) if self._last_error is None else self._last_error
        self._last_error = error
        moved = previous + gain * (error - last + share * error)
        return self._bounds.keep(torch.where(last.isnan(), bias + gain * error, moved), previous)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the last error, if there is one."""
        return {} if self._last_error is None else {"last_error": self._last_error.clone()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a last error."""
        self._last_error = tensors["last_error"].clone() if "last_error" in tensors else None


class Hold(Stateless):
    """Applies, for each set point, the steady actions that the plant spec declares for it: feed-forward only."""

    def __init__(self, plant: Plant) -> None:
        self._start = plant.action_start
        self._action_names = plant.action_names
        self._tables: list[tuple[str, list[float], list[dict[str, float]]]] = []
        for name in plant.reference_names:
            signal = plant.spec.signals[name]
            if signal.steady_actions:
                values = [point.value for point in signal.schedule]
                self._tables.append((name, values, [dict(steady) for steady in signal.steady_actions]))

    def act(self, signals: Mapping[str, Tensor], previous: Tensor) -> Tensor:
        """Return the steady actions ``[B, A]`` of the set points in force; an undeclared action stays at its start."""
        columns = list(previous.new_tensor(self._start).expand_as(previous).unbind(-1))
        for reference, values, steady in self._tables:
            distance = (signals[reference].unsqueeze(-1) - previous.new_tensor(values)).abs()
            nearest = distance.argmin(dim=-1)
            for index, name in enumerate(self._action_names):
                if all(name in entry for entry in steady):
                    column = previous.new_tensor([entry[name] for entry in steady])
                    columns[index] = column.index_select(0, nearest)
        return torch.stack(columns, dim=-1)


def build_controller(spec: ControllerSpec, plant: Plant) -> Controller:
    """Build the controller that a safety spec declares.

    Raises:
        PlantError: it does not say what happens to every action.
    """
    if isinstance(spec, ConstantController):
        _require_all(plant, tuple(spec.values))
        return ConstantAction(plant, [spec.values[name] for name in plant.action_names])
    if isinstance(spec, ProportionalController):
        return Proportional(plant, spec)
    return ProportionalIntegral(plant, spec)


def incumbent_controller(plant: Plant) -> Controller:
    """Build the controller in charge today; the ``hold`` controller for a plant without a safety spec."""
    return hold_controller(plant) if plant.safety is None else build_controller(plant.safety.incumbent, plant)


def hold_controller(plant: Plant) -> Controller:
    """Build the controller that holds the steady input of each set point; the start values where none is declared."""
    return Hold(plant)


def _require_all(plant: Plant, driven: tuple[str, ...]) -> None:
    missing = [name for name in plant.action_names if name not in driven]
    if missing:
        raise PlantError(
            f"plant {plant.name}: the controller has nothing for {', '.join(missing)}, expected a loop or a "
            "value for each of "
            f"{', '.join(plant.action_names)}. Add one in the safety spec."
        )
