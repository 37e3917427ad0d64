"""Actions that rules set to a value while they are in force: one table for interlocks and sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.envelope import Envelope

Targets = tuple[float | None, ...]
"""Of one rule: for each of the A actions its value while the rule is in force, None where the rule leaves it alone."""


class Overrides:
    """The targets of R rules; where two in force set one action, the first wins.

    Args:
        targets: of each rule.
        places: of each rule, where its targets stand in the safety spec; an action's name is added in errors.
        envelope: box and rate of the actions.

    Raises:
        ShieldError: a target is outside of its box.
    """

    def __init__(self, targets: Sequence[Targets], places: Sequence[str], envelope: Envelope) -> None:
        self._rows = tuple(targets)
        self._envelope = envelope
        self._tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        for place, row in zip(places, self._rows, strict=True):
            for name, low, high, target in zip(envelope.names, envelope.low, envelope.high, row, strict=True):
                if target is not None and not low <= target <= high:
                    raise ShieldError(
                        f"{place}.{name}: found {target}, expected a value from {low} to {high}. "
                        "A target outside the box could never be applied: widen the box or move the target."
                    )

    def apply(self, action: Tensor, active: Tensor) -> Tensor:
        """Return ``action`` ``[B, A]`` with the targets of the rules of which ``active`` ``[B, R]`` is true."""
        targets, sets = self._table(action)
        for index in reversed(range(len(self._rows))):  # the first rule is written last, and wins
            action = torch.where(active[:, index, None] & sets[index], targets[index], action)
        return action

    def kept(self, previous: Tensor, action: Tensor, active: Tensor) -> Tensor:
        """Return ``[B, A]`` bool: ``action`` is at its target, or one full rate nearer to it than the read-back ``previous``.

        True as well where no rule in force sets the action, and where the read-back is not known.
        """
        rate = self._envelope.bounds(action).rate
        origin = previous.to(action.dtype)
        wanted = self.apply(torch.full_like(action, math.nan), active)
        slack = 4.0 * torch.finfo(action.dtype).eps * torch.maximum(origin.abs(), action.abs())
        allowed = ((origin - wanted).abs() - rate).clamp(min=0.0) + slack
        return ((action - wanted).abs() <= allowed) | wanted.isnan() | ~origin.isfinite()

    def sets(self, action: Tensor, active: Tensor) -> Tensor:
        """Return ``[B, A]`` bool: a rule in force sets the action."""
        return (active[:, :, None] & self._table(action)[1]).any(dim=1)

    def _table(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets and whether each is set, ``[R, A]``, in the dtype and on the device of ``like``; inside the box."""
        key = (like.dtype, like.device)
        if key not in self._tables:
            bounds = self._envelope.bounds(like)
            with torch.inference_mode(mode=False):
                rows = [[math.nan if value is None else value for value in row] for row in self._rows]
                table = torch.tensor(rows, dtype=torch.float64)
                targets = table.to(like.dtype).to(like.device).clamp(bounds.low, bounds.high)
                self._tables[key] = (targets, (~table.isnan()).to(like.device))
        return self._tables[key]
