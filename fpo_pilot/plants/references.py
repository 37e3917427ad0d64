"""References over an episode, as a table: row i is what holds at step i."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.plant import SchedulePoint, Signal


def reference_value(signal: Signal, step: int) -> float:
    """Return the value of a reference at ``step``: that of the last schedule point not after it."""
    past = [point for point in signal.schedule if point.step <= step]
    return (max(past, key=lambda point: point.step) if past else signal.schedule[0]).value


def reference_table(
    plant: Plant,
    rows: int,
    instead: Mapping[str, tuple[SchedulePoint, ...]] | None = None,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Return the references ``[rows, R]`` of steps 0 to ``rows`` − 1; those of ``instead`` have other schedules."""
    changed = {} if instead is None else instead
    for name in changed:
        if name not in plant.reference_names:
            raise PlantError(
                f"plant {plant.name}: references names {name!r}, expected one of "
                f"{', '.join(plant.reference_names) or '(there is none)'}. Correct the name in the scenario."
            )
    signals = [
        plant.spec.signals[name].model_copy(update={"schedule": changed[name]} if name in changed else {})
        for name in plant.reference_names
    ]
    values = [[reference_value(signal, step) for signal in signals] for step in range(rows)]
    return torch.tensor(values, dtype=dtype, device=device).reshape(rows, len(plant.reference_names))
