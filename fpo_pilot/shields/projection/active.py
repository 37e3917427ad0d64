"""Patterns found by a dual active-set method, on a CPU: violated constraints are added one after the other (Goldfarb and Idnani, 1983).

A row begins at the optimum of the box and one half-space, and always holds the optimum of the constraints that it has taken in so far. The
constraint passed by the most is taken in along the direction that keeps the active ones; one whose multiplier reaches 0 on the way is let
go. Where no direction is left, the constraints contradict each other. Neither answer is believed as it is: an optimum needs a dual
objective as high, a contradiction multipliers that prove it (Farkas). Rows without a proof are for the enumeration.

Rows lie last in all tensors here, ``[A, B]``: what is done to a short axis of each row is then done to long vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fpo_pilot.shields.projection.exact import crossing
from fpo_pilot.shields.projection.problem import FEASIBILITY, RIDGE, Problem, eliminate

_STEPS = 16
"""Constraints taken in or let go: more than 4 actions and 3 half-spaces at random ever needed."""
_FEW = 0.3
"""Rows that have ended are left out once they are more than this share: to copy the others costs as much as a step."""
_PROOF = 1e-9
"""A contradiction is proved by a sum that is positive by this fraction of the numbers that it is made of."""
_NO_DIRECTION = 1e-12
"""Squared length, of a normal that is 1 long, of what the active constraints leave of it."""


_NEVER = 1e300
"""Taken from the excess of what is not asked for."""


class _Rows(NamedTuple):
    """Where the rows stand, with Q = C + 2A constraints: half-spaces, high bounds, low bounds; masks are numbers, 0 or 1."""

    normals: Tensor
    """``[C, A, B]``."""
    levels: Tensor
    """``[Q, B]``: offsets, high, −low."""
    allowance: Tensor
    """``[B]`` what counts as kept."""
    point: Tensor
    """``[A, B]``."""
    multipliers: Tensor
    """``[Q, B]``, 0 where not active."""
    active: Tensor
    """``[Q, B]`` mask."""
    entering: Tensor
    """``[Q, B]`` mask of the constraint that is being taken in; all 0 where none is."""
    entering_multiplier: Tensor
    """``[B]``."""


def settle(problem: Problem) -> tuple[Tensor, Tensor]:
    """Search all rows.

    It asks how many rows are left, so that it is for the CPU only.

    Returns:
        The multipliers ``[B, C]`` of what should be the optimum, and ``[B]`` bool: proved to have no feasible point.
    """
    batch, half_spaces = problem.offsets.shape
    multipliers = problem.offsets.new_zeros(half_spaces, batch)
    hopeless = torch.zeros(batch, dtype=torch.bool)
    index, rows, ended = torch.arange(batch), _begin(problem), torch.zeros_like(hopeless)
    for _ in range(_STEPS if batch else 0):
        rows, missing, optimal = _choose(rows)
        ended = ended | optimal
        if int(ended.sum()) > _FEW * len(index):
            multipliers[:, index] = rows.multipliers[:half_spaces]
            others = (~ended).nonzero()[:, 0]
            if not len(others):
                break
            index, missing, ended = index[others], missing[others], ended[others]
            rows = _Rows(*(tensor.index_select(-1, others) for tensor in rows))
        rows, stuck, ray = _step(rows, missing, ended)
        if bool(stuck.any()):
            hopeless[index] |= stuck & _contradicts(rows, ray)
            ended = ended | stuck
    multipliers[:, index] = rows.multipliers[:half_spaces]
    return multipliers.T.contiguous(), hopeless


def _begin(problem: Problem) -> _Rows:
    """Take in the box, and of the half-spaces the one that is passed by the most: that optimum is known in closed form."""
    low, high, offsets = (tensor.T.contiguous() for tensor in (problem.low, problem.high, problem.offsets))
    normals = problem.normals.permute(1, 2, 0).contiguous()
    point = torch.zeros_like(low).clamp(low, high)
    _, where = ((normals * point).sum(dim=1) - offsets).max(dim=0)
    plane = torch.zeros_like(offsets).scatter_(0, where[None], 1.0)
    normal, offset = _combined(normals, plane), (plane * offsets).sum(dim=0)
    _, multiplier = crossing(torch.zeros_like(point), normal, offset, low, high)
    unclipped = -multiplier * normal
    point = unclipped.clamp(low, high)
    size = torch.maximum(point.abs().amax(dim=0), offsets.abs().amax(dim=0))
    reached = ((normal * point).sum(dim=0) - offset <= FEASIBILITY * size).to(low.dtype)
    taken = plane * multiplier
    multipliers = torch.cat((taken * reached, (unclipped - high).clamp(min=0.0), (low - unclipped).clamp(min=0.0)))
    nothing = torch.zeros_like(low)
    return _Rows(
        normals=normals,
        levels=torch.cat((offsets, high, -low)),
        allowance=0.5 * FEASIBILITY * size,
        point=point,
        multipliers=multipliers,
        active=(multipliers > 0.0).to(low.dtype),
        entering=torch.cat((plane * (1.0 - reached), nothing, nothing)),
        entering_multiplier=multiplier * (1.0 - reached),
    )


def _choose(rows: _Rows) -> tuple[_Rows, Tensor, Tensor]:
    """Name, in rows that take nothing in, the constraint that is passed by the most.

    Returns:
        The rows, ``[B]`` by how much what enters is passed, and ``[B]`` bool: nothing enters, as all constraints are kept.
    """
    planes = (rows.normals * rows.point).sum(dim=1)
    excess = torch.cat((planes, rows.point, -rows.point)) - rows.levels
    goes_on = rows.entering.sum(dim=0)
    asked = torch.lerp(1.0 - rows.active, rows.entering, goes_on)
    most, where = (excess + (asked - 1.0) * _NEVER).max(dim=0)
    optimal = (most <= rows.allowance) & (goes_on == 0.0)
    chosen = torch.zeros_like(excess).scatter_(0, where[None], (~optimal).to(excess.dtype)[None])
    return rows._replace(entering=chosen), most.clamp(min=0.0), optimal


def _step(rows: _Rows, missing: Tensor, ended: Tensor) -> tuple[_Rows, Tensor, Tensor]:
    """Move toward the entering constraint until it is reached, or an active one must be let go.

    Returns:
        The rows, ``[B]`` bool: there is neither a direction nor anything to let go, and ``[C, B]`` the multipliers that should prove that
        the constraints contradict each other.
    """
    half_spaces, actions, _ = rows.normals.shape
    on, at_high, at_low = torch.split(rows.active, [half_spaces, actions, actions])
    plane, high, low = torch.split(rows.entering, [half_spaces, actions, actions])
    free = 1.0 - at_high - at_low
    normal = _combined(rows.normals, plane) + high - low
    shares = _shares(rows.normals, on, free, normal)
    rest = normal - _combined(rows.normals, shares)
    direction = rest * free
    square = direction.square().sum(dim=0)
    falls = rows.active * torch.cat((shares, rest, -rest))  # of the active multipliers, as the entering one grows
    until_gone, gone = torch.where(falls > 0.0, rows.multipliers / falls, torch.inf).min(dim=0)
    moves = square > _NO_DIRECTION
    until_reached = torch.where(moves, missing / square, torch.inf)
    length = torch.minimum(until_gone, until_reached)
    stuck = ~ended & (length == torch.inf)
    going = (~ended & ~stuck).to(square.dtype)
    length = torch.where(going > 0.0, length, 0.0)
    reached = (until_reached <= until_gone).to(square.dtype) * going
    multiplier = rows.entering_multiplier + length
    taken = rows.entering * reached
    active = rows.active + taken - torch.zeros_like(taken).scatter_(0, gone[None], (going - reached)[None])
    lowered = torch.addcmul(rows.multipliers, falls, length, value=-1.0).clamp(min=0.0)
    moved = rows._replace(
        point=torch.addcmul(rows.point, direction, length * moves, value=-1.0),
        multipliers=torch.addcmul(lowered, taken, multiplier) * active,
        active=active,
        entering=rows.entering - taken,
        entering_multiplier=multiplier * (1.0 - reached),
    )
    return moved, stuck, plane - shares


def _combined(normals: Tensor, weights: Tensor) -> Tensor:
    """Return the sum ``[A, B]`` of the normals, each ``weights`` ``[C, B]`` times."""
    return (normals * weights[:, None]).sum(dim=0)


def _shares(normals: Tensor, on: Tensor, free: Tensor, normal: Tensor) -> Tensor:
    """Return ``[C, B]``: over the free actions, how much of each active half-space is in ``normal``, by elimination."""
    count = len(normals)
    reduced = normals * (on[:, None] * free)
    products = (reduced[:, None] * torch.cat((reduced, normal[None]))).sum(dim=2)  # [C, C + 1, B] matrix and right side
    rows = [[*row] for row in products]
    for i in range(count):
        rows[i][i] = rows[i][i] + (1.0 - on[i] + RIDGE)
    return torch.stack(eliminate(rows))


def _contradicts(rows: _Rows, ray: Tensor) -> Tensor:
    """Return ``[B]`` bool: the multipliers ``ray`` ``[C, B]`` prove that no point of the box keeps all half-spaces.

    Their sum of the half-spaces asks ``g·y ≤ ray·h`` of every feasible point, and the least ``g·y`` in the box is more.
    """
    half_spaces, actions, _ = rows.normals.shape
    offsets, high, less_low = torch.split(rows.levels, [half_spaces, actions, actions])
    weights = ray.clamp(min=0.0)
    direction = _combined(rows.normals, weights)
    least = torch.where(direction == 0.0, 0.0, direction * torch.where(direction > 0.0, -less_low, high))
    asked = weights * offsets
    size = least.abs().sum(dim=0) + asked.abs().sum(dim=0)
    return (least.sum(dim=0) - asked.sum(dim=0) > _PROOF * size) & size.isfinite()
