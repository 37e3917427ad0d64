"""The envelope of the actuators: box and rate, and the two ways to stay inside.

Promise of :meth:`Envelope.limit`, for any floats: the result is finite; it is within one rate of the read-back (but for the rounding
of the read-back itself); it is in the box whenever the read-back is. Where the read-back is outside the box, the result moves toward
the box at the rate. Where the read-back is not a number, nobody knows from where to count, and the result is the declared safe value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.specs.safety import ActionLimit


class Bounds(NamedTuple):
    """The envelope as tensors ``[A]`` of one dtype on one device, rounded inward."""

    low: Tensor
    high: Tensor
    rate: Tensor
    safe: Tensor


@dataclass(frozen=True)
class Envelope:
    """Box, rate and safe value of each action, in engineering units.

    Args:
        names: of the A actions, in the order of the action tensor.
        low: least value of each.
        high: greatest value of each.
        rate: greatest change in one step, ``inf`` for none.
        safe: the declared safe value of each, the last resort of every shield.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    rate: tuple[float, ...]
    safe: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse an envelope in which nothing, or nothing safe, fits."""
        for name, low, high, rate, safe in zip(self.names, self.low, self.high, self.rate, self.safe, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ShieldError(
                    f"actions.{name}: found a box from {low} to {high}, expected finite numbers with low below high. "
                    "Give `low` and `high` of this action in the safety spec."
                )
            if not rate > 0.0:
                raise ShieldError(
                    f"actions.{name}.rate: found {rate}, expected a number above 0 in units per step. Leave it out for no limit."
                )
            if not low <= safe <= high:
                raise ShieldError(
                    f"actions.{name}.fallback: found {safe}, expected a value from {low} to {high}. "
                    "A safe value outside the box could never be applied."
                )

    @classmethod
    def from_spec(cls, actions: Mapping[str, ActionLimit], names: Sequence[str]) -> Envelope:
        """Build the envelope of ``names`` from the ``actions`` of a safety spec.

        Raises:
            ShieldError: an action has no limits.
        """
        missing = [name for name in names if name not in actions]
        if missing:
            raise ShieldError(
                f"actions: found no limits for {', '.join(missing)}, expected them for every action of the plant. "
                "Add `low`, `high` and `fallback` for each to the safety spec."
            )
        chosen = [actions[name] for name in names]
        return cls(
            names=tuple(names),
            low=tuple(limit.low for limit in chosen),
            high=tuple(limit.high for limit in chosen),
            rate=tuple(math.inf if limit.rate is None else limit.rate for limit in chosen),
            safe=tuple(limit.fallback for limit in chosen),
        )

    def bounds(self, like: Tensor) -> Bounds:
        """Return the envelope in the dtype and on the device of ``like``."""
        return _bounds(self, like.dtype, like.device)

    def limit(self, previous: Tensor, target: Tensor) -> Tensor:
        """Return what of ``target`` ``[B, A]`` may be applied after the read-back ``previous`` ``[B, A]``.

        The allowed interval is the box clamped to ``previous`` ± rate, which is their intersection where they meet, and otherwise the
        point of the rate interval next to the box. A target that is not a number becomes the safe value.
        """
        bottom, top = self.interval(previous, target)
        return torch.where(target.isfinite(), target, self.bounds(target).safe).clamp(bottom, top)

    def interval(self, previous: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest action ``[B, A]`` that may be applied after ``previous``, in the dtype of ``like``."""
        low, high, rate, safe = self.bounds(like)
        origin = previous.to(like.dtype)
        known = origin.isfinite()
        origin = torch.where(known, origin, safe)
        bottom = torch.where(known, low.clamp(origin - rate, origin + rate), safe)
        top = torch.where(known, high.clamp(origin - rate, origin + rate), safe)
        return bottom, top

    def toward(self, previous: Tensor, target: Tensor) -> Tensor:
        """Move from ``previous`` toward ``target`` by at most the rate: the last resort, computed another way than :meth:`limit`.

        Both ``[B, A]``; a target that is not finite or not in the box becomes the safe value, as does an unknown read-back.
        """
        rate, safe = self.bounds(target).rate, self.bounds(target).safe
        goal = torch.where(self.inside(target), target, safe)
        origin = previous.to(target.dtype)
        reached = (goal - origin).abs() <= rate
        stepped = origin + torch.where(goal < origin, -rate, rate)
        return torch.where(origin.isfinite(), torch.where(reached, goal, stepped), safe)

    def inside(self, action: Tensor) -> Tensor:
        """Return ``[B, A]`` bool: whether each action is in its box; False for what is not a number."""
        bounds = self.bounds(action)
        return (action >= bounds.low) & (action <= bounds.high)

    def permits(self, previous: Tensor, action: Tensor) -> Tensor:
        """Check ``action`` against the promise, independently of how it was made; returns ``[B]`` bool."""
        low, high, rate, safe = self.bounds(action)
        origin = previous.to(action.dtype)
        known = origin.isfinite()
        origin = torch.where(known, origin, safe)
        slack = 4.0 * torch.finfo(action.dtype).eps * torch.maximum(origin.abs(), action.abs())
        change = (action - origin).abs()
        distance = torch.maximum(low - action, action - high).clamp(min=0.0)
        outside = torch.maximum(low - origin, origin - high).clamp(min=0.0)
        toward_box = distance <= (outside - rate).clamp(min=0.0) + slack
        in_box = self.inside(action) | (outside > 0.0)
        kept = action.isfinite() & torch.where(known, (change <= rate + slack) & toward_box & in_box, action == safe)
        return kept.all(dim=-1)

    def margin(self, action: Tensor) -> Tensor:
        """Return ``[B]``: least distance of an action to a side of its box as a fraction of the span; −inf if not finite."""
        bounds = self.bounds(action)
        nearest = torch.minimum(action - bounds.low, bounds.high - action) / (bounds.high - bounds.low)
        return torch.where(nearest.isnan(), -math.inf, nearest).amin(dim=-1)


@lru_cache(maxsize=64)
def _bounds(envelope: Envelope, dtype: torch.dtype, device: torch.device) -> Bounds:
    """Make the tensors once; rounded inward, so that a float32 action in the box is in the declared box as well."""
    if dtype not in (torch.float32, torch.float64):
        raise ShieldError(
            f"action: found dtype {dtype}, expected float32 or float64. Convert the proposal before the shield."
        )
    with torch.inference_mode(mode=False):  # cached: must serve callers inside and outside of inference mode
        low = _rounded(envelope.low, dtype, upward=True)
        high = _rounded(envelope.high, dtype, upward=False)
        rate = _rounded(envelope.rate, dtype, upward=False)
        safe = torch.tensor(envelope.safe, dtype=dtype, device="cpu").clamp(low, high)
        return Bounds(*(tensor.to(device) for tensor in (low, high, rate, safe)))


def _rounded(values: tuple[float, ...], dtype: torch.dtype, *, upward: bool) -> Tensor:
    exact = torch.tensor(values, dtype=torch.float64, device="cpu")
    near = exact.to(dtype)
    wrong = near.double() < exact if upward else near.double() > exact
    beyond = torch.full_like(near, math.inf if upward else -math.inf)
    return torch.where(wrong, torch.nextafter(near, beyond), near)
