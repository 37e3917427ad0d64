"""Integrators as data: a method is a Butcher tableau, and one loop runs them all; an adaptive one has one more row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from fpo_pilot.errors import PolicyError
from fpo_pilot.flow.velocity import Field, Velocity, condition, schedule

Method = Literal["euler", "midpoint", "heun", "rk4", "adaptive"]


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method."""

    order: int
    nodes: tuple[float, ...]
    """When each stage looks, as a fraction of the step."""
    matrix: tuple[tuple[float, ...], ...]
    """From which earlier slopes each stage gets its point."""
    weights: tuple[float, ...]
    """How the slopes make the step."""
    lower: tuple[float, ...] | None = None
    """Weights of the embedded method of one order less: the difference is the estimate of the error."""


TABLEAUS = {
    "euler": Tableau(1, (0.0,), ((),), (1.0,)),
    "midpoint": Tableau(2, (0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "heun": Tableau(2, (0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    "rk4": Tableau(4, (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    # Dormand and Prince 1980, RK5(4)7M.
    "adaptive": Tableau(
        5,
        (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
        (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
    ),
}

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0
"""Factors of the usual step-size control (Hairer, Nørsett, Wanner I, II.4)."""


def integrate(
    velocity: Velocity,
    obs: Tensor,
    x0: Tensor,
    *,
    method: Method = "euler",
    steps: int = 10,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    max_steps: int = 1000,
) -> Tensor:
    """Carry ``x0`` from t = 0, noise, to t = 1, action.

    Args:
        velocity: any callable; see :mod:`fpo_pilot.flow.velocity`.
        obs: ``[..., O]``.
        x0: ``[..., A]``.
        method: a key of :data:`TABLEAUS`.
        steps: number of equal steps; of ``adaptive``, what the first step is one of.
        rtol: of ``adaptive``, error allowed in a step relative to the point.
        atol: of ``adaptive``, error allowed in a step beside that.
        max_steps: of ``adaptive``, attempts after which a row that has not arrived becomes NaN, and fails closed.

    Returns:
        ``[..., A]``. ``adaptive`` waits for the device once a step, so keep it out of training loops; every row of it
        has steps of its own, so that an action does not depend on its neighbours in the batch.

    Raises:
        PolicyError: an unknown method, or fewer than one step.
    """
    return integrate_field(
        condition(velocity, obs), x0, method=method, steps=steps, rtol=rtol, atol=atol, max_steps=max_steps
    )


def integrate_field(
    field: Field,
    x0: Tensor,
    *,
    method: Method = "euler",
    steps: int = 10,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    max_steps: int = 1000,
) -> Tensor:
    """Do the work of :func:`integrate` with a field that is tied to its observations already."""
    if method not in TABLEAUS:
        raise PolicyError(
            f"integrate: found method {method!r}, expected one of {', '.join(TABLEAUS)}. Correct the name."
        )
    if steps < 1:
        raise PolicyError(f"integrate: found {steps} steps, expected at least 1. Ask for one step or more.")
    tableau = TABLEAUS[method]
    if tableau.lower is not None:
        return _adaptive(field, x0, tableau, steps, rtol, atol, max_steps)
    size = 1.0 / steps
    fields = schedule(field, stage_times(method, steps), x0)
    x = x0
    for k in range(steps):
        slopes: list[Tensor] = []
        for stage, row in enumerate(tableau.matrix):
            point = _combine(x, size, row, slopes)
            slopes.append(fields[k * len(tableau.nodes) + stage](point))
        x = _combine(x, size, tableau.weights, slopes)
    return x


@lru_cache(maxsize=64)
def stage_times(method: Method, steps: int) -> tuple[float, ...]:
    """Return the times of all stages of all steps in order."""
    return tuple((k + node) / steps for k in range(steps) for node in TABLEAUS[method].nodes)


def _combine(x: Tensor, size: float | Tensor, row: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """Return ``x`` plus ``size`` times the weighted sum of slopes."""
    for weight, slope in zip(row, slopes, strict=False):
        if weight == 0.0:
            continue
        x = torch.add(x, slope, alpha=size * weight) if isinstance(size, float) else x + (size * weight) * slope
    return x


def _adaptive(
    field: Field, x0: Tensor, tableau: Tableau, steps: int, rtol: float, atol: float, max_steps: int
) -> Tensor:
    """Integrate every row with its own steps, held to the tolerances by the embedded pair."""
    lower = tableau.lower or ()
    difference = tuple(high - low for high, low in zip(tableau.weights, lower, strict=True))
    leading = x0.shape[:-1]
    x = x0
    time = x0.new_zeros(leading)
    size = x0.new_full(leading, 1.0 / steps)
    for _ in range(max_steps):
        running = time < 1.0
        if not bool(running.any()):
            break
        left = 1.0 - time
        ends = size >= left
        size = torch.where(ends, left, size)
        step = size.unsqueeze(-1)
        slopes: list[Tensor] = []
        for node, row in zip(tableau.nodes, tableau.matrix, strict=True):
            slopes.append(field(_combine(x, step, row, slopes), time + node * size))
        proposal = _combine(x, step, tableau.weights, slopes)
        error = _combine(torch.zeros_like(x), step, difference, slopes)
        allowed = atol + rtol * torch.maximum(x.abs(), proposal.abs())
        excess = (error / allowed).square().mean(dim=-1).sqrt()  # [...]; 1 is just allowed
        taken = running & (excess <= 1.0)
        x = torch.where(taken.unsqueeze(-1), proposal, x)
        time = torch.where(taken, torch.where(ends, torch.ones_like(time), time + size), time)
        factor = _SAFETY * excess.clamp(min=1e-10) ** (-1.0 / tableau.order)
        size = size * torch.nan_to_num(factor, nan=_SHRINK).clamp(_SHRINK, _GROW)
    return torch.where((time < 1.0).unsqueeze(-1), torch.nan, x)
