"""The seam of every velocity field, and how one is tied to an observation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]
"""``field(x [..., A], time) -> [..., A]`` at a fixed observation; ``time`` broadcasts against ``x[..., 0]``."""


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
