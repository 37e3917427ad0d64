"""One form for every projection, and the solution that belongs to a pattern of active constraints.

Letters: B rows, A actions, C half-spaces. Every problem is first moved and scaled: the point of ``{y: G y ≤ h, l ≤ y ≤ u}`` nearest to the
origin, with ``y = W (x − proposal)`` and rows of ``G`` of length 1. A pattern says of each action whether it is free, at its low or at its
high bound, and of each half-space whether it is active; it determines ``y`` by a linear system with at most C unknowns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FEASIBILITY = 1e-11
"""A half-space counts as kept if it is passed by less than this, relative to the distances of the problem."""
RIDGE = 1e-14
"""Added to the Gram matrix, whose rows have length 1, so that dependent active normals do not stop the solution."""


class Problem(NamedTuple):
    """The moved and scaled problem, float64: ``normals`` G ``[B, C, A]``, ``offsets`` h ``[B, C]``, ``low``, ``high`` ``[B, A]``."""

    normals: Tensor
    offsets: Tensor
    low: Tensor
    high: Tensor


class Pattern(NamedTuple):
    """Which constraints are active: ``free``, ``at_low`` ``[B, A]`` bool (neither: at high), ``active`` ``[B, C]`` bool."""

    free: Tensor
    at_low: Tensor
    active: Tensor


def scaled(centre: Tensor, normals: Tensor, offsets: Tensor, low: Tensor, high: Tensor, scale: Tensor) -> Problem:
    """Move ``centre`` ``[B, A]`` to the origin, take the weights ``scale`` ``[B, A]`` into the axes, make every normal 1 long."""
    shifted = offsets - (normals @ centre[:, :, None]).squeeze(-1)
    tilted = normals / scale[:, None, :]
    largest = tilted.detach().abs().amax(dim=-1)
    largest = torch.where(largest > 0.0, largest, 1.0)
    tilted, shifted = tilted / largest[..., None], shifted / largest  # first, so that squares cannot overflow
    length = torch.linalg.vector_norm(tilted.detach(), dim=-1)
    length = torch.where(length > 0.0, length, 1.0)
    return Problem(
        tilted / length[..., None], shifted / length, _moved(low, centre, scale), _moved(high, centre, scale)
    )


def _moved(bound: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Return ``(bound − centre) · scale``; an infinite bound stays as it is, and without a gradient, which would be no number."""
    open_side = bound.isinf()
    return torch.where(open_side, bound, (torch.where(open_side, 0.0, bound) - centre) * scale)


def solve(problem: Problem, pattern: Pattern) -> Tensor:
    """Return the ``y`` ``[B, A]`` of a pattern: fixed actions at their bounds, free ones along the active normals.

    With multipliers μ: ``y_free = −G_freeᵀ μ`` and ``G y = h`` for the active half-spaces. Inactive ones get the equation μ = 0.
    Differentiable; one step of refinement takes the effect of the ridge out again.
    """
    free = pattern.free.double()
    fixed = torch.where(pattern.free, 0.0, torch.where(pattern.at_low, problem.low, problem.high))
    on = pattern.active.double()
    reduced = problem.normals * free[:, None, :] * on[:, :, None]
    matrix = reduced @ reduced.mT + torch.diag_embed(1.0 - on)
    wanted = on * (
        (problem.normals @ fixed[:, :, None]).squeeze(-1) - torch.where(pattern.active, problem.offsets, 0.0)
    )
    ridged = matrix + RIDGE * torch.eye(on.shape[1], dtype=on.dtype, device=on.device)
    factors, pivots, _ = torch.linalg.lu_factor_ex(ridged)
    multipliers = torch.linalg.lu_solve(factors, pivots, wanted[:, :, None])
    correction = torch.linalg.lu_solve(factors, pivots, wanted[:, :, None] - matrix @ multipliers)
    point: Tensor = fixed - (reduced.mT @ (multipliers + correction)).squeeze(-1)
    return point


def pattern_at(problem: Problem, unclipped: Tensor, active: Tensor) -> Pattern:
    """Read off the pattern of ``clip(unclipped)`` ``[B, A]``; ``active`` ``[B, C]``."""
    at_low = unclipped <= problem.low
    return Pattern(~at_low & (unclipped < problem.high), at_low, active)


def violation(problem: Problem, y: Tensor) -> Tensor:
    """Return ``[B, K]``: by how far ``y`` ``[B, K, A]`` is beyond the worst half-space; relative once distances pass 1; NaN is inf.

    Only what is passed by more than rounding allows counts: each distance is divided by the size of the numbers that it is made of.
    """
    reach = torch.maximum(y.abs().amax(dim=-1)[..., None], problem.offsets.abs()[:, None, :])  # [B, K, C]
    excess = torch.einsum("bca,bka->bkc", problem.normals, y) - problem.offsets[:, None, :]
    worst = (excess / reach.clamp(min=torch.finfo(torch.float64).tiny)).amax(dim=-1)
    return torch.where(worst.isnan(), torch.inf, worst)


def eliminate(rows: list[list[Tensor]], *, singular: float | None = None) -> list[Tensor]:
    """Solve symmetric positive semi-definite systems, all at once; for these no pivoting is needed.

    Args:
        rows: of each system S rows of matrix and right side, S + 1 tensors each, of any shape that is the same for all.
        singular: a pivot of at most this gives NaN; None if there is none.

    Returns:
        The S unknowns.
    """
    count = len(rows)
    rows = [[*row] for row in rows]
    for k in range(count):
        if singular is not None:
            rows[k][k] = torch.where(rows[k][k] > singular, rows[k][k], torch.nan)
        for i in range(k + 1, count):
            factor = rows[i][k] / rows[k][k]
            for j in range(k + 1, count + 1):
                rows[i][j] = torch.addcmul(rows[i][j], factor, rows[k][j], value=-1.0)
    solution = [row[count] for row in rows]
    for k in reversed(range(count)):
        for j in range(k + 1, count):
            solution[k] = torch.addcmul(solution[k], rows[k][j], solution[j], value=-1.0)
        solution[k] = solution[k] / rows[k][k]
    return solution
