"""Patterns of active constraints found exactly: sorted breakpoints for one half-space, all active sets for up to four."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations, product

import torch
from torch import Tensor

from fpo_pilot.shields.projection.problem import FEASIBILITY, Pattern, Problem, eliminate, pattern_at, solve, violation

_CHUNK_NUMBERS = 4_000_000
"""Most float64 numbers in one intermediate tensor of the enumeration: 32 MB."""
_SINGULAR = 1e-13
"""Normals are 1 long: a pivot below this means dependent normals, whose active set another one covers."""


def clip_only(problem: Problem) -> tuple[Pattern, Tensor]:
    """Solve the problem without half-spaces: clip."""
    active = torch.zeros_like(problem.offsets, dtype=torch.bool)
    return pattern_at(problem, torch.zeros_like(problem.low), active), torch.ones_like(
        problem.low[:, 0], dtype=torch.bool
    )


def crossing(base: Tensor, normal: Tensor, offset: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Find where ``g·clip(base − μ g, l, u)`` falls to h, for one half-space a row.

    The value falls with μ, piecewise linearly, with breakpoints where an action reaches or leaves a bound; the segment in which it passes
    h is found by evaluating it at every breakpoint. Rows lie last: long vectors are fast.

    Args:
        base: ``[A, B]`` the point at μ = 0, not clipped.
        normal: ``[A, B]``.
        offset: ``[B]``.
        low: ``[A, B]``; may be −inf.
        high: ``[A, B]``; may be inf.

    Returns:
        ``[B]`` a μ ≥ 0 inside of that segment (0 if none is needed), and ``[B]`` the exact μ (the last breakpoint if h is out of reach).
    """
    slope = torch.where(normal == 0.0, torch.inf, normal)  # an action that does not move has its breakpoints at 0
    breaks = torch.cat(((base - low) / slope, (base - high) / slope))
    breaks = torch.where(breaks.isfinite(), breaks, 0.0).clamp(min=0.0)
    last = 2.0 * breaks.amax(dim=0, keepdim=True) + 1.0
    breaks = torch.cat((torch.zeros_like(last), breaks, last))  # [K, B]
    value = torch.zeros_like(breaks)
    for start, along, bottom, top in zip(base, normal, low, high, strict=True):
        value = torch.addcmul(value, torch.addcmul(start, breaks, along, value=-1.0).clamp(bottom, top), along)
    above = value > offset
    above[-1] = False  # where h is out of reach, nothing falls any more after the last breakpoint
    left, at_left = torch.where(above, breaks, -torch.inf).max(dim=0)
    right, at_right = torch.where(above, torch.inf, breaks).min(dim=0)
    from_value = value.gather(0, at_left[None])[0]
    drop = from_value - value.gather(0, at_right[None])[0]
    exact = left + (from_value - offset) / torch.where(drop > 0.0, drop, torch.inf) * (right - left)
    return torch.where(above[0], 0.5 * (left + right), 0.0), torch.where(above[0], exact, 0.0)


def one_half_space(problem: Problem) -> tuple[Pattern, Tensor]:
    """Solve for one half-space in closed form."""
    normal = problem.normals[:, 0, :]
    inside, _ = crossing(torch.zeros_like(normal.T), normal.T, problem.offsets[:, 0], problem.low.T, problem.high.T)
    unclipped = -inside[:, None] * normal
    moves = (unclipped > problem.low) & (unclipped < problem.high) & (normal != 0.0)
    active = (inside > 0.0) & moves.any(dim=-1)
    pattern = pattern_at(problem, unclipped, active[:, None])
    y = solve(problem, pattern).clamp(problem.low, problem.high)
    return pattern, violation(problem, y[:, None, :]).squeeze(-1) <= FEASIBILITY


