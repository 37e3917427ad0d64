"""The public projection: any floats in, a point and whether it can be trusted out."""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.projection import active, dual, exact
from fpo_pilot.shields.projection.problem import Pattern, Problem, scaled, solve

KEPT = 1e-9
"""The result is checked again in the caller's own units: it may pass a half-space by this distance, relative to its own size."""
FARTHEST = 1e6
"""Proposals farther away than this, in sizes of the result, are not certified: float64 would not tell the nearest point."""
_MOST_HALF_SPACES = 4
_MOST_ACTIONS = 8


def project(
    proposal: Tensor, normals: Tensor, offsets: Tensor, low: Tensor, high: Tensor, *, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the point nearest to ``proposal`` that keeps ``normals · x ≤ offsets`` and ``low ≤ x ≤ high``.

    Minimises ``‖W (x − proposal)‖²``. One half-space is solved in closed form (sorted breakpoints); up to 4 by trying every active
    set, bounds included (solving first and clipping afterwards misses the optimum), where a few steps on the dual do not certify a
    point; more, or more than 8 actions, by iterating on the dual until the objective is certified to 1e-9. Computes in float64 inside.
    Differentiable almost everywhere in all arguments.

    Args:
        proposal: ``[B, A]``.
        normals: ``[B, C, A]``; C may be 0. A row of zeros is a constraint without a direction: kept if its offset is not negative.
        offsets: ``[B, C]``.
        low: ``[A]`` or ``[B, A]``; may be −inf.
        high: ``[A]`` or ``[B, A]``; may be inf.
        weight: diagonal of W, above 0: ``[A]`` or ``[B, A]``; ones if None.

    Returns:
        ``[B, A]`` the point, finite, in the dtype of ``proposal``, and ``[B]`` bool: whether it keeps all constraints and is certified
        to be the nearest. It is False where no point keeps them all, an input is not finite, a weight is not positive, or the proposal
        is a million times farther away than the result is large; the point is then in the box if there is one, and otherwise means
        nothing: use a fallback there.

    Raises:
        ShieldError: shapes do not fit.
    """
    _require_shapes(proposal, normals, offsets)
    point = proposal.double()
    bottom, top = low.double().expand_as(point), high.double().expand_as(point)
    scale = torch.ones_like(point) if weight is None else weight.double().expand_as(point)
    known = _usable(point, normals, offsets, bottom, top, scale)
    centre, planes, room = point, normals.double(), offsets.double()
    if point.device.type != "cpu" or not bool(known.all()):  # on a device nothing waits for this answer
        row = known[:, None]
        centre, scale = torch.where(row, point, 0.0), torch.where(row, scale, 1.0)
        planes, room = torch.where(row[..., None], planes, 0.0), torch.where(row, room, 0.0)
        bottom, top = torch.where(row, bottom, -torch.inf), torch.where(row, top, torch.inf)
    problem = scaled(centre, planes, room, bottom, top, scale)
    y, certified = _search(problem)
    action = (centre + y / scale).clamp(bottom, top)
    action = torch.where(action.isfinite(), action, 0.0).clamp(low.double().nan_to_num(), high.double().nan_to_num())
    sure = certified & known & _keeps(action, normals, offsets) & _near(centre, action)
    return _rounded(action, low, high, proposal.dtype), sure


def _search(problem: Problem) -> tuple[Tensor, Tensor]:
    """Return the point ``[B, A]`` and whether it is certified, ``[B]`` bool.

    The active constraints are found by the method that fits the size, without a gradient; the point is a function of the problem again.
    """
    half_spaces, actions = problem.normals.shape[1:]
    detached = Problem(*(tensor.detach() for tensor in problem))
    small = half_spaces <= _MOST_HALF_SPACES and actions <= _MOST_ACTIONS
    with torch.no_grad():
        if half_spaces == 0:
            pattern, certified = exact.clip_only(detached)
        elif half_spaces == 1:
            pattern, certified = exact.one_half_space(detached)
        elif small and problem.low.device.type == "cpu":
            pattern, y, certified = _settled_or_enumerated(detached)
            if not any(tensor.requires_grad for tensor in problem):
                return y, certified
        elif small:
            pattern, certified = exact.enumerate_patterns(detached)
        else:
            pattern, certified = dual.iterate(detached)
    return solve(problem, pattern), certified


def _settled_or_enumerated(problem: Problem) -> tuple[Pattern, Tensor, Tensor]:
    """Enumerate all active sets, but only of the rows of which an active-set method proves nothing; for the CPU.

    Returns:
        The pattern of each row, its point ``[B, A]``, and ``[B]`` bool: certified.
    """
    multipliers, hopeless = active.settle(problem)
    pattern, y, certified = dual.certified_pattern(problem, multipliers)
    rows = (~certified & ~hopeless).nonzero()[:, 0]
    certified &= ~hopeless
    if len(rows):
        left = Problem(*(tensor[rows] for tensor in problem))
        found, sure = exact.enumerate_patterns(left)
        for kept, new in zip(pattern, found, strict=True):
            kept[rows] = new
        y[rows], certified[rows] = solve(left, found), sure
    return pattern, y, certified


def _rounded(action: Tensor, low: Tensor, high: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``action`` in ``dtype``, inside of bounds that this dtype may not be able to say."""
    if action.dtype == dtype:
        return action
    bottom, top = low.to(dtype), high.to(dtype)
    bottom = torch.where(
        bottom.double() < low.double(), torch.nextafter(bottom, torch.full_like(bottom, torch.inf)), bottom
    )
    top = torch.where(top.double() > high.double(), torch.nextafter(top, torch.full_like(top, -torch.inf)), top)
    return torch.minimum(torch.maximum(action.to(dtype), bottom.nan_to_num()), top.nan_to_num())


def _usable(point: Tensor, normals: Tensor, offsets: Tensor, low: Tensor, high: Tensor, scale: Tensor) -> Tensor:
    """Return ``[B]`` bool: all numbers finite (bounds may be infinite outward), low not above high, weights above 0."""
    finite = point.isfinite().all(-1) & normals.isfinite().all(-1).all(-1) & offsets.isfinite().all(-1)
    box = (low <= high) & (low < torch.inf) & (high > -torch.inf)
    return finite & box.all(-1) & ((scale > 0.0) & scale.isfinite()).all(-1)


def _keeps(action: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """Check the result in the caller's units, where a huge proposal no longer hides an error; ``[B]`` bool."""
    wide = normals.detach().double()
    terms = wide * action.detach()[:, None, :]
    reach = torch.maximum(terms.abs().sum(dim=-1), offsets.detach().double().abs())
    length = torch.linalg.vector_norm(wide, dim=-1)
    return (terms.sum(dim=-1) - offsets.detach().double() <= KEPT * torch.maximum(reach, length)).all(dim=-1)


def _near(centre: Tensor, action: Tensor) -> Tensor:
    """Return ``[B]`` bool: the proposal is not so far away that the difference from it has lost the digits that matter."""
    size = action.detach().abs().amax(dim=-1).clamp(min=1.0)
    return centre.detach().abs().amax(dim=-1) <= FARTHEST * size


def _require_shapes(proposal: Tensor, normals: Tensor, offsets: Tensor) -> None:
    if proposal.dim() != 2 or normals.dim() != 3:
        raise ShieldError(
            f"project: found a proposal of shape {tuple(proposal.shape)} and normals of shape {tuple(normals.shape)}, "
            "expected [B, A] and [B, C, A]. Add the batch dimension."
        )
    batch, half_spaces, actions = normals.shape
    if tuple(proposal.shape) != (batch, actions) or tuple(offsets.shape) != (batch, half_spaces):
        raise ShieldError(
            f"project: found a proposal {tuple(proposal.shape)}, normals {tuple(normals.shape)} and offsets {tuple(offsets.shape)}, "
            "expected [B, A], [B, C, A] and [B, C]. Give one normal and one offset for each half-space of each row."
        )
