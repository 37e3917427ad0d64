"""The uncertainty set as points: every corner of the bounds on parameters and on readings, and some points inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

_SEED = 20_250_801
"""Of the points inside: the same in every process, so that a certificate can be computed again."""


@dataclass(frozen=True)
class UncertaintyPoints:
    """N points, each a set of parameters and an error of the reading.

    Args:
        parameters: N rows of P parameters, as the model takes them.
        errors: N rows of S: true state minus reading.
    """

    parameters: tuple[tuple[float, ...], ...]
    errors: tuple[tuple[float, ...], ...]
    _tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def build(
        cls,
        nominal: Sequence[float],
        half_widths: Mapping[int, float],
        errors: Sequence[float],
        *,
        samples: int = 0,
    ) -> UncertaintyPoints:
        """Enumerate the corners; without any uncertainty the set is the nominal point.

        Args:
            nominal: P parameters.
            half_widths: column of an uncertain parameter to half the width of its interval.
            errors: for each state how far its reading may be from the true one.
            samples: points inside, drawn uniformly from a seed of our own.
        """
        axes = [*half_widths.items()]
        wrong = [column for column, error in enumerate(errors) if error > 0.0]
        signs = [*product((-1.0, 1.0), repeat=len(axes) + len(wrong))]
        generator = torch.Generator().manual_seed(_SEED)
        inside = 2.0 * torch.rand(samples, len(axes) + len(wrong), generator=generator, dtype=torch.float64) - 1.0
        parameters, offsets = [], []
        for point in (*signs, *map(tuple, inside.tolist())):
            row = list(nominal)
            for (column, width), share in zip(axes, point, strict=False):
                row[column] += share * width
            offset = [0.0] * len(errors)
            for column, share in zip(wrong, point[len(axes) :], strict=True):
                offset[column] = share * errors[column]
            parameters.append(tuple(row))
            offsets.append(tuple(offset))
        return cls(tuple(parameters), tuple(offsets))

    @property
    def count(self) -> int:
        """N."""
        return len(self.parameters)

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return parameters ``[N, P]`` and errors ``[N, S]`` in the dtype and on the device of ``like``."""
        key = (like.dtype, like.device)
        if key not in self._tables:
            with torch.inference_mode(mode=False):
                tables = (torch.tensor(table, dtype=torch.float64) for table in (self.parameters, self.errors))
                parameters, errors = (table.to(like.dtype).to(like.device) for table in tables)
                self._tables[key] = (parameters, errors)
        return self._tables[key]
