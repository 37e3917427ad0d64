"""L4: backup roll-out. Of proposal and backup, the nearest mixture after which the backup still keeps every hard limit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.memory import Memory
from fpo_pilot.shields.model.estimate import Estimator
from fpo_pilot.shields.model.lookahead import Lookahead
from fpo_pilot.shields.model.search import Choice, nearest_safe
from fpo_pilot.shields.verdict import ShieldContext, Verdict


class LateError(ShieldError):
    """A decision took longer than its budget."""


class PredictiveShield:
    """Executes u = α · proposal + (1 − α) · backup, with the greatest α of a grid that is certified.

    Certified is a u if, at every point of the uncertainty set, one step of u and then the backup at the rate limit stays inside the
    limits until it is in the terminal set, where the backup can be held for ever. Where the proposal is certified as box and rate will
    let it, it passes unchanged.

    **A certificate is inherited**: if u was certified and the read-back says that u was applied, the backup is certified in the next
    cycle, for it is the tail of what was certified. (Else noise alone would now and then put a corner of the readings outside.) The tail
    says as well where the plant must then be, cycle after cycle; a reading that lies elsewhere ends the inheritance, and so does one by
    which the plant is beyond a limit wherever in its error it is: the model is then wrong. A cycle that could not look ahead at all is
    never certified. Inheritance that goes on for long says that the look ahead finds no way but the one that was found before: watch it.

    Reasons: ``predictive.reduced`` 0 < α < 1; ``predictive.backup`` α = 0 in place of another proposal; ``predictive.limit:ID`` and
    ``predictive.terminal`` what the proposal would break; ``predictive.inherited`` the backup stands by the certificate of the cycle
    before; ``predictive.infeasible`` nothing is certified; ``predictive.not_finite`` the model gave what is not a number, or where the
    plant is is not known;
    ``predictive.raised`` it raised; ``predictive.late`` the budget was spent. In the last four the action is the backup.

    Args:
        lookahead: the roll-out.
        estimator: where the plant can be.
        tolerance: of each state, how far outside of its prediction a reading may be before the model counts as wrong: the integrator
            of a look ahead is not exact either.
        candidates: mixtures of the grid, proposal and backup included.
        budget: seconds of a live decision; None in training and evaluation, where no clock may decide.
        clock: of the budget.
    """

    promise = (
        "After what box and rate make of the action, the backup keeps every hard limit, for every model of the uncertainty set; "
        "where this cannot be certified, the action is the backup."
    )

    def __init__(
        self,
        lookahead: Lookahead,
        estimator: Estimator,
        *,
        tolerance: tuple[float, ...],
        candidates: int = 9,
        budget: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.lookahead = lookahead
        self.estimator = estimator
        self.tolerance = tolerance
        self.candidates = candidates
        self.budget = budget
        self.clock = clock
        self.last_error = ""
        """How the model failed last, if it did."""
        actions = len(lookahead.envelope.names)
        self._states = len(estimator.points.errors[0])
        steps = (lookahead.horizon + 1) * self._states
        self._memory = Memory(
            "PredictiveShield",
            {
                "certified": (False, 1),
                "inherited": (False, 1),
                "action": (math.nan, actions),
                "low": (-math.inf, steps),
                "high": (math.inf, steps),
                "failures": (0, 1),
            },
        )
        self._context: ShieldContext | None = None

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        """Judge ``proposal`` ``[B, A]``."""
        dtype = torch.promote_types(proposal.dtype, context.previous.dtype)
        self._memory.start(context.batch, proposal.device)
        self.estimator.advance(context)
        asked = proposal.to(dtype)
        mixtures = self._mixtures(context, asked)
        in_time = self._deadline()
        try:
            state = self.estimator.states(context, asked)
            parameters, _ = self.estimator.points.tensors(state)
            choice = nearest_safe(self.lookahead, state, parameters, mixtures, each_step=in_time)
            in_time()
        except Exception as error:  # noqa: BLE001  # a model may break in any way: the backup acts, and says why
            self.last_error = f"{type(error).__name__}: {error}"
            return self._without_model(context, asked, mixtures[:, -1], late=isinstance(error, LateError))
        return self._decide(context, asked, mixtures, state, choice)

    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Check what box and rate make of ``action``: what was decided in this cycle counts, all else is simulated; ``[B]`` bool."""
        if not self._memory.started:
            return self._simulated(context, action)
        decided = (action == self._memory["action"].to(action.dtype)).all(dim=-1)
        same_cycle = self._context is context
        if same_cycle and action.device.type == "cpu" and bool(decided.all()):
            return self._memory["certified"][:, 0]
        backup = self._backup(context, action)
        tail = self._memory["inherited"][:, 0] & (action == backup).all(dim=-1)
        fresh = self._simulated(context, action) | (tail if same_cycle else torch.zeros_like(tail))
        return torch.where(decided, self._memory["certified"][:, 0], fresh) if same_cycle else fresh

    @property
    def failures(self) -> Tensor:
        """``[B]`` int64: cycles in which the model raised, was late, or gave what is not a number.

        Raises:
            ShieldError: no cycle has been judged yet.
        """
        if not self._memory.started:
            raise ShieldError("failures: found no cycle yet, expected at least one. Call the shield first.")
        return self._memory["failures"][:, 0]

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget certificates and what was sent: another plant starts in these rows."""
        self._context = None
        self._memory.reset(mask)
        self.estimator.reset(mask)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the last certificate, and what was sent."""
        return self._memory.state_dict() | {f"sent.{key}": value for key, value in self.estimator.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._context = None
        self._memory.load_state_dict({key: value for key, value in state.items() if not key.startswith("sent.")})
        self.estimator.load_state_dict(
            {key.removeprefix("sent."): value for key, value in state.items() if key.startswith("sent.")}
        )

    def _mixtures(self, context: ShieldContext, asked: Tensor) -> Tensor:
        """Return the candidates ``[B, K, A]`` from proposal to backup, as box and rate let them."""
        envelope = self.lookahead.envelope
        first, last = envelope.limit(context.previous, asked), self._backup(context, asked)
        shares = torch.linspace(1.0, 0.0, self.candidates, dtype=asked.dtype, device=asked.device)[:, None]
        mixed = shares * first[:, None] + (1.0 - shares) * last[:, None]
        mixed = torch.minimum(
            torch.maximum(mixed, torch.minimum(first, last)[:, None]), torch.maximum(first, last)[:, None]
        )
        return torch.cat((first[:, None], mixed[:, 1:-1], last[:, None]), dim=1)

    def _backup(self, context: ShieldContext, like: Tensor) -> Tensor:
        """Return one step of the backup ``[B, A]``."""
        safe = self.lookahead.envelope.bounds(like).safe.expand_as(like)
        return self.lookahead.envelope.limit(context.previous, safe)

    def _decide(
        self, context: ShieldContext, asked: Tensor, mixtures: Tensor, state: Tensor, choice: Choice
    ) -> Verdict:
        row = torch.arange(context.batch, device=asked.device)
        action = mixtures[row, choice.index]
        inherited = ~choice.found & self._inherits(context, state)
        not_finite = ~choice.first.finite[:, 0]
        certified = choice.found | inherited
        blind = ~state.isfinite().flatten(1).all(dim=-1)  # nothing is certified by it, and nothing refuted
        kept = blind & ~choice.found & self._applied(context)
        self._remember(context, action, certified | kept, inherited, not_finite, self._hull(choice))
        intact = choice.found & (choice.index == 0) & asked.isfinite().all(dim=-1)
        alpha = 1.0 - choice.index.to(asked.dtype) / (self.candidates - 1)
        unchanged = (mixtures[:, 0] == mixtures[:, -1]).all(dim=-1)
        refused = ~choice.first.safe[:, 0]
        reasons = {
            "predictive.reduced": choice.found & (choice.index > 0) & (choice.index < self.candidates - 1),
            "predictive.backup": refused & (choice.index == self.candidates - 1) & ~unchanged,
            "predictive.terminal": refused
            & ~choice.first.arrives[:, 0]
            & (choice.first.distance[:, 0] >= 0.0).all(dim=-1),
            "predictive.inherited": inherited,
            "predictive.infeasible": ~certified,
            "predictive.not_finite": not_finite,
            "predictive.raised": torch.zeros_like(inherited),
            "predictive.late": torch.zeros_like(inherited),
        } | {
            f"predictive.limit:{name}": refused & ~(distance >= 0.0)
            for name, distance in self.lookahead.limits.by_limit(choice.first.distance[:, 0]).items()
        }
        margins = {
            f"predictive:{name}": least for name, least in self.lookahead.limits.by_limit(choice.distance).items()
        }
        return Verdict(
            action=torch.where(intact[:, None], asked, action),
            reasons=reasons,
            margin=choice.score,
            feasible=certified,
            alpha=alpha,
            margins=margins,
        )

    def _without_model(self, context: ShieldContext, asked: Tensor, backup: Tensor, *, late: bool) -> Verdict:
        """Fall back on the backup. Where it is the tail of a certificate the next cycle may inherit that again; this one is infeasible."""
        kept = self._applied(context)
        everywhere, nowhere = torch.ones_like(kept), torch.zeros_like(kept)
        self._remember(context, backup, kept, nowhere, everywhere, self._tail())
        reasons = {
            "predictive.reduced": nowhere,
            "predictive.backup": ~(backup == asked).all(dim=-1),
            "predictive.terminal": nowhere,
            "predictive.inherited": nowhere,
            "predictive.infeasible": everywhere,
            "predictive.not_finite": nowhere,
            "predictive.raised": nowhere if late else everywhere,
            "predictive.late": everywhere if late else nowhere,
        } | {f"predictive.limit:{bound.id}": nowhere for bound in self.lookahead.limits.bounds}
        blind = asked.new_full((context.batch,), -math.inf)
        margins = {f"predictive:{bound.id}": blind for bound in self.lookahead.limits.bounds}
        return Verdict(backup, reasons, blind, nowhere, alpha=torch.zeros_like(blind), margins=margins)

    def _applied(self, context: ShieldContext) -> Tensor:
        """Return ``[B]`` bool: the read-back is what was certified in the cycle before."""
        last = self._memory["action"]
        found = context.previous.to(torch.float64)
        slack = 4.0 * torch.finfo(context.previous.dtype).eps * last.abs()
        return self._memory["certified"][:, 0] & ((found - last).abs() <= slack).all(dim=-1)

    def _inherits(self, context: ShieldContext, state: Tensor) -> Tensor:
        """Return ``[B]`` bool: the backup is the tail of what was certified, and the reading ``[B, N, S]`` does not speak against it."""
        now = state.to(torch.float64)
        slack = torch.tensor(self.tolerance, dtype=torch.float64, device=now.device)
        low, high = (self._memory[side][:, : self._states] for side in ("low", "high"))
        explained = (now.amax(dim=1) >= low - slack) & (
            now.amin(dim=1) <= high + slack
        )  # not so for what is not a number
        outside = (self.lookahead.limits.distance(state) < 0.0).all(dim=1).any(dim=-1)
        return self._applied(context) & explained.all(dim=-1) & ~outside

    def _tail(self) -> tuple[Tensor, Tensor]:
        """Return where the plant must be, ``[B, (H + 1)·S]`` each, one cycle on; after the horizon it is in the terminal set."""
        last = self.lookahead.terminal.box(self._memory["low"], self._states)
        return tuple(  # type: ignore[return-value]  # of two
            torch.cat((self._memory[side][:, self._states :], end.expand(len(self._memory[side]), -1)), dim=-1)
            for side, end in zip(("low", "high"), last, strict=True)
        )

    def _hull(self, choice: Choice) -> tuple[Tensor, Tensor]:
        """Return the same, of what was certified now, and else the tail of what was before."""
        low, high = self._tail()
        fresh = choice.found[:, None]
        return (
            torch.where(fresh, choice.low.flatten(1).to(low.dtype), low),
            torch.where(fresh, choice.high.flatten(1).to(high.dtype), high),
        )

    def _remember(
        self,
        context: ShieldContext,
        action: Tensor,
        certified: Tensor,
        inherited: Tensor,
        failed: Tensor,
        hull: tuple[Tensor, Tensor],
    ) -> None:
        self._context = context
        self._memory.update(
            certified=certified[:, None],
            inherited=inherited[:, None],
            action=action.to(torch.float64),
            low=hull[0].to(torch.float64),
            high=hull[1].to(torch.float64),
            failures=self._memory["failures"] + failed[:, None],
        )

    def _simulated(self, context: ShieldContext, action: Tensor) -> Tensor:
        state = self.estimator.states(context, action)
        parameters, _ = self.estimator.points.tensors(state)
        limited = self.lookahead.envelope.limit(context.previous, action)
        return self.lookahead.outlook(state, parameters, limited[:, None]).safe[:, 0]

    def _deadline(self) -> Callable[[], None]:
        """Return what raises once the budget is spent; without one no clock is read."""
        if self.budget is None:
            return lambda: None
        budget, end = self.budget, self.clock() + self.budget

        def check() -> None:
            if self.clock() > end:
                raise LateError(f"predictive.budget: found more than {budget:g} s, expected less. The backup acts.")

        return check
