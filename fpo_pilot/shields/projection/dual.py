"""Patterns found on the dual, for problems too large to enumerate: Hildreth's sweeps, Newton's steps, and a certificate.

For multipliers μ ≥ 0 the point is ``y(μ) = clip(−Gᵀμ, l, u)``, and the dual is concave, piecewise quadratic,
with gradient ``G y(μ) − h``.
A sweep maximises it exactly in one multiplier after the other; a Newton step solves for all active ones at once. A row is certified when
its point keeps every half-space and the gap between primal and dual objective is below 1e-9; what is not certified counts as infeasible.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.shields.projection.exact import crossing
from fpo_pilot.shields.projection.problem import FEASIBILITY, RIDGE, Pattern, Problem, pattern_at, solve, violation

_ROUNDS = 12
_SWEEPS = 8
"""Sweeps of a round, before its Newton steps."""
_NEWTON = 6
_GAP = 1e-9


def iterate(problem: Problem) -> tuple[Pattern, Tensor]:
    """Run a fixed number of rounds (no wait for the device) and keep the first certified pattern of each row."""
    multipliers = torch.zeros_like(problem.offsets)
    best = _pattern(problem, multipliers)
    certified = _certify(problem, best, multipliers)
    for _ in range(_ROUNDS):
        for _ in range(_SWEEPS):
            multipliers = _sweep(problem, multipliers)
        trial = multipliers
        for _ in range(_NEWTON):
            trial = _newton(problem, trial)
            best, certified = _better(problem, trial, best, certified)
        best, certified = _better(problem, multipliers, best, certified)
        multipliers = torch.where((_dual(problem, trial) > _dual(problem, multipliers))[:, None], trial, multipliers)
    last = _pattern(problem, multipliers)
    pattern = Pattern(*(torch.where(certified[:, None], old, new) for old, new in zip(best, last, strict=True)))
    return pattern, certified


def _sweep(problem: Problem, multipliers: Tensor) -> Tensor:
    """Maximise the dual in each multiplier, one after the other."""
    columns = list(multipliers.unbind(dim=-1))
    base = -(problem.normals.mT @ multipliers[:, :, None]).squeeze(-1)
    for index, normal in enumerate(problem.normals.unbind(dim=1)):
        without = base + columns[index][:, None] * normal
        _, exact = crossing(without, normal, problem.offsets[:, index], problem.low, problem.high)
        columns[index] = exact
        base = without - exact[:, None] * normal
    return torch.stack(columns, dim=-1)


def _newton(problem: Problem, multipliers: Tensor) -> Tensor:
    """Solve ``G y = h`` for the half-spaces that are active or passed, with the present free actions; multipliers stay ≥ 0."""
    y, unclipped = _point(problem, multipliers)
    gradient = (problem.normals @ y[:, :, None]).squeeze(-1) - problem.offsets
    on = ((multipliers > 0.0) | (gradient > 0.0)).double()
    free = ((unclipped > problem.low) & (unclipped < problem.high)).double()
    reduced = problem.normals * free[:, None, :] * on[:, :, None]
    matrix = reduced @ reduced.mT + torch.diag_embed(1.0 - on)
    ridged = matrix + 100.0 * RIDGE * torch.eye(on.shape[1], dtype=on.dtype, device=on.device)
    step, _ = torch.linalg.solve_ex(ridged, on * gradient)
    moved = (multipliers + step).clamp(min=0.0)
    return torch.where(moved.isfinite(), moved, multipliers)


def _point(problem: Problem, multipliers: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``y(μ)`` and the same before clipping, ``[B, A]``."""
    unclipped = -(problem.normals.mT @ multipliers[:, :, None]).squeeze(-1)
    return unclipped.clamp(problem.low, problem.high), unclipped


def _dual(problem: Problem, multipliers: Tensor) -> Tensor:
    """Return ``[B]`` the dual objective, a lower bound of ``½‖y‖²``."""
    y, _ = _point(problem, multipliers)
    excess = (problem.normals @ y[:, :, None]).squeeze(-1) - problem.offsets
    return 0.5 * y.square().sum(dim=-1) + (multipliers * excess).sum(dim=-1)


def _pattern(problem: Problem, multipliers: Tensor) -> Pattern:
    return pattern_at(problem, _point(problem, multipliers)[1], multipliers > 0.0)


def _better(problem: Problem, multipliers: Tensor, best: Pattern, certified: Tensor) -> tuple[Pattern, Tensor]:
    """Take the pattern of ``multipliers`` where it is certified and none was before."""
    pattern = _pattern(problem, multipliers)
    now = _certify(problem, pattern, multipliers) & ~certified
    kept = Pattern(*(torch.where(now[:, None], new, old) for new, old in zip(pattern, best, strict=True)))
    return kept, certified | now


def _certify(problem: Problem, pattern: Pattern, multipliers: Tensor) -> Tensor:
    """Return ``[B]`` bool: the point of the pattern keeps all half-spaces, and no point can be nearer by more than the gap."""
    y = solve(problem, pattern).clamp(problem.low, problem.high)
    kept = violation(problem, y[:, None, :]).squeeze(-1) <= FEASIBILITY
    length = y.square().sum(dim=-1)
    return kept & (0.5 * length - _dual(problem, multipliers) <= 0.5 * _GAP * length.clamp(max=1.0))
