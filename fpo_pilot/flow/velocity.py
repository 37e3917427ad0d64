"""The seam of every velocity field, and how one is tied to an observation and to times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class Field(Protocol):
    """``field(x [..., A], time) -> [..., A]`` at a fixed observation; ``time`` broadcasts against ``x[..., 0]``."""

    def __call__(self, x: Tensor, time: Tensor, /) -> Tensor:
        """Return the velocity."""
        ...


class Velocity(Protocol):
    """``velocity(obs [..., O], x [..., A], time [...]) -> [..., A]``; leading dimensions agree. Any function does."""

    def __call__(self, obs: Tensor, x: Tensor, time: Tensor, /) -> Tensor:
        """Return the velocity."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """A velocity that can do the work on the observation ahead of the points and times."""

    def condition(self, obs: Tensor) -> Field:
        """Return the field at ``obs`` ``[..., O]``, whose leading dimensions broadcast against those of the points."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """A field of rows of points that can do the work on the times ahead of them."""

    def schedule(self, times: tuple[float, ...], like: Tensor) -> Sequence[Callable[[Tensor], Tensor]]:
        """Return the field of points ``[B, A]``, such as ``like``, at each of ``times``."""
        ...


def condition(velocity: Velocity, obs: Tensor) -> Field:
    """Tie ``velocity`` to ``obs``.

    Args:
        velocity: any callable; its observation part is computed here, once, if it is :class:`Conditional`.
        obs: ``[..., O]``; leading dimensions broadcast against those of the points asked for later.

    Returns:
        A field of points and times.
    """
    if isinstance(velocity, Conditional):
        return velocity.condition(obs)

    def field(x: Tensor, time: Tensor) -> Tensor:
        leading = x.shape[:-1]
        return velocity(obs.expand(*leading, obs.shape[-1]), x, time.expand(leading))

    return field


def schedule(field: Field, times: tuple[float, ...], like: Tensor) -> Sequence[Callable[[Tensor], Tensor]]:
    """Tie ``field`` to each of ``times``.

    Args:
        field: any; its work on the times is done here, once, if it is :class:`Scheduled` and the points are ``[B, A]``.
        times: in the order in which they will be asked for.
        like: ``[..., A]``, of the rank, type and device of the points asked for later.

    Returns:
        A function of points for each time.
    """
    if like.ndim == 2 and isinstance(field, Scheduled):
        return field.schedule(times, like)
    ones = (1,) * (like.ndim - 1)
    moments = torch.tensor(times, dtype=like.dtype, device=like.device).reshape(len(times), *ones)
    return [partial(_at, field, moment) for moment in moments.unbind(0)]


def _at(field: Field, time: Tensor, x: Tensor) -> Tensor:
    return field(x, time)
