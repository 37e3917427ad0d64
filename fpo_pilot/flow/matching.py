"""The loss that teaches a velocity to follow the path between noise and action."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from fpo_pilot.errors import PolicyError
from fpo_pilot.flow.path import Path, path_point
from fpo_pilot.flow.velocity import Field, Velocity, condition

Weighting = Literal["velocity", "noise"]
Reduction = Literal["mean", "sum", "sqrt"]


def flow_matching_loss(
    velocity: Velocity,
    obs: Tensor,
    action: Tensor,
    noise: Tensor,
    time: Tensor,
    *,
    weighting: Weighting = "velocity",
    reduction: Reduction = "mean",
    path: Path = "straight",
    huber: float | None = None,
) -> Tensor:
    """Compute the conditional flow-matching loss of each (noise, time) draw of each action.

    Args:
        velocity: any callable; see :mod:`fpo_pilot.flow.velocity`.
        obs: ``[B, O]``.
        action: ``[B, A]``, the end of the path.
        noise: ``[B, N, A]``, its start.
        time: ``[B, N]``, 0 at noise, 1 at the action.
        weighting: ``velocity``: ‖v − (a − ε)‖² as it is; ``noise``: times t², which is the error of the noise that the
            velocity implies, ε̂ = x_t − t·v (what published FPO code trains on).
        reduction: over the A entries: ``mean``, ``sum``, or ``sqrt`` for the sum over √A.
        path: see :func:`fpo_pilot.flow.path.path_point`; with ``noise`` weighting the straight one is meant, and t²
            stays a weighting of the time.
        huber: errors beyond this count linearly (twice Huber's loss, so that small errors count as squares).

    Returns:
        ``[B, N]``.

    Raises:
        PolicyError: shapes that do not fit, or an unknown weighting or reduction.
    """
    if action.ndim != 2 or noise.ndim != 3 or noise.shape[::2] != action.shape or time.shape != noise.shape[:-1]:
        raise PolicyError(
            f"flow_matching_loss: found action {tuple(action.shape)}, noise {tuple(noise.shape)}, "
            f"time {tuple(time.shape)}, expected [B, A], [B, N, A], [B, N]. "
            "Give every action its N draws in the second dimension."
        )
    return field_loss(
        condition(velocity, obs.unsqueeze(1)),
        action,
        noise,
        time,
        weighting=weighting,
        reduction=reduction,
        path=path,
        huber=huber,
    )


def field_loss(
    field: Field,
    action: Tensor,
    noise: Tensor,
    time: Tensor,
    *,
    weighting: Weighting,
    reduction: Reduction,
    path: Path = "straight",
    huber: float | None = None,
) -> Tensor:
    """Compute :func:`flow_matching_loss` with a field that is tied to its observations ``[B, 1]`` already."""
    point, target = path_point(noise, action.unsqueeze(1), time, path)
    loss = reduce_square(field(point, time) - target, reduction, huber)
    if weighting == "noise":
        return loss * time.square()
    if weighting == "velocity":
        return loss
    raise PolicyError(
        f"flow_matching_loss: found weighting {weighting!r}, expected 'velocity' or 'noise'. Correct the name."
    )


def reduce_square(error: Tensor, reduction: Reduction, huber: float | None = None) -> Tensor:
    """Reduce the squares of ``error`` ``[..., A]`` to ``[...]``: their mean, sum, or sum over √A.

    With ``huber`` δ an entry beyond ±δ counts 2δ|e| − δ² instead of e² (P. J. Huber 1964, doubled).
    """
    square = error.square()
    if huber is not None:
        size = error.abs()
        square = torch.where(size <= huber, square, 2.0 * huber * size - huber**2)
    if reduction == "mean":
        return square.mean(dim=-1)
    if reduction == "sum":
        return square.sum(dim=-1)
    if reduction == "sqrt":
        return square.sum(dim=-1) / math.sqrt(error.shape[-1])
    raise PolicyError(
        f"flow_matching_loss: found reduction {reduction!r}, expected 'mean', 'sum' or 'sqrt'. Correct the name."
    )
