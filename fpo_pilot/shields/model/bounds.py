"""Bounds on single states: the limits that must be kept, and the set in which a roll-out must end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fpo_pilot.specs.safety import Limit, StateBounds


@dataclass(frozen=True)
class Bound:
    """One side of one state: ``sign · (edge − state) ≥ 0``; ``span`` is the width of the range of the signal."""

    id: str
    column: int
    sign: float
    edge: float
    span: float


@dataclass(frozen=True)
class StateSet:
    """All states that keep some bounds. Linear in the state, so that its distance is one, too."""

    bounds: tuple[Bound, ...]
    _tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def of_limits(
        cls,
        limits: Sequence[Limit],
        states: Sequence[str],
        spans: Sequence[float],
        kept: Mapping[str, float],
    ) -> StateSet:
        """Build the set of hard limits, each moved inward by what is to be kept of that state."""
        bounds = []
        for limit in limits:
            column = states.index(limit.signal)
            for edge, sign in ((limit.low, -1.0), (limit.high, 1.0)):
                if edge is not None:
                    inner = edge - sign * kept.get(limit.signal, 0.0)
                    bounds.append(Bound(limit.id, column, sign, inner, spans[column]))
        return cls(tuple(bounds))

    @classmethod
    def of_box(cls, box: Mapping[str, StateBounds], states: Sequence[str], spans: Sequence[float]) -> StateSet:
        """Build the set of a declared box; sides that are not given are open."""
        bounds = []
        for name, sides in box.items():
            column = states.index(name)
            for edge, sign in ((sides.low, -1.0), (sides.high, 1.0)):
                if edge is not None:
                    bounds.append(Bound(name, column, sign, edge, spans[column]))
        return cls(tuple(bounds))

    def distance(self, state: Tensor) -> Tensor:
        """Return ``[R, L]``: how far each state ``[R, S]`` is inside each bound, in the unit of the state; NaN passes through."""
        columns, signs, signed_edges, _, _ = self._table(state)
        return signed_edges - signs * state.index_select(-1, columns)

    def box(self, like: Tensor, states: int) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest state ``[S]`` of the set, infinite where it is open."""
        low, high = [-math.inf] * states, [math.inf] * states
        for bound in self.bounds:
            if bound.sign > 0.0:
                high[bound.column] = min(high[bound.column], bound.edge)
            else:
                low[bound.column] = max(low[bound.column], bound.edge)
        return like.new_tensor(low), like.new_tensor(high)

    def by_limit(self, distance: Tensor) -> dict[str, Tensor]:
        """Return ``[B]`` the least of distances ``[B, L]`` for each id: both sides of one limit are one; NaN passes through."""
        least: dict[str, Tensor] = {}
        for bound, column in zip(self.bounds, distance.unbind(-1), strict=True):
            least[bound.id] = torch.minimum(least[bound.id], column) if bound.id in least else column
        return least

    def fractions(self, distance: Tensor) -> Tensor:
        """Return distances ``[..., L]`` as fractions of the range of each signal."""
        return distance / self._table(distance)[3]

    def tolerance(self, like: Tensor) -> Tensor:
        """Return ``[L]``: what rounding may do to a distance, in the dtype of ``like``."""
        return self._table(like)[4]

    def _table(self, like: Tensor) -> tuple[Tensor, ...]:
        key = (like.dtype, like.device)
        if key not in self._tables:
            with torch.inference_mode(mode=False):  # cached: must serve callers inside and outside of inference mode
                edges = torch.tensor([bound.sign * bound.edge for bound in self.bounds], dtype=torch.float64)
                near = edges.to(like.dtype)  # a limit that this dtype cannot say is rounded inward
                inward = torch.nextafter(near, torch.full_like(near, -math.inf))
                rows = [
                    torch.tensor([bound.sign for bound in self.bounds], dtype=torch.float64),
                    torch.where(near.double() > edges, inward, near),
                    torch.tensor([bound.span for bound in self.bounds], dtype=torch.float64),
                    torch.tensor([_size(bound) for bound in self.bounds], dtype=torch.float64)
                    * (16.0 * torch.finfo(like.dtype).eps),
                ]
                columns = torch.tensor([bound.column for bound in self.bounds], dtype=torch.int64)
                self._tables[key] = (columns.to(like.device), *(row.to(like.dtype).to(like.device) for row in rows))
        return self._tables[key]


def _size(bound: Bound) -> float:
    return max(abs(bound.edge), bound.span if math.isfinite(bound.span) else 1.0)
