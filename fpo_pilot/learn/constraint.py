"""A Lagrange multiplier moved by a PID controller: the price of violating soft limits while a policy learns.

Source: Stooke, Achiam, Abbeel, "Responsive safety in reinforcement learning by PID Lagrangian methods", arXiv 2007.03964.
A plain multiplier integrates alone and swings; the proportional and derivative parts damp it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fpo_pilot.specs.training import Constraint


class Multiplier:
    """λ of one constraint.

    Args:
        spec: limit and gains.
        device: where its state lives.
    """

    def __init__(self, spec: Constraint, *, device: str | torch.device = "cpu") -> None:
        self.spec = spec
        self.value = torch.zeros((), dtype=torch.float64, device=device)
        self._integral = torch.zeros_like(self.value)
        self._last = torch.full_like(self.value, torch.nan)

    @torch.no_grad()
    def move(self, rate: Tensor) -> Tensor:
        """Take the share of steps with a violation of the newest rollout, a scalar; return the multiplier."""
        spec = self.spec
        rate = rate.to(torch.float64)
        error = rate - spec.limit
        self._integral = (self._integral + error).clamp(0.0, spec.most / max(spec.integral, 1e-9))
        rise = torch.where(self._last.isnan(), torch.zeros_like(rate), (rate - self._last).clamp(min=0.0))
        wanted = spec.proportional * error + spec.integral * self._integral + spec.derivative * rise
        self.value, self._last = wanted.clamp(0.0, spec.most), rate.clone()
        return self.value

    def state_dict(self) -> dict[str, Tensor]:
        """Return value, integral and last rate."""
        return {"value": self.value, "integral": self._integral, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.value, self._integral, self._last = state["value"], state["integral"], state["last"]
