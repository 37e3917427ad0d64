"""L2: latched interlocks. They beat the policy and every other shield; only a human takes a latch away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.conditions import Ballot, Condition
from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.memory import Memory, fingerprints, require_names
from fpo_pilot.shields.overrides import Overrides, Targets
from fpo_pilot.shields.verdict import ShieldContext, Verdict


@dataclass(frozen=True)
class InterlockRule:
    """One interlock.

    Args:
        id: as in the safety spec.
        trip: a condition, or several that vote; latches after it held in ``samples`` cycles in a row.
        reset: a human may take the latch away while it holds.
        samples: cycles in a row.
        targets: for each of the A actions its value while latched, None where the interlock leaves it alone.
    """

    id: str
    trip: Ballot
    reset: Condition
    samples: int
    targets: Targets


class InterlockShield:
    """Sets actions to the targets of latched interlocks; the stage after it brings them there at the rate limit.

    A vote that its known conditions do not decide, or a condition whose signals are not finite or not believed, cannot be judged: it
    neither counts toward a trip (the integrity shield answers for the sensor) nor breaks the count, and it allows no reset. Only a single
    condition trips on a finite reading that is not believed as well: nobody else watches. Where two latched interlocks set one action, the
    first of the file wins.
    Reason: ``interlock:ID``, in every cycle from the trip to the reset.
    """

    promise = (
        "While an interlock is latched, its actions go to its targets at the rate limit, where the read-back is known; "
        "the latch never resets itself."
    )

    def __init__(self, rules: tuple[InterlockRule, ...], envelope: Envelope, measured: int) -> None:
        self.rules = rules
        self.envelope = envelope
        places = [f"interlocks.{rule.id}.set" for rule in rules]
        self._overrides = Overrides([rule.targets for rule in rules], places, envelope)
        count = len(rules)
        self._memory = Memory(
            "InterlockShield",
            {
                "latched": (False, count),
                "count": (0, count),
                "resettable": (False, count),
                "last": (0.0, measured + len(envelope.names)),
                "seen": (False, 1),
            },
        )

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        """Count, latch, and override ``proposal`` ``[B, A]`` where latched."""
        dtype = torch.promote_types(proposal.dtype, context.previous.dtype)
        self._memory.start(context.batch, proposal.device)
        margin = self._advance(context)
        latched = self._memory["latched"]
        action = self.override(proposal.to(dtype))
        margin = torch.where(latched.any(dim=-1), margin.clamp(max=0.0), margin)
        return Verdict(
            action, self.reasons, margin, torch.ones(context.batch, dtype=torch.bool, device=proposal.device)
        )

    def override(self, action: Tensor) -> Tensor:
        """Return ``action`` ``[B, A]`` with the targets of the interlocks that are latched now; advances nothing."""
        return self._overrides.apply(action, self._memory["latched"]) if self._memory.started else action

    def sets(self, action: Tensor) -> Tensor:
        """Return ``[B, A]`` bool: whether a latched interlock sets the action."""
        if not self._memory.started:
            return torch.zeros_like(action, dtype=torch.bool)
        return self._overrides.sets(action, self._memory["latched"])

    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Check that latched actions are at their targets, or one full rate nearer than the read-back; ``[B]`` bool."""
        if not self._memory.started:
            return torch.ones(action.shape[0], dtype=torch.bool, device=action.device)
        return self._overrides.kept(context.previous, action, self._memory["latched"]).all(dim=-1)

    @property
    def reasons(self) -> dict[str, Tensor]:
        """For each interlock, ``[B]`` bool: whether it is latched now; empty before the first cycle."""
        if not self._memory.started:
            return {}
        latched = self._memory["latched"].unbind(-1)
        return {f"interlock:{rule.id}": flag for rule, flag in zip(self.rules, latched, strict=True)}

    @property
    def latched(self) -> Tensor:
        """``[B, L]`` bool: which interlocks are latched, in the order of ``rules``.

        Raises:
            ShieldError: no cycle has been judged yet.
        """
        if not self._memory.started:
            raise ShieldError("interlock.latched: found no cycle yet, expected at least one. Call the shield first.")
        return self._memory["latched"]

    def reset_latch(self, acknowledged_by: str, mask: Tensor | None = None) -> Tensor:
        """Take latches away, by a human, where their reset condition held in the last cycle.

        Args:
            acknowledged_by: who answers for it; for the log of the caller.
            mask: ``[B]`` or ``[B, L]`` bool, which latches are meant; all if None.

        Returns:
            ``[B, L]`` bool: the latches that were taken away; the others stay.

        Raises:
            ShieldError: nobody is named, or no cycle has been judged yet.
        """
        if not acknowledged_by.strip():
            raise ShieldError(
                "acknowledged_by: found nothing, expected the name of a person. An interlock is reset by a human."
            )
        latched = self.latched
        released = latched & self._memory["resettable"]
        if mask is not None:
            released = released & (mask[:, None] if mask.dim() == 1 else mask)
        self._memory.update(latched=latched & ~released, count=torch.where(released, 0, self._memory["count"]))
        return released

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget everything, latches too: another plant (a new simulated episode) starts in these rows."""
        self._memory.reset(mask)

    def state_dict(self) -> dict[str, Tensor]:
        """Return latches, counts and the last signals."""
        state = self._memory.state_dict()
        return state | {"names": fingerprints([rule.id for rule in self.rules])} if state else state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave; a latch survives a restart of the process this way."""
        self._memory.load_state_dict(require_names("InterlockShield", [rule.id for rule in self.rules], state))

    def _advance(self, context: ShieldContext) -> Tensor:
        """Judge all conditions once, update the memory, and return ``[B]`` the least distance to a trip."""
        now = torch.cat([context.measurement.to(torch.float64), context.previous.to(torch.float64)], dim=-1)
        sound = torch.cat([context.believed.to(torch.float64), context.previous.to(torch.float64)], dim=-1)
        before = torch.where(self._memory["seen"], self._memory["last"], now)
        columns, columns_before, believed = now.unbind(-1), before.unbind(-1), sound.unbind(-1)
        counts, trips, resets, margins = [], [], [], []
        for index, rule in enumerate(self.rules):
            tripping, known, excess = rule.trip.judge(believed, columns_before)
            if len(rule.trip.conditions) == 1:  # nobody else votes: a reading that is not believed can still trip
                alarm, _, _ = rule.trip.judge(columns, columns_before)
                tripping, known = tripping | alarm, known | alarm
            calm, calm_known, _ = rule.reset.judge(believed, columns_before)
            count = self._memory["count"][:, index]
            count = torch.where(known, torch.where(tripping, count + 1, 0), count)
            counts.append(count)
            trips.append(count >= rule.samples)
            resets.append(calm & calm_known & rule.trip.all_known(believed) & ~tripping)
            margins.append(torch.where(known & ~excess.isnan(), -excess, -math.inf))
        self._memory.update(
            latched=self._memory["latched"] | torch.stack(trips, dim=-1),
            count=torch.stack(counts, dim=-1),
            resettable=torch.stack(resets, dim=-1),
            last=now,
            seen=torch.ones_like(self._memory["seen"]),
        )
        return torch.stack(margins, dim=-1).amin(dim=-1)
