"""Where the plant can be now: readings, their errors, and the actions that were sent while a late reading was on its way."""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.shields.memory import Memory
from fpo_pilot.shields.model.dynamics import Model
from fpo_pilot.shields.model.uncertainty import UncertaintyPoints
from fpo_pilot.shields.verdict import ShieldContext


class Estimator:
    """Turns readings into N possible states a row.

    A reading that is n steps late is rolled forward with the n last read-backs. After :meth:`reset`, which says that a simulated plant
    starts there, its first reading is fresh, and only as many steps are rolled as have been seen. Without it the plant is running, and
    what was sent to it before is not known: where it can be is not known either until n read-backs have been seen.

    Args:
        model: of the plant.
        points: the uncertainty set.
        columns: of the measurement, one for each state.
        delay: n, steps by which every reading is late.
        actions: A.
    """

    def __init__(
        self, model: Model, points: UncertaintyPoints, columns: tuple[int, ...], *, delay: int, actions: int
    ) -> None:
        self.model = model
        self.points = points
        self.delay = delay
        self._actions = actions
        self._columns = columns
        self._in_order = columns == tuple(range(len(columns)))
        self._begins_fresh = False
        blanks: dict[str, tuple[bool | int | float, int]] = {
            "seen": (-1, 1),
            "sent": (0.0, max(delay, 1) * actions),
            "fresh": (False, 1),
        }
        self._memory = Memory("Estimator", blanks)

    def advance(self, context: ShieldContext) -> None:
        """Remember the read-back of this cycle; nothing is remembered where readings are not late."""
        if not self.delay:
            return
        if not self._memory.started:
            self._memory.start(context.batch, context.previous.device)
            self._memory.update(fresh=torch.full_like(self._memory["fresh"], self._begins_fresh))
        self._memory.start(context.batch, context.previous.device)
        sent = torch.cat((context.previous.double(), self._memory["sent"][:, : -self._actions]), dim=-1)
        self._memory.update(seen=(self._memory["seen"] + 1).clamp(max=self.delay), sent=sent)

    def states(self, context: ShieldContext, like: Tensor) -> Tensor:
        """Return the possible states now, ``[B, N, S]``, in the dtype of ``like``; NaN where they are not known.

        They are not where a reading is no number or not believed, or late and not to be rolled forward yet.
        """
        measured = context.believed.to(like.dtype)
        if not self._in_order or len(self._columns) != measured.shape[-1]:
            measured = torch.stack([measured[:, column] for column in self._columns], dim=-1)
        parameters, errors = self.points.tensors(measured)
        state = measured[:, None, :] + errors
        if not self.delay:
            return state
        if not self._memory.started:
            return state if self._begins_fresh else torch.full_like(state, torch.nan)
        known = self._memory["fresh"] | (self._memory["seen"] >= self.delay)
        state = torch.where(known[..., None], state, torch.nan)
        rows = state.flatten(0, 1)
        parameters = parameters.expand(context.batch, -1, -1).flatten(0, 1)
        seen = self._memory["seen"].repeat_interleave(self.points.count, dim=0)
        for age in range(self.delay, 0, -1):
            sent = self._memory["sent"][:, (age - 1) * self._actions : age * self._actions].to(like.dtype)
            states, _ = self.model.trace(rows, sent.repeat_interleave(self.points.count, dim=0), parameters)
            rows = torch.where(seen >= age, states[-1], rows)
        return rows.reshape(state.shape)

    def reset(self, mask: Tensor | None) -> None:
        """Forget what was sent: a simulated plant starts in the rows of ``mask``, or everywhere."""
        if mask is None:
            self._begins_fresh = True
        self._memory.reset(mask)
        if mask is not None and self._memory.started:
            self._memory.update(fresh=self._memory["fresh"] | mask[:, None])

    def state_dict(self) -> dict[str, Tensor]:
        """Return what was sent."""
        return self._memory.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._memory.load_state_dict(state)
