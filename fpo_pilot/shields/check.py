"""What every shield must pass, shipped with the API: for shields of one's own as well as for ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.verdict import Shield, ShieldContext, Verdict

_ODD = (math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-40, -1e-40, 0.0)


@dataclass(frozen=True)
class ShieldCheck:
    """One finding of :func:`check_shield`."""

    name: str
    passed: bool
    detail: str = ""


def check_shield(
    shield: Shield,
    *,
    measured: int,
    actions: int,
    envelope: Envelope | None = None,
    normal: tuple[float, float] = (0.0, 1.0),
    batch: int = 64,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[ShieldCheck, ...]:
    """Try a shield on odd and on ordinary numbers.

    The shield is reset before and after; its memory is lost.

    Args:
        shield: any shield; an incomplete layer (one that leaves box and rate to a later stage) is given without ``envelope``.
        measured: M.
        actions: A.
        envelope: box and rate that the shield answers for.
        normal: least and greatest ordinary reading, for measurements.
        batch: rows of each trial.
        seed: of the random numbers.
        dtype: of the tensors.
    """
    trials = _Trials(measured, actions, envelope, normal, batch, seed, dtype)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("a finite action for any floats", lambda: _finite(shield, trials)),
        ("verdict has its shapes, dtypes and reasons", lambda: _shapes(shield, trials)),
        ("the same for a batch and for its rows one by one", lambda: _rows(shield, trials)),
        ("judging its own action again changes nothing", lambda: _idempotent(shield, trials)),
        ("its verdict keeps its own promise", lambda: _holds(shield, trials)),
        ("memory restored gives the same verdicts", lambda: _restores(shield, trials)),
        ("runs where numbers cannot be looked at (device meta)", lambda: _meta(shield, trials)),
    ]
    if envelope is not None:
        bounds = envelope
        checks.insert(1, ("in the box, within the rate of the read-back", lambda: _permitted(shield, trials, bounds)))
    return tuple(_run(shield, name, check) for name, check in checks)


@dataclass(frozen=True)
class _Trials:
    measured: int
    actions: int
    envelope: Envelope | None
    normal: tuple[float, float]
    batch: int
    seed: int
    dtype: torch.dtype

    def __iter__(self) -> Iterator[tuple[ShieldContext, Tensor]]:
        """Yield ordinary cycles, then cycles in which some numbers are odd, then cycles in which most are."""
        generator = torch.Generator().manual_seed(self.seed)
        for odd in (0.0, 0.0, 0.1, 0.1, 0.7):
            yield self._cycle(generator, odd)

    def _cycle(self, generator: torch.Generator, odd: float) -> tuple[ShieldContext, Tensor]:
        low, high = self._box()
        span = high - low

        def draw(columns: int, bottom: Tensor | float, width: Tensor | float) -> Tensor:
            plain = bottom + width * torch.rand(self.batch, columns, generator=generator, dtype=torch.float64)
            index = torch.randint(len(_ODD), (self.batch, columns), generator=generator)
            chosen = torch.rand(self.batch, columns, generator=generator) < odd
            return torch.where(chosen, torch.tensor(_ODD, dtype=torch.float64)[index], plain).to(self.dtype)

        bad = torch.rand(self.batch, self.measured, generator=generator) < odd
        context = ShieldContext(
            measurement=draw(self.measured, self.normal[0], self.normal[1] - self.normal[0]),
            quality=bad.to(torch.uint8),
            age=draw(self.measured, 0.0, 0.0).abs(),
            previous=draw(self.actions, low, span),
            fallback=draw(self.actions, low, span),
            period=1.0,
        )
        return context, draw(self.actions, low - 0.5 * span, 2.0 * span)

    def _box(self) -> tuple[Tensor, Tensor]:
        if self.envelope is None:
            return torch.zeros(self.actions, dtype=torch.float64), torch.ones(self.actions, dtype=torch.float64)
        return torch.tensor(self.envelope.low, dtype=torch.float64), torch.tensor(
            self.envelope.high, dtype=torch.float64
        )


def _run(shield: Shield, name: str, check: Callable[[], str]) -> ShieldCheck:
    shield.reset()
    try:
        detail = check()
    except Exception as error:  # noqa: BLE001  # the shield under test may break in any way; that is a finding
        detail = f"{type(error).__name__}: {error}"
    shield.reset()
    return ShieldCheck(name, not detail, detail)


def _finite(shield: Shield, trials: _Trials) -> str:
    for context, proposal in trials:
        broken = ~shield(context, proposal).action.isfinite().all(dim=-1)
        if bool(broken.any()):
            return f"{int(broken.sum())} of {trials.batch} rows are not finite"
    return ""


def _permitted(shield: Shield, trials: _Trials, envelope: Envelope) -> str:
    for context, proposal in trials:
        broken = ~envelope.permits(context.previous, shield(context, proposal).action)
        if bool(broken.any()):
            return f"{int(broken.sum())} of {trials.batch} rows are outside the box or too far from the read-back"
    return ""


def _shapes(shield: Shield, trials: _Trials) -> str:
    codes: set[str] | None = None
    for context, proposal in trials:
        verdict = shield(context, proposal)
        flags = {"feasible": verdict.feasible, **verdict.reasons}
        wrong = [name for name, flag in flags.items() if flag.shape != (trials.batch,) or flag.dtype != torch.bool]
        if wrong or verdict.action.shape != proposal.shape or verdict.margin.shape != (trials.batch,):
            return f"not [B] bool, or an action or margin of another shape: {', '.join(wrong)}"
        if codes is not None and codes != set(verdict.reasons):
            return "the codes of the reasons change from cycle to cycle"
        codes = set(verdict.reasons)
    return "" if shield.promise.strip() else "no promise is stated"


def _rows(shield: Shield, trials: _Trials) -> str:
    together = [shield(context, proposal) for context, proposal in trials]
    for row in range(min(trials.batch, 8)):
        shield.reset()
        chosen = slice(row, row + 1)
        for verdict, (context, proposal) in zip(together, trials, strict=True):
            alone = shield(context.rows(chosen), proposal[chosen])
            if not _same(alone, verdict, row):
                return f"row {row} is judged differently alone"
    return ""


def _idempotent(shield: Shield, trials: _Trials) -> str:
    for context, proposal in trials:
        before = shield.state_dict()
        first = shield(context, proposal)
        after = shield.state_dict()
        shield.load_state_dict(before)
        again = shield(context, first.action)
        shield.load_state_dict(after)
        if not torch.equal(first.action, again.action):
            return "the second verdict moves the action of the first"
    return ""


def _holds(shield: Shield, trials: _Trials) -> str:
    for context, proposal in trials:
        verdict = shield(context, proposal)
        kept = shield.holds(context, verdict.action)
        if kept.shape != (trials.batch,) or not bool((kept | ~verdict.feasible).all()):
            return f"{int((~kept).sum())} of {trials.batch} rows"
    return ""


def _restores(shield: Shield, trials: _Trials) -> str:
    cycles = list(trials)
    for context, proposal in cycles[:2]:
        shield(context, proposal)
    saved = shield.state_dict()
    first = [shield(context, proposal) for context, proposal in cycles[2:]]
    shield.reset()
    shield.load_state_dict(saved)
    for old, (context, proposal) in zip(first, cycles[2:], strict=True):
        new = shield(context, proposal)
        same = torch.equal(old.action, new.action) and all(
            torch.equal(old.reasons[key], new.reasons[key]) for key in old.reasons
        )
        if not same:
            return "a verdict differs after state_dict, reset and load_state_dict"
    return ""


def _meta(shield: Shield, trials: _Trials) -> str:
    for context, proposal in trials:
        tensors = (context.measurement, context.quality, context.age, context.previous, context.fallback)
        measurement, quality, age, previous, fallback = (tensor.to("meta") for tensor in tensors)
        moved = ShieldContext(measurement, quality, age, previous, fallback, context.period)
        if shield(moved, proposal.to("meta")).action.device.type != "meta":
            return "the action is on another device than the proposal"
    return ""


def _same(alone: Verdict, together: Verdict, row: int) -> bool:
    chosen = slice(row, row + 1)
    return (
        torch.equal(alone.action, together.action[chosen])
        and torch.equal(alone.feasible, together.feasible[chosen])
        and all(torch.equal(alone.reasons[key], flag[chosen]) for key, flag in together.reasons.items())
    )
