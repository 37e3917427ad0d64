"""The classical Runge-Kutta method at a fixed step: no step-size control, so that thousands of plants stay in step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def rk4(derivative: Callable[[Tensor], Tensor], state: Tensor, duration: float) -> Tensor:
    """Advance ``state`` by one step of the classical fourth-order Runge-Kutta method.

    Args:
        derivative: maps a state ``[B, S]`` to its rate of change ``[B, S]``; inputs are held over the step.
        state: ``[B, S]``.
        duration: length of the step, in the time unit of ``derivative``.

    Returns:
        The state ``[B, S]`` after ``duration``; its error is of fifth order in it.
    """
    first = derivative(state)
    second = derivative(torch.add(state, first, alpha=duration / 2))
    third = derivative(torch.add(state, second, alpha=duration / 2))
    fourth = derivative(torch.add(state, third, alpha=duration))
    outer = torch.add(state, first + fourth, alpha=duration / 6)
    return torch.add(outer, second + third, alpha=duration / 3)
