"""References over an episode, as a table: row i is what holds at step i."""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.plant import Signal


def reference_value(signal: Signal, step: int) -> float:
    """Return the value of a reference at ``step``: that of the last schedule point not after it."""
    past = [point for point in signal.schedule if point.step <= step]
    return (max(past, key=lambda point: point.step) if past else signal.schedule[0]).value


def reference_table(plant: Plant, rows: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the references ``[rows, R]`` of steps 0 to ``rows`` − 1."""
    values = [
        [reference_value(plant.spec.signals[name], step) for name in plant.reference_names] for step in range(rows)
    ]
    return torch.tensor(values, dtype=dtype, device=device).reshape(rows, len(plant.reference_names))
