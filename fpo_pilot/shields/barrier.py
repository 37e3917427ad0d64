"""L3: discrete-time control barrier function. A state may use up only a share of its distance to a limit in one step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.model.bounds import StateSet
from fpo_pilot.shields.model.dynamics import Model
from fpo_pilot.shields.model.estimate import Estimator
from fpo_pilot.shields.projection import project
from fpo_pilot.shields.verdict import ShieldContext, Verdict

_PASSES = 3
"""Linearisations: at the proposal, and at what the one before gave."""
_SHARES = (0.99, 0.95, 0.9, 0.75, 0.5, 0.25)
"""Of the line search from the projection to the backup."""


class BarrierShield:
    """Makes the smallest change of a proposal after which h(f(x, u)) − w ≥ (1 − γ) h(x) for each limit's distance h.

    The condition is linearised in u (exact where the model is affine in it), and solved with box and rate by the exact projection. What
    comes out is then tried on the model itself, at every part of the step: first the proposal, then the projections, then mixtures with
    the backup, then the backup; the first one that keeps the condition is the action. Where none does, the action is the backup and the
    row is infeasible: the condition is never relaxed. w is the declared error of the model; with it, and while every step is feasible,
    no limit is passed from inside. That a feasible action will exist in the next step is not promised: where the plant can run away,
    use the predictive shield.

    Reasons: ``barrier.projected`` the smallest change; ``barrier.reduced`` a mixture with the backup; ``barrier.backup``;
    ``barrier.limit:ID`` what the proposal would break; ``barrier.infeasible``; ``barrier.raised`` and ``barrier.not_finite`` of the model.

    Args:
        model: of the plant.
        limits: what is to be kept, margins included.
        estimator: where the plant is; one point.
        envelope: box, rate and backup of the actions.
        decay: γ.
        error: w for each bound of ``limits``, in the unit of its state.
    """

    promise = (
        "One step after what box and rate make of the action, each distance to a hard limit is at least (1 − decay) times what it was; "
        "where this cannot be certified, the action is the backup."
    )

    def __init__(
        self,
        model: Model,
        limits: StateSet,
        estimator: Estimator,
        envelope: Envelope,
        *,
        decay: float,
        error: tuple[float, ...],
    ) -> None:
        self.model, self.limits, self.estimator, self.envelope = model, limits, estimator, envelope
        self.decay, self.error = decay, error
        self.last_error = ""
        """How the model failed last, if it did."""

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        """Judge ``proposal`` ``[B, A]``."""
        dtype = torch.promote_types(proposal.dtype, context.previous.dtype)
        asked = proposal.to(dtype)
        self.estimator.advance(context)
        backup = self._limited(context, self.envelope.bounds(asked).safe.expand_as(asked))
        try:
            return self._judge(context, asked, backup)
        except Exception as error:  # noqa: BLE001  # a model may break in any way: the backup acts, and says why
            self.last_error = f"{type(error).__name__}: {error}"
            nothing = asked.new_full((context.batch, len(self.limits.bounds)), math.nan)
            lost = torch.zeros(context.batch, dtype=torch.bool, device=asked.device)
            return self._verdict(
                asked, backup, lost, torch.full_like(lost, 9, dtype=torch.int64), nothing, nothing, ~lost
            )

    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Try what box and rate make of ``action`` on the model; ``[B]`` bool."""
        state, floor = self._start(context, action)
        return (self._excess(state, floor, self._limited(context, action))[0] >= 0.0).all(dim=-1)

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget what was sent."""
        self.estimator.reset(mask)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what was sent while a late reading is on its way."""
        return self.estimator.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.estimator.load_state_dict(dict(state))

    def _judge(self, context: ShieldContext, asked: Tensor, backup: Tensor) -> Verdict:
        state, floor = self._start(context, asked)
        first = self._limited(context, asked)
        projected = [first]
        for _ in range(_PASSES):
            projected.append(self._projected(context, state, floor, first, at=projected[-1]))
        mixed = [share * projected[-1] + (1.0 - share) * backup for share in _SHARES]
        tried = torch.stack([*projected, *(self._limited(context, mixture) for mixture in mixed), backup], dim=1)
        count = tried.shape[1]
        excess, least = self._excess(
            state.repeat_interleave(count, dim=0), floor.repeat_interleave(count, dim=0), tried.flatten(0, 1)
        )
        excess = excess.reshape(context.batch, count, -1)
        kept = (excess >= 0.0).all(dim=-1)
        index = torch.where(kept.any(dim=-1), kept.to(torch.uint8).argmax(dim=-1), count - 1)
        row = torch.arange(context.batch, device=asked.device)
        intact = kept[:, 0] & asked.isfinite().all(dim=-1)
        action = torch.where(intact[:, None], asked, tried[row, index])
        distance = least.reshape(context.batch, count, -1)[row, index]
        failed = torch.zeros_like(intact)
        return self._verdict(asked, action, kept.any(dim=-1), index, excess[:, 0], distance, failed)

    def _start(self, context: ShieldContext, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state ``[B, S]`` now, and what each distance ``[B, L]`` must be after the step."""
        state = self.estimator.states(context, like)[:, 0]
        error = torch.tensor(self.error, dtype=like.dtype, device=like.device)
        return state, (1.0 - self.decay) * self.limits.distance(state) + error

    def _limited(self, context: ShieldContext, action: Tensor) -> Tensor:
        return self.envelope.limit(context.previous, action)

    def _distances(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distances after each part of a step, ``[R, parts, L]``, and ``[R]`` whether the model trips."""
        states, tripped = self.model.trace(state, action, self.estimator.points.tensors(state)[0])
        return torch.stack([self.limits.distance(reached) for reached in states], dim=1), tripped

    def _excess(self, state: Tensor, floor: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``[R, L]`` by how much the condition is kept at the worst part of the step, and ``[R, L]`` the least distance there."""
        distances, tripped = self._distances(state, action)
        excess = (distances - floor[:, None]).amin(dim=1)
        broken = tripped[:, None] & torch.ones_like(excess, dtype=torch.bool)
        return torch.where(broken, -math.inf, excess), distances.amin(dim=1)

    def _projected(self, context: ShieldContext, state: Tensor, floor: Tensor, first: Tensor, *, at: Tensor) -> Tensor:
        """Linearise the condition at ``at`` ``[B, A]``, and return the point nearest to ``first`` that keeps it, box and rate."""
        with torch.inference_mode(mode=False), torch.enable_grad():  # no derivative is taken in inference mode
            point = at.clone().requires_grad_()
            # The zero is there for a model in which an action plays no part: it has no derivative otherwise.
            distances = self._distances(state.clone(), point)[0] + 0.0 * point.sum(dim=-1)[:, None, None]
            value = distances.amin(dim=1)  # the worst part of the step; the others are looked at when it is tried
            # Rows do not touch each other, so the gradient of a column's sum holds the gradient of each row.
            slopes = [
                torch.autograd.grad(column.sum(), point, retain_graph=True, materialize_grads=True)[0]
                for column in value.unbind(-1)
            ]
        value, gradient = value.detach(), torch.stack(slopes, dim=1)  # [B, L], [B, L, A]
        offsets = value - floor - self.limits.tolerance(floor) - (gradient * at[:, None]).sum(dim=-1)
        low, high = self.envelope.interval(context.previous, at)
        bounds = self.envelope.bounds(at)
        action, _ = project(first, -gradient, offsets, low, high, weight=1.0 / (bounds.high - bounds.low))
        return self._limited(context, action)

    def _verdict(
        self,
        asked: Tensor,
        action: Tensor,
        kept: Tensor,
        index: Tensor,
        excess: Tensor,
        distance: Tensor,
        raised: Tensor,
    ) -> Verdict:
        mixtures = range(_PASSES + 1, _PASSES + 1 + len(_SHARES))
        reasons = {
            "barrier.projected": kept & (index > 0) & (index <= _PASSES),
            "barrier.reduced": kept & (index >= mixtures.start) & (index < mixtures.stop),
            "barrier.backup": (index >= mixtures.stop) & ~(action == asked).all(dim=-1),
            "barrier.infeasible": ~kept,
            "barrier.not_finite": ~excess.isfinite().all(dim=-1) & ~excess.isinf().any(dim=-1) & ~raised,
            "barrier.raised": raised,
        }
        for name, column in self.limits.by_limit(excess).items():
            reasons[f"barrier.limit:{name}"] = (index > 0) & ~(column >= 0.0)
        margin = self.limits.fractions(distance).amin(dim=-1)
        margins = {f"barrier:{name}": column for name, column in self.limits.by_limit(distance).items()}
        return Verdict(action, reasons, torch.where(margin.isnan(), -math.inf, margin), kept, margins=margins)
