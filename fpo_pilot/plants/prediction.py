"""A plant as a shield sees it: names, numbers and one function. Shields import no plant; the caller hands them this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.dynamics import ContinuousDynamics
from fpo_pilot.plants.plant import Plant

PartStep = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]
"""``step(state [R, S], action [R, A], disturbance [R, D] or None, parameters [R, P] or None) -> (state, trip [R])``."""


@dataclass(frozen=True)
class Prediction:
    """The model of a plant that a predictive or barrier shield looks ahead with."""

    plant: Plant

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the columns of a state."""
        return self.plant.state_names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns of the parameters."""
        return self.plant.parameter_names

    @property
    def parameter_values(self) -> tuple[float, ...]:
        """Nominal parameters, in the units of the dynamics class."""
        return self.plant.parameter_values

    @property
    def parameter_factors(self) -> tuple[float, ...]:
        """A change of one unit of plant.yaml in the unit of the dynamics class, for each parameter."""
        return self.plant.parameter_factors

    @property
    def substeps(self) -> int:
        """Integrator steps in one control step, as plant.yaml declares them."""
        return self.plant.spec.dynamics.substeps if isinstance(self.plant.dynamics, ContinuousDynamics) else 1

    def part(self, parts: int) -> PartStep:
        """Return the function that advances the plant by one of ``parts`` equal parts of its period, in one integrator step.

        Raises:
            PlantError: dynamics written as a map from step to step cannot be cut into parts.
        """
        spec = self.plant.spec
        if parts != 1 and not isinstance(self.plant.dynamics, ContinuousDynamics):
            raise PlantError(
                f"plant {self.plant.name}: found {parts} substeps for dynamics in discrete time, expected 1. "
                "Leave `substeps` of the shield out."
            )
        shorter = spec.model_copy(
            update={
                "timing": spec.timing.model_copy(update={"period": spec.timing.period / parts}),
                "dynamics": spec.dynamics.model_copy(update={"substeps": 1}),
            }
        )
        return replace(self.plant, spec=shorter, _constants={}).step
