"""Actuators: what becomes of an action that was sent. Physics only; limits of the safety spec are the shields' work.

The order is range → stiction or dead band → lag → rate → faults. Each works from where the actuator is, the read-back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.evaluation import ActuatorFault

_FOREVER = 2**31 - 1


class Actuators:
    """All actuators of a plant, batched: each has a range, and may stick, have play, lag, and have a rate.

    Args:
        plant: whose actuators.
        limits: narrower ranges by action.
        faults: what breaks, and when.
        device: where its tensors live.
        dtype: of the actions.

    Raises:
        PlantError: a limit or fault names no action.
    """

    def __init__(
        self,
        plant: Plant,
        *,
        limits: Mapping[str, tuple[float, float]] | None = None,
        faults: Sequence[ActuatorFault] = (),
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        signals = [plant.spec.signals[name] for name in plant.action_names]
        narrower = {} if limits is None else limits
        for name in (*narrower, *(fault.action for fault in faults)):
            if name not in plant.action_names:
                raise PlantError(
                    f"plant {plant.name}: the scenario names {name!r}, expected an action "
                    f"({', '.join(plant.action_names)}). Correct the name."
                )

        def row(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self._plant = plant
        self.start = row(plant.action_start)
        ranges = [narrower.get(name, plant.spec.signals[name].range) for name in plant.action_names]
        self._low, self._high = row([low for low, _ in ranges]), row([high for _, high in ranges])
        self._rate = row([torch.inf if signal.rate is None else signal.rate for signal in signals])
        built = [signal.actuator for signal in signals]
        self._stiction, self._play = row([a.stiction for a in built]), row([a.dead_band / 2.0 for a in built])
        self._share = row([-math.expm1(-plant.period / a.lag) if a.lag > 0.0 else 1.0 for a in built])
        self._has_rate = any(signal.rate is not None for signal in signals)
        self._sticks = any(a.stiction > 0.0 for a in built)
        self._has_play = any(a.dead_band > 0.0 for a in built)
        self._lags = any(a.lag > 0.0 for a in built)
        columns = torch.arange(len(signals), device=device)
        self._faults = tuple((columns == plant.action_names.index(fault.action), fault) for fault in faults)

    def apply(self, action: Tensor, last: Tensor, step: Tensor | None = None) -> Tensor:
        """Return what the actuators do, ``[B, A]``.

        Args:
            action: ``[B, A]`` as sent, in engineering units; where it is not finite, the actuator stays where it is.
            last: ``[B, A]`` where the actuators are.
            step: ``[B]`` step of the episode, for the windows of faults.
        """
        if action.shape != last.shape:
            raise PlantError(
                f"plant {self._plant.name}: the action has shape {tuple(action.shape)}, expected "
                f"{tuple(last.shape)} for {', '.join(self._plant.action_names)}. Give one row for each copy."
            )
        action = action.to(last.dtype)
        action = torch.where(torch.isfinite(action), action, last)
        action = torch.clamp(action, self._low, self._high)
        if self._sticks:
            action = torch.where(
                (action - last).abs() > self._stiction, action, torch.where(self._stiction > 0.0, last, action)
            )
        if self._has_play:
            action = torch.where(self._play > 0.0, last.clamp(action - self._play, action + self._play), action)
        if self._lags:
            action = last + self._share * (action - last)
        if self._has_rate:
            action = torch.clamp(action, last - self._rate, last + self._rate)
        return action if step is None or not self._faults else self._with_faults(action, last, step)

    def _with_faults(self, action: Tensor, last: Tensor, step: Tensor) -> Tensor:
        """Apply the faults whose window is open."""
        for column, fault in self._faults:
            until = _FOREVER if fault.to_step is None else fault.to_step
            active = ((step >= fault.from_step) & (step < until)).unsqueeze(-1) & column
            if fault.kind == "stuck":
                broken = last
            elif fault.kind == "slow":
                broken = action.clamp(last - fault.value, last + fault.value)
            else:
                broken = torch.clamp(action + fault.value, self._low, self._high)
            action = torch.where(active, broken, action)
        return action
