"""Sequence rules: what may be moved depends on what has been done before, by small automata of the safety spec."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.shields.conditions import Condition
from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.interlock import InterlockShield
from fpo_pilot.shields.memory import Memory, fingerprints, require_names
from fpo_pilot.shields.overrides import Overrides, Targets
from fpo_pilot.shields.verdict import ShieldContext, Verdict


@dataclass(frozen=True)
class Step:
    """A way from one phase to another.

    Args:
        source: index of the phase that is left.
        target: index of the phase that is entered.
        when: taken after it held in ``samples`` cycles in a row.
        samples: cycles in a row.
    """

    source: int
    target: int
    when: Condition
    samples: int


@dataclass(frozen=True)
class SequenceRule:
    """One automaton; it begins in its first phase.

    Args:
        id: as in the safety spec.
        phases: their names.
        holds: of each phase, the actions that it holds.
        steps: ways between phases; of those that could be taken in a cycle the first is.
    """

    id: str
    phases: tuple[str, ...]
    holds: tuple[Targets, ...]
    steps: tuple[Step, ...]


class SequenceShield:
    """Holds actions at the values of the phase that each sequence is in; the stage after it brings them there at the rate limit.

    Conditions are judged on readings and the read-back, never on what was asked for: a valve counts as open once it is open. A
    condition whose signals are not finite or not believed cannot be judged, and its way is not taken. A latched interlock beats a
    sequence. Where two sequences hold one action, the first of the file wins. Reason: ``sequence:ID.PHASE``, where a hold changed the
    proposal.
    """

    promise = "While a sequence is in a phase, the actions that the phase holds go to their values at the rate limit."

    def __init__(
        self,
        rules: tuple[SequenceRule, ...],
        envelope: Envelope,
        measured: int,
        interlock: InterlockShield | None = None,
    ) -> None:
        self.rules = rules
        self._interlock = interlock
        self._overrides = Overrides(
            [targets for rule in rules for targets in rule.holds],
            [f"sequences.{rule.id}.phases.{phase}.hold" for rule in rules for phase in rule.phases],
            envelope,
        )
        signals = measured + len(envelope.names)
        self._memory = Memory(
            "SequenceShield",
            {
                "phase": (0, len(rules)),
                "count": (0, max(1, sum(len(rule.steps) for rule in rules))),
                "last": (0.0, signals),
                "seen": (False, 1),
            },
        )

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        """Go on to the next phases, and hold."""
        dtype = torch.promote_types(proposal.dtype, context.previous.dtype)
        self._memory.start(context.batch, proposal.device)
        self._advance(context)
        asked, active = proposal.to(dtype), self._active()
        action = self._overrides.apply(asked, active)
        changed = ~(action == asked).all(dim=-1)
        names = [f"sequence:{rule.id}.{phase}" for rule in self.rules for phase in rule.phases]
        reasons = {name: flag & changed for name, flag in zip(names, active.unbind(-1), strict=True)}
        everywhere = torch.ones(context.batch, dtype=torch.bool, device=proposal.device)
        return Verdict(action, reasons, asked.new_full((context.batch,), math.inf), everywhere)

    def override(self, action: Tensor) -> Tensor:
        """Return ``action`` ``[B, A]`` with what is held now; advances nothing."""
        return self._overrides.apply(action, self._active()) if self._memory.started else action

    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Check that held actions are where they are held, or on their way, but for those of a latched interlock; ``[B]`` bool."""
        if not self._memory.started:
            return torch.ones(action.shape[0], dtype=torch.bool, device=action.device)
        kept = self._overrides.kept(context.previous, action, self._active())
        if self._interlock is not None:
            kept = kept | self._interlock.sets(action)
        return kept.all(dim=-1)

    @property
    def phases(self) -> Tensor:
        """``[B, S]`` int64: the index of the phase that each sequence is in."""
        return self._memory["phase"]

    def reset(self, mask: Tensor | None = None) -> None:
        """Begin in the first phases again: another plant starts in these rows."""
        self._memory.reset(mask)

    def state_dict(self) -> dict[str, Tensor]:
        """Return phases, counts and the last signals."""
        state = self._memory.state_dict()
        return state | {"names": fingerprints([rule.id for rule in self.rules])} if state else state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._memory.load_state_dict(require_names("SequenceShield", [rule.id for rule in self.rules], state))

    def _active(self) -> Tensor:
        """Return ``[B, R]`` bool, a column for each phase of each sequence: whether it is the present one."""
        phase = self._memory["phase"]
        return torch.stack(
            [phase[:, index] == own for index, rule in enumerate(self.rules) for own in range(len(rule.phases))], dim=-1
        )

    def _advance(self, context: ShieldContext) -> None:
        """Judge the ways out of the present phases once; a count begins again where a phase is entered."""
        now = torch.cat([context.believed.to(torch.float64), context.previous.to(torch.float64)], dim=-1)
        before = torch.where(self._memory["seen"], self._memory["last"], now)
        columns, columns_before = now.unbind(-1), before.unbind(-1)
        phases, counts, at = [], [], 0
        for index, rule in enumerate(self.rules):
            phase = self._memory["phase"][:, index]
            following, moved = phase, torch.zeros_like(phase, dtype=torch.bool)
            own = []
            for step in rule.steps:
                holds, known, _ = step.when.judge(columns, columns_before)
                here = phase == step.source
                count = self._memory["count"][:, at]
                count = torch.where(here & known, torch.where(holds, count + 1, 0), torch.where(here, count, 0))
                taken = here & ~moved & (count >= step.samples)
                following = torch.where(taken, step.target, following)
                moved = moved | taken
                own.append(count)
                at += 1
            counts += [torch.where(moved, 0, count) for count in own]
            phases.append(following)
        self._memory.update(
            phase=torch.stack(phases, dim=-1),
            count=torch.stack(counts, dim=-1) if counts else self._memory["count"],
            last=now,
            seen=torch.ones_like(self._memory["seen"]),
        )
