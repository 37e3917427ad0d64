"""L1: box and rate, counted from the read-back. Always the last stage of a stack."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.verdict import ShieldContext, Verdict


class BoxRateShield:
    """Clips a proposal to the box and to one rate around the read-back. Keeps no memory.

    Reasons: ``box:NAME`` the proposal was outside the box; ``rate:NAME`` it was too far from the read-back; ``readback.outside:NAME``
    the read-back is outside the box, so the action moves toward it at the rate; ``readback.nan:NAME`` the read-back is not finite, so
    the action is the declared safe value. A row is infeasible where no action can be in the box and within the rate, and where the
    read-back is not finite.
    """

    promise = (
        "Every action is finite, within its rate of the read-back, and in its box whenever the read-back is; "
        "from outside the box it moves toward it, and without a read-back it is the declared safe value."
    )

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        """Clip ``proposal`` ``[B, A]``; what is not a number becomes the safe value."""
        dtype = torch.promote_types(proposal.dtype, context.previous.dtype)
        asked = proposal.to(dtype)
        bounds = self.envelope.bounds(asked)
        action = self.envelope.limit(context.previous, asked)
        known = context.previous.isfinite()
        outside = known & ~self.envelope.inside(context.previous.to(dtype))
        beyond = ~self.envelope.inside(asked)
        slowed = known & ~(action == asked.clamp(bounds.low, bounds.high)) & asked.isfinite()
        reached = self.envelope.inside(action)
        table = {"box": beyond, "rate": slowed, "readback.outside": outside, "readback.nan": ~known}
        reasons = {
            f"{code}:{name}": flag
            for code, flags in table.items()
            for name, flag in zip(self.envelope.names, flags.unbind(-1), strict=True)
        }
        return Verdict(action, reasons, self.envelope.margin(action), (known & reached).all(dim=-1))

    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Check box and rate, independently of how the action was made; ``[B]`` bool."""
        return self.envelope.permits(context.previous, action)

    def reset(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing to remember."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to restore."""
