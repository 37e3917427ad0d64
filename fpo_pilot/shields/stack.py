"""Layers in order, and what happens when one of them breaks: the stack fails closed.

integrity → sequence → interlock → predictive or barrier → box and rate → re-verify. The order is fixed, the last stage always box and
rate. After it every stage is asked whether the final action keeps its promise, and the envelope is checked a second time by other code;
where anything fails, the row gets the last resort: from the read-back toward the target of a latched interlock, else toward the declared
safe values (the backup) where a stage knows a model, else toward what a sequence holds, else toward the fallback, by at most one rate. So
an interlock beats every shield. What a person sets by hand comes after all stages: it is held to latched interlocks, box and rate only,
and the actuators that the person leaves alone get the last resort where the whole is not certified. Where an integrity layer does not
believe a reading, no later stage does: nothing is certified, reset or gone on with by it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.box_rate import BoxRateShield
from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.fallback import FallbackAction
from fpo_pilot.shields.integrity import IntegrityShield
from fpo_pilot.shields.interlock import InterlockShield
from fpo_pilot.shields.sequence import SequenceShield
from fpo_pilot.shields.verdict import Shield, ShieldContext, Verdict, require_verdict

BINDING = frozenset({"envelope", "interlock", "box_rate"})
"""Whose promises hold whoever asks: a person at the panel overrides every other stage (SAFETY.md 1.2)."""
_REMEMBERS = "stack.remembers:"
"""Begins the keys of a state that name the stages it must have."""


def manned(context: ShieldContext) -> Tensor:
    """Return ``[B]`` bool: a person sets an actuator of the row; a value that is not finite sets nothing."""
    if context.operator is None:
        return torch.zeros(context.batch, dtype=torch.bool, device=context.previous.device)
    return context.operator.isfinite().any(dim=-1)


class ShieldStack:
    """Named stages, each a shield, run one after the other; the result is verified again.

    Reasons are those of the stages, and ``stage_failed:NAME`` (it raised, or returned what is not a number or not an action),
    ``reverify:NAME`` (the final action breaks the promise of that stage), ``reverify:envelope``. A row with one of these is infeasible,
    and is counted in :attr:`infeasible_count`. Where the context has an operator: ``operator:ACTION`` for what is set by hand, and
    ``overridden:NAME`` for a stage whose promise that breaks; such a row is infeasible as well.
    """

    promise = (
        "For any floats, every action is finite, within its rate of the read-back and in its box whenever the read-back is; "
        "a latched interlock is obeyed at the rate limit; where this cannot be certified, the fallback is approached at the rate limit."
    )

    def __init__(
        self,
        stages: Sequence[tuple[str, Shield]],
        *,
        envelope: Envelope,
        fallback: FallbackAction,
        measured: Sequence[str],
        interlock: InterlockShield | None = None,
        sequence: SequenceShield | None = None,
        backup: FallbackAction | None = None,
        live: bool = False,
    ) -> None:
        self.stages = tuple(stages)
        self.envelope = envelope
        self.fallback = fallback
        self.resort = fallback if backup is None else backup
        """What is approached where nothing is certified."""
        self.live = live
        self.measured = tuple(measured)
        self.interlock = interlock
        self.sequence = sequence
        self._has_backup = backup is not None
        self.last_error: str = ""
        self._final = BoxRateShield(envelope)
        self._infeasible: Tensor | None = None
        self._cycle: tuple[ShieldContext, ShieldContext] | None = None
        """The context of the last cycle, and the same with what integrity believes of it."""
        self._integrity = next((stage for _, stage in self.stages if isinstance(stage, IntegrityShield)), None)

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        """Judge ``proposal`` ``[B, A]``; see the module for the order of the stages.

        Raises:
            ShieldError: a tensor of the context has a wrong shape or dtype, or the batch another size than before; a caller's mistake,
                unlike any value.
        """
        context.require(len(self.measured), len(self.envelope.names), proposal)
        self._require_same_batch(context.batch)
        started = time.perf_counter() if self.live else None
        dtype = torch.promote_types(proposal.dtype, context.previous.dtype)
        fallback, _ = self.resort.choose(context, dtype)
        action = proposal.to(dtype)
        reasons: dict[str, Tensor] = {}
        margins: list[Tensor] = []
        ahead: dict[str, Tensor] = {}
        alpha: Tensor | None = None
        feasible = torch.ones(context.batch, dtype=torch.bool, device=proposal.device)
        seen = context
        for name, stage in self.stages:
            verdict = self._run(name, stage, seen, action)
            failed = torch.ones_like(feasible)
            if verdict is not None:
                failed = ~verdict.action.isfinite().all(dim=-1)
                action = verdict.action
                feasible = feasible & verdict.feasible
                margins.append(verdict.margin)
                reasons.update(verdict.reasons)
                ahead.update(verdict.margins)
                alpha = verdict.alpha if alpha is None else alpha
            action = torch.where(failed[:, None], fallback, action)
            reasons[f"stage_failed:{name}"] = failed
            feasible = feasible & ~failed
            if stage is self._integrity:
                seen = replace(context, sound=self._integrity.believes(context))
        self._cycle = (context, seen)
        action = self._by_hand(context, action)
        action, checks = self._others(context, action, fallback, self._verify(context, action))
        certified = self._certified(context, checks)
        action = torch.where(certified[:, None], action, self._last_resort(context, fallback))
        reasons.update(self._reasons_of(context, checks))
        feasible = feasible & torch.stack([*checks.values()]).all(dim=0)
        self._count(~feasible)
        margin = (
            torch.stack([m.to(torch.float64) for m in margins]).amin(dim=0) if margins else self.envelope.margin(action)
        )
        seconds = None if started is None else time.perf_counter() - started
        return Verdict(action, reasons, margin, feasible, alpha=alpha, margins=ahead, seconds=seconds)

    def enforce(self, context: ShieldContext, action: Tensor) -> Verdict:
        """Pass an action of somebody else (the incumbent, a mixture) through sequences, latched interlocks, box and rate; advances nothing.

        It is verified as every action is: what a stage that knows a model cannot certify becomes the backup, whoever asks for it. The
        reasons are those of box and rate, of latched interlocks, and ``enforced:NAME`` for a check that was not passed; the row is then
        infeasible. Call it after the stack itself in the same cycle; the count of infeasible cycles is of those.
        """
        dtype = torch.promote_types(action.dtype, context.previous.dtype)
        fallback, _ = self.resort.choose(context, dtype)
        asked = torch.where(action.isfinite().all(dim=-1)[:, None], action.to(dtype), fallback)
        overridden = asked if self.sequence is None else self.sequence.override(asked)
        overridden = overridden if self.interlock is None else self.interlock.override(overridden)
        verdict = self._final(context, overridden)
        action = self._by_hand(context, verdict.action)
        action, checks = self._others(context, action, fallback, self._verify(context, action))
        certified = self._certified(context, checks)
        final = torch.where(certified[:, None], action, self._last_resort(context, fallback))
        reasons = dict(verdict.reasons) | {f"enforced:{name}": ~kept for name, kept in checks.items()}
        if self.interlock is not None:
            reasons |= self.interlock.reasons
        return Verdict(final, reasons, verdict.margin, verdict.feasible & torch.stack([*checks.values()]).all(dim=0))

    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Return ``[B]`` bool: whether ``action`` keeps the promises of all stages and of the envelope.

        Of a row in which a person sets an actuator only those that a person cannot override are asked.
        """
        return self._certified(context, self._verify(context, action))

    @property
    def infeasible_count(self) -> Tensor:
        """``[B]`` int64: cycles without a certified action since the last full reset.

        Raises:
            ShieldError: no cycle has been judged yet.
        """
        if self._infeasible is None:
            raise ShieldError("infeasible_count: found no cycle yet, expected at least one. Call the stack first.")
        return self._infeasible

    def reset_latch(self, acknowledged_by: str, mask: Tensor | None = None) -> Tensor:
        """Take interlock latches away, by a human; see :meth:`InterlockShield.reset_latch`.

        Raises:
            ShieldError: there is no interlock, or nobody is named.
        """
        if self.interlock is None:
            raise ShieldError(
                "reset_latch: found a stack without interlocks, expected at least one. There is nothing to reset."
            )
        return self.interlock.reset_latch(acknowledged_by, mask)

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the rows of ``mask`` ``[B]``, latches too, or everything: another plant starts there."""
        for _, stage in self.stages:
            stage.reset(mask)
        self._cycle = None
        if mask is None:
            self._infeasible = None
        elif self._infeasible is not None:
            self._infeasible = torch.where(mask, 0, self._infeasible)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the memory of all stages, as ``stage.tensor``."""
        state: dict[str, Tensor] = {}
        for name, stage in self.stages:
            own = {f"{name}.{key}": tensor for key, tensor in stage.state_dict().items()}
            state |= own | ({f"{_REMEMBERS}{name}": torch.ones((), dtype=torch.bool)} if own else {})
        if self._infeasible is not None:
            state["stack.infeasible"] = self._infeasible.clone()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ShieldError: the state of a stage is missing, or of a stage that is not here: a latch would be lost without a word.
        """
        self._cycle = None
        remembered = {key.removeprefix(_REMEMBERS) for key in state if key.startswith(_REMEMBERS)}
        found = {key.split(".", 1)[0] for key in state} - {"stack"}
        strange = sorted((found | remembered) - {name for name, _ in self.stages})
        missing = sorted(remembered - found)
        if strange or missing:
            raise ShieldError(
                f"load_state_dict: found a state without that of {', '.join(missing) or 'no stage'}, and with that of unknown stages "
                f"({', '.join(strange) or 'none'}), expected that of the same stages. Load what state_dict() gave of a stack of the "
                "same safety spec."
            )
        for name, stage in self.stages:
            prefix = f"{name}."
            stage.load_state_dict(
                {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            )
        self._infeasible = state["stack.infeasible"].clone() if "stack.infeasible" in state else None

    def _run(self, name: str, stage: Shield, context: ShieldContext, action: Tensor) -> Verdict | None:
        """Run a stage; None if it raised, or returned what is not an action. Its exception is a reason, never a way out."""
        try:
            verdict = stage(context, action)
            require_verdict(verdict, context.batch, action)
        except Exception as error:  # noqa: BLE001  # a stage may break in any way: fail closed
            self.last_error = f"{name}: {type(error).__name__}: {error}"
            return None
        return verdict

    def _verify(self, context: ShieldContext, action: Tensor) -> dict[str, Tensor]:
        """Ask every stage, and the envelope by itself, whether the final action is allowed; ``[B]`` bool each."""
        seen = self._believed(context)
        checks = {"envelope": self.envelope.permits(context.previous, action)}
        for name, stage in self.stages:
            try:
                kept = stage.holds(seen, action)
                if kept.dtype != torch.bool:
                    raise ShieldError(f"holds: found {kept.dtype}, expected bool. Say of each row whether it is kept.")
                checks[name] = kept.expand(context.batch)
            except Exception as error:  # noqa: BLE001  # what cannot be verified is not certified
                self.last_error = f"{name}: {type(error).__name__}: {error}"
                checks[name] = torch.zeros_like(checks["envelope"])
        return checks

    def _by_hand(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Return ``action`` with what a person sets, under latched interlocks, box and rate; other rows as they are."""
        if context.operator is None:
            return action
        asked = torch.where(context.operator.isfinite(), context.operator.to(action.dtype), action)
        held = asked if self.interlock is None else self.interlock.override(asked)
        return torch.where(manned(context)[:, None], self._final(context, held).action, action)

    def _believed(self, context: ShieldContext) -> ShieldContext:
        """Return ``context`` with what integrity believes of it: the very same object for one cycle, by which stages know it."""
        if self._integrity is None:
            return context
        if self._cycle is None or self._cycle[0] is not context:
            return replace(context, sound=self._integrity.believes(context))
        return self._cycle[1]

    def _others(
        self, context: ShieldContext, action: Tensor, fallback: Tensor, checks: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the last resort to the actuators that a person leaves alone, where the whole does not pass; check again."""
        if context.operator is None:
            return action, checks
        passes = torch.stack([*checks.values()]).all(dim=0)
        alone = (manned(context) & ~passes)[:, None] & ~context.operator.isfinite()
        action = torch.where(alone, self._last_resort(context, fallback), action)
        return action, self._verify(context, action)

    def _certified(self, context: ShieldContext, checks: Mapping[str, Tensor]) -> Tensor:
        """Return ``[B]`` bool: every check is passed that binds the row."""
        if context.operator is None:
            return torch.stack([*checks.values()]).all(dim=0)
        free = manned(context)
        return torch.stack([kept if name in BINDING else kept | free for name, kept in checks.items()]).all(dim=0)

    def _reasons_of(self, context: ShieldContext, checks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name the checks that were not passed, and what a person set and overrode."""
        if context.operator is None:
            return {f"reverify:{name}": ~kept for name, kept in checks.items()}
        free, by_hand = manned(context), context.operator.isfinite().unbind(dim=-1)
        reasons = {f"operator:{name}": flag for name, flag in zip(self.envelope.names, by_hand, strict=True)}
        for name, kept in checks.items():
            overridden = free & ~kept if name not in BINDING else torch.zeros_like(kept)
            reasons |= {f"reverify:{name}": ~kept & ~overridden, f"overridden:{name}": overridden}
        return reasons

    def _last_resort(self, context: ShieldContext, fallback: Tensor) -> Tensor:
        held = fallback if self.sequence is None or self._has_backup else self.sequence.override(fallback)
        target = held if self.interlock is None else self.interlock.override(held)
        return self.envelope.toward(context.previous, target)

    def _require_same_batch(self, batch: int) -> None:
        """Refuse a batch of another size than before: to adapt to it would be to forget latches."""
        if self._infeasible is not None and self._infeasible.shape[0] != batch:
            raise ShieldError(
                f"context: found a batch of {batch} rows, expected {self._infeasible.shape[0]} as before. "
                "Call reset() first if other plants are meant; it forgets latches too."
            )

    def _count(self, infeasible: Tensor) -> None:
        before = torch.zeros_like(infeasible, dtype=torch.int64) if self._infeasible is None else self._infeasible
        self._infeasible = before + infeasible
