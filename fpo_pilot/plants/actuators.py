"""Actuators: what becomes of an action that was sent. Physics only; limits of the safety spec are the shields' work.

The order is range → stiction or dead band → lag → rate → faults. Stiction and dead band work from where the actuator
was sent last (the one-parameter valve of Stenman, Gustafsson and Forsman 2003), all else from where it is, the
read-back: a valve that has let go travels to its end, however slowly.
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

    def first_sent(self, size: int) -> Tensor:
        """Return where actuators were sent before an episode, ``[size, A]``; ``[size, 0]`` if none has to remember."""
        sent = self.start.expand(size, -1)
        return sent if self._sticks or self._has_play else sent[:, :0]

    def apply(self, action: Tensor, last: Tensor, sent: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the actuators report, ``[B, A]``, and where they were sent, for the next step.

        Args:
            action: ``[B, A]`` as sent, in engineering units; where it is not finite, the actuator stays where it is.
            last: ``[B, A]`` what they reported last.
            sent: where they were sent last, of :meth:`first_sent` or of the step before.
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
            held = (self._stiction > 0.0) & ((action - sent).abs() <= self._stiction)
            action = torch.where(held, sent, action)
        if self._has_play:
            action = torch.where(self._play > 0.0, sent.clamp(action - self._play, action + self._play), action)
        if sent.shape[1]:
            sent = action
        if self._lags:
            action = last + self._share * (action - last)
        if self._has_rate:
            action = torch.clamp(action, last - self._rate, last + self._rate)
        for column, fault in self._faults:
            if fault.kind == "offset":
                continue
            reach = fault.value if fault.kind == "slow" else 0.0
            action = torch.where(_active(column, fault, step), action.clamp(last - reach, last + reach), action)
        return action, sent

    def delivered(self, applied: Tensor, step: Tensor) -> Tensor:
        """Return what reaches the plant, ``[B, A]``: what is reported, but for an ``offset`` that nobody is told of."""
        for column, fault in self._faults:
            if fault.kind == "offset":
                off = torch.clamp(applied + fault.value, self._low, self._high)
                applied = torch.where(_active(column, fault, step), off, applied)
        return applied


def _active(column: Tensor, fault: ActuatorFault, step: Tensor) -> Tensor:
    """Return where a fault's window is open, ``[B, A]``."""
    until = _FOREVER if fault.to_step is None else fault.to_step
    return ((step >= fault.from_step) & (step < until)).unsqueeze(-1) & column