def enumerate_patterns(problem: Problem) -> tuple[Pattern, Tensor]:
    """Try every active set, bounds included, and keep the feasible point nearest to the origin.

    At the optimum the active normals, restricted to the free actions, are independent for some choice of the active set; so sets with more
    half-spaces than free actions are left out, and singular systems are passed over.
    """
    batch, half_spaces, actions = problem.normals.shape
    rows = max(1, _CHUNK_NUMBERS // (3**actions * actions * half_spaces))
    starts = range(0, max(1, batch), rows)
    parts = [_enumerate_chunk(Problem(*(tensor[start : start + rows] for tensor in problem))) for start in starts]
    patterns, certified = zip(*parts, strict=True)
    return Pattern(*(torch.cat(fields) for fields in zip(*patterns, strict=True))), torch.cat(certified)


def _enumerate_chunk(problem: Problem) -> tuple[Pattern, Tensor]:
    """Search all patterns of some rows; where none is feasible, keep the one that is least so."""
    batch, half_spaces, actions = problem.normals.shape
    device = problem.low.device
    states = _bound_states(actions, device)  # [K, A] 0 free, 1 at low, 2 at high
    best_score = torch.full((batch,), torch.inf, dtype=torch.float64, device=device)
    best_state = torch.zeros(batch, dtype=torch.int64, device=device)
    best_active = torch.zeros(batch, half_spaces, dtype=torch.bool, device=device)
    feasible = torch.zeros(batch, dtype=torch.bool, device=device)
    for active in _subsets(half_spaces, actions):
        broken, score = _rate(problem, _solve_all(problem, states, active))
        kept = broken <= FEASIBILITY
        any_kept = kept.any(dim=-1)
        nearest, where_nearest = torch.where(kept, score, torch.inf).min(dim=-1)
        least, where_least = broken.min(dim=-1)
        better = (any_kept & (~feasible | (nearest < best_score))) | (~any_kept & ~feasible & (least < best_score))
        best_score = torch.where(better, torch.where(any_kept, nearest, least), best_score)
        best_state = torch.where(better, torch.where(any_kept, where_nearest, where_least), best_state)
        chosen = torch.tensor([index in active for index in range(half_spaces)]).to(device)
        best_active = torch.where(better[:, None], chosen, best_active)
        feasible = feasible | any_kept
    state = states[best_state]
    return Pattern(state == 0, state == 1, best_active), feasible & best_score.isfinite()


def _rate(problem: Problem, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each candidate ``[B, K, A]`` is from feasible, and its squared length; both ``[B, K]``, not a number is inf."""
    low, high = problem.low[:, None, :], problem.high[:, None, :]
    beyond = torch.maximum(low - y, y - high).clamp(min=0.0)
    outside = (beyond / y.abs().clamp(min=torch.finfo(torch.float64).tiny)).amax(dim=-1)
    boxed = y.clamp(low, high)
    broken = torch.maximum(outside, violation(problem, boxed))
    unknown = broken.isnan() | ~y.isfinite().all(dim=-1)
    return torch.where(unknown, torch.inf, broken), boxed.square().sum(dim=-1)


def _solve_all(problem: Problem, states: Tensor, active: tuple[int, ...]) -> Tensor:
    """Return ``[B, K, A]``: the solution for every bound state with the given half-spaces active; NaN or inf where singular."""
    free = (states == 0).double()  # [K, A]
    bound = torch.where(states == 1, problem.low[:, None, :], problem.high[:, None, :])
    fixed = torch.where(states == 0, 0.0, bound)  # [B, K, A]
    if not active:
        return fixed
    normals = problem.normals[:, list(active)]  # [B, S, A]
    gram = torch.einsum("bsa,bta,ka->bkst", normals, normals, free)
    wanted = torch.einsum("bsa,bka->bks", normals, fixed) - problem.offsets[:, None, list(active)]
    multipliers = _solve_small(gram, wanted)
    return fixed - torch.einsum("bsa,bks,ka->bka", normals, multipliers, free)


def _solve_small(matrix: Tensor, wanted: Tensor) -> Tensor:
    """Solve positive semi-definite systems ``[..., S, S]`` by elimination, all at once; singular ones give NaN, and no error."""
    count = matrix.shape[-1]
    rows = [[matrix[..., i, j] for j in range(count)] + [wanted[..., i]] for i in range(count)]
    return torch.stack(eliminate(rows, singular=_SINGULAR), dim=-1)


@lru_cache(maxsize=32)
def _bound_states(actions: int, device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):
        return torch.tensor(list(product((0, 1, 2), repeat=actions)), dtype=torch.int64).to(device)


def _subsets(half_spaces: int, actions: int) -> Iterator[tuple[int, ...]]:
    for count in range(min(half_spaces, actions) + 1):
        yield from combinations(range(half_spaces), count)
