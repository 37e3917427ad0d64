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
