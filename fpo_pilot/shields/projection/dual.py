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

_ROUNDS = 25
"""Of one sweep and some Newton steps."""
_NEWTON = 4
_RETRIES = 3
"""Newton steps solved again without the multipliers that block them."""
_GAP = 1e-9


def iterate(problem: Problem) -> tuple[Pattern, Tensor]:
    """Run a fixed number of rounds (no wait for the device) and keep the first certified pattern of each row."""
    multipliers = torch.zeros_like(problem.offsets)
    pattern, _, certified = certified_pattern(problem, multipliers)
    for _ in range(_ROUNDS):
        multipliers = _sweep(problem, multipliers)
        pattern, certified = _better(problem, multipliers, pattern, certified)
        for _ in range(_NEWTON):
            multipliers = _newton(problem, multipliers)
            pattern, certified = _better(problem, multipliers, pattern, certified)
    return pattern, certified


def _sweep(problem: Problem, multipliers: Tensor) -> Tensor:
    """Maximise the dual in each multiplier, one after the other."""
    columns = list(multipliers.unbind(dim=-1))
    base = -(problem.normals.mT @ multipliers[:, :, None]).squeeze(-1)
    for index, normal in enumerate(problem.normals.unbind(dim=1)):
        without = base + columns[index][:, None] * normal
        _, exact = crossing(without.T, normal.T, problem.offsets[:, index], problem.low.T, problem.high.T)
        columns[index] = exact
        base = without - exact[:, None] * normal
    return torch.stack(columns, dim=-1)


def _newton(problem: Problem, multipliers: Tensor) -> Tensor:
    """Step toward ``G y = h`` for the half-spaces that are active or passed, with the present free actions.

    A multiplier at 0 that the step would make negative is left out, and the step solved again. Of all trials, the one with the best dual
    is taken, so the dual never falls.
    """
    y, unclipped = _point(problem, multipliers)
    gradient = (problem.normals @ y[:, :, None]).squeeze(-1) - problem.offsets
    on = (multipliers > 0.0) | (gradient > 0.0)
    free = ((unclipped > problem.low) & (unclipped < problem.high)).double()
    best, best_dual = multipliers, _dual(problem, multipliers)
    for _ in range(_RETRIES):
        used = on.double()
        reduced = problem.normals * free[:, None, :] * used[:, :, None]
        matrix = reduced @ reduced.mT + torch.diag_embed(1.0 - used + 100.0 * RIDGE)
        step, _ = torch.linalg.solve_ex(matrix, used * gradient)
        step = torch.where(step.isfinite(), step, 0.0)
        for trial in _trials(problem, multipliers, unclipped, step):
            dual = _dual(problem, trial)
            better = dual > best_dual
            best, best_dual = torch.where(better[:, None], trial, best), torch.where(better, dual, best_dual)
        on = on & ~((multipliers <= 0.0) & (step < 0.0))
    return best


def _trials(problem: Problem, multipliers: Tensor, unclipped: Tensor, step: Tensor) -> tuple[Tensor, ...]:
    """Return the full step, the exact line search, and that search stopped where the first multiplier becomes 0; ``[B, C]`` each."""
    along = (problem.normals.mT @ step[:, :, None]).squeeze(-1)
    _, searched = crossing(unclipped.T, along.T, (step * problem.offsets).sum(dim=-1), problem.low.T, problem.high.T)
    wall = torch.where(step < 0.0, multipliers / -step, torch.inf).amin(dim=-1)
    lengths = (torch.ones_like(searched), searched, torch.minimum(searched, wall))
    return tuple((multipliers + length[:, None] * step).clamp(min=0.0) for length in lengths)


def _point(problem: Problem, multipliers: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``y(μ)`` and the same before clipping, ``[B, A]``."""
    unclipped = -(problem.normals.mT @ multipliers[:, :, None]).squeeze(-1)
    return unclipped.clamp(problem.low, problem.high), unclipped


def _dual(problem: Problem, multipliers: Tensor) -> Tensor:
    """Return ``[B]`` the dual objective, a lower bound of ``½‖y‖²``."""
    y, _ = _point(problem, multipliers)
    excess = (problem.normals @ y[:, :, None]).squeeze(-1) - problem.offsets
    return 0.5 * y.square().sum(dim=-1) + (multipliers * excess).sum(dim=-1)


def _better(problem: Problem, multipliers: Tensor, best: Pattern, certified: Tensor) -> tuple[Pattern, Tensor]:
    """Take the pattern of ``multipliers`` where it is certified and none was before."""
    pattern, _, found = certified_pattern(problem, multipliers)
    now = found & ~certified
    kept = Pattern(*(torch.where(now[:, None], new, old) for new, old in zip(pattern, best, strict=True)))
    return kept, certified | now


def certify(problem: Problem, y: Tensor, multipliers: Tensor) -> Tensor:
    """Return ``[B]`` bool: ``y`` ``[B, A]`` keeps all half-spaces, and by the dual no point is nearer by more than the gap."""
    kept = violation(problem, y[:, None, :]).squeeze(-1) <= FEASIBILITY
    length = y.square().sum(dim=-1)
    return kept & (0.5 * length - _dual(problem, multipliers) <= 0.5 * _GAP * length.clamp(max=1.0))


def certified_pattern(problem: Problem, multipliers: Tensor) -> tuple[Pattern, Tensor, Tensor]:
    """Return the pattern of ``y(μ)`` for ``multipliers`` ``[B, C]``, its point ``[B, A]``, and ``[B]`` bool: certified."""
    pattern = pattern_at(problem, _point(problem, multipliers)[1], multipliers > 0.0)
    y = solve(problem, pattern).clamp(problem.low, problem.high)
    return pattern, y, certify(problem, y, multipliers)
