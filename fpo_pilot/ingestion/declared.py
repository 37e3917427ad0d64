"""A plant of which only the specs are known: a log often comes before any model."""

from __future__ import annotations

from dataclasses import dataclass

from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import Limit, SafetySpec


@dataclass(frozen=True)
class DeclaredPlant:
    """Spec and safety spec of a plant."""

    spec: PlantSpec
    safety: SafetySpec | None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Hard and soft limits; none without a safety spec."""
        return () if self.safety is None else self.safety.limits

    @property
    def action_limits(self) -> dict[str, tuple[float, float]]:
        """What the normalised actions −1 and 1 mean: the limits of the safety spec, else the range of the actuator."""
        return {
            name: (self.safety.actions[name].low, self.safety.actions[name].high) if self.safety else signal.range
            for name, signal in self.spec.signals.items()
            if signal.role == "action"
        }
