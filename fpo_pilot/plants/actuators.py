"""Actuators: what becomes of an action that was sent. Physics only; limits of the safety spec are the shields' work."""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.plant import Plant


class Actuators:
    """All actuators of a plant, batched: each has a range, and may have a rate."""

    def __init__(self, plant: Plant, *, device: torch.device, dtype: torch.dtype) -> None:
        signals = [plant.spec.signals[name] for name in plant.action_names]
        self._plant = plant
        self.start = torch.tensor(plant.action_start, dtype=dtype, device=device)
        self._low = torch.tensor([signal.range[0] for signal in signals], dtype=dtype, device=device)
        self._high = torch.tensor([signal.range[1] for signal in signals], dtype=dtype, device=device)
        rates = [torch.inf if signal.rate is None else signal.rate for signal in signals]
        self._rate = torch.tensor(rates, dtype=dtype, device=device)
        self._has_rate = any(signal.rate is not None for signal in signals)

    def apply(self, action: Tensor, last: Tensor) -> Tensor:
        """Return what the actuators do, ``[B, A]``.

        Args:
            action: ``[B, A]`` as sent, in engineering units; where it is not finite, the actuator stays where it is.
            last: ``[B, A]`` where the actuators are.
        """
        if action.shape != last.shape:
            raise PlantError(
                f"plant {self._plant.name}: the action has shape {tuple(action.shape)}, expected "
                f"{tuple(last.shape)} for {', '.join(self._plant.action_names)}. Give one row for each copy."
            )
        action = action.to(last.dtype)
        action = torch.where(torch.isfinite(action), action, last)
        action = torch.clamp(action, self._low, self._high)
        return torch.clamp(action, last - self._rate, last + self._rate) if self._has_rate else action
