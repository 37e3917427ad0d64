"""The model that a shield looks ahead with: handed in by the caller, so that shields import no plant.

Letters beside those of the verdict: R rows that are simulated, S states, P parameters, N points of the uncertainty set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

PartStep = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]
"""``step(state [R, S], action [R, A], disturbance [R, D] or None, parameters [R, P] or None) -> (state, trip [R])``."""


class Dynamics(Protocol):
    """What a plant hands to a shield."""

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the columns of a state."""
        ...

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns of the parameters."""
        ...

    @property
    def parameter_values(self) -> tuple[float, ...]:
        """Nominal parameters, as the function takes them."""
        ...

    @property
    def parameter_factors(self) -> tuple[float, ...]:
        """A change of one declared unit in the unit that the function takes, for each parameter."""
        ...

    @property
    def substeps(self) -> int:
        """Integrator steps in one control step, as the plant declares them."""
        ...

    def part(self, parts: int) -> PartStep:
        """Return the function that advances the plant by one of ``parts`` equal parts of its period."""
        ...


@dataclass(frozen=True)
class Model:
    """Advances rows by one control step, in parts, so that what happens between two control steps is seen as well."""

    part: PartStep
    parts: int

    def trace(self, state: Tensor, action: Tensor, parameters: Tensor) -> tuple[list[Tensor], Tensor]:
        """Hold ``action`` ``[R, A]`` for one control step.

        Returns:
            The states ``[R, S]`` after each part, and ``[R]`` whether the model says that the plant trips.
        """
        state, tripped = self.part(state, action, None, parameters)
        states = [state]
        for _ in range(self.parts - 1):
            state, trip = self.part(state, action, None, parameters)
            tripped = tripped | trip
            states.append(state)
        return states, tripped
