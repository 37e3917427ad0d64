"""What a shield hands over to when it cannot certify a proposal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.verdict import ShieldContext


@dataclass(frozen=True)
class FallbackAction:
    """Promise: a finite action in the box, for any context.

    It is what the fallback controller asks for where that is finite and in the box, all actions of the row together; the declared
    safe values otherwise, and always for the kind ``value``.
    """

    kind: Literal["incumbent", "value"]
    envelope: Envelope

    def choose(self, context: ShieldContext, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the action ``[B, A]`` and ``[B]`` bool: whether it is the incumbent's."""
        asked = context.fallback.to(dtype)
        safe = self.envelope.bounds(asked).safe.expand_as(asked)
        usable = self.envelope.inside(asked).all(dim=-1)
        if self.kind == "value":
            usable = torch.zeros_like(usable)
        return torch.where(usable[:, None], asked, safe), usable
