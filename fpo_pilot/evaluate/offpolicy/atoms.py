"""Logged proposals that may be what a limit left of them: weights computed from these are wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fpo_pilot.evaluate.offpolicy.batch import LogBatch
from fpo_pilot.plants.plant import Plant

NEAR = 1e-5
"""Of the span of the action: a value nearer to a limit than this, in float32, is on it."""


def share_on_a_limit(plant: Plant, batch: LogBatch, proposal: Tensor) -> float:
    """Return the share of rows whose proposal was applied as it is, and lies on a limit of range or rate.

    Where a log has one column for what was asked for and what was done, a row on a limit does not tell how far beyond it was asked
    for. Its density is that of another value, and a ratio of such densities is biased (``docs/studies/offpolicy_proposals.py``
    has by how much). A log that has both shows what was asked for wherever the two differ; there a row on a limit is one by chance.

    Args:
        plant: with its limits; those of its safety spec where there is one.
        batch: the log.
        proposal: ``[T, B, A]``, normalised.
    """
    limits = None if plant.safety is None else [plant.safety.actions[name] for name in plant.action_names]
    low = torch.tensor(plant.action_low if limits is None else [one.low for one in limits], dtype=torch.float64)
    high = torch.tensor(plant.action_high if limits is None else [one.high for one in limits], dtype=torch.float64)
    rate = torch.full_like(low, math.inf)
    if limits is not None:
        rate = torch.tensor([math.inf if one.rate is None else one.rate for one in limits], dtype=torch.float64)
    asked, done = plant.to_engineering(proposal.double()), plant.to_engineering(batch.action.double())
    room = NEAR * (high - low)
    moved = torch.cat((torch.full_like(done[:1], torch.nan), done[1:] - done[:-1])).abs()
    on = (done <= low + room) | (done >= high - room) | (moved >= rate - room)
    same = (asked - done).abs() <= room
    if bool((~same).any(dim=-1)[batch.kept].any()):
        return 0.0
    return float(((on & same).any(dim=-1) & batch.kept).sum() / batch.kept.sum())
