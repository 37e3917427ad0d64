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
    pattern = _pattern(problem, multipliers)
    certified = _certify(problem, pattern, multipliers)
    for _ in range(_ROUNDS):
        multipliers = _sweep(problem, multipliers)
        pattern, certified = _better(problem, multipliers, pattern, certified)
        for _ in range(_NEWTON):
            multipliers = _newton(problem, multipliers)
            pattern, certified = _better(problem, multipliers, pattern, certified)
    return pattern, certified


def settle(problem: Problem) -> tuple[Pattern, Tensor]:
    """Certify most rows in a few steps, each on the rows that are left only; the others are for the enumeration.

    It asks how many rows are left, so that it is for the CPU only.
    """
    multipliers = torch.zeros_like(problem.offsets)
    pattern = Pattern(*(field.clone() for field in _pattern(problem, multipliers)))
    certified = _certify(problem, pattern, multipliers)
    for step in _SETTLING:
        rows = (~certified).nonzero()[:, 0]
        if not len(rows):
            break
        left = Problem(*(tensor[rows] for tensor in problem))
        multipliers[rows] = step(left, multipliers[rows])
        found = _pattern(left, multipliers[rows])
        for kept, new in zip(pattern, found, strict=True):
            kept[rows] = new
        certified[rows] = _certify(left, found, multipliers[rows])
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
    _, searched = crossing(unclipped, along, (step * problem.offsets).sum(dim=-1), problem.low, problem.high)
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


_SETTLING = (_sweep, _newton, _newton, _sweep, _newton)
"""Steps before the enumeration: of random problems of 4 actions and 3 half-spaces they leave the infeasible ones and one in two hundred."""
