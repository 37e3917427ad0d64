"""What a dynamics class must offer. It inherits from nothing of ours: a frozen dataclass with these members will do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

SECONDS: Mapping[str, float] = {"s": 1.0, "min": 60.0, "h": 3600.0}
"""Time units in which a derivative may be written."""


class Dynamics(Protocol):
    """The names that every dynamics class declares, in the order of the columns of its tensors.

    Optional members: ``disturbances`` (names), ``signal_units`` (name to unit, checked against the spec),
    ``output_names`` and ``outputs(state, action, disturbance, parameters) -> [B, Y]`` for signals of role
    ``measurement``; ``pose(state)``, see :class:`HasPose`.
    """

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state signals."""

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions."""

    @property
    def parameters(self) -> Mapping[str, str]:
        """Name of each parameter to the unit that the code expects it in."""


@runtime_checkable
class ContinuousDynamics(Protocol):
    """Dynamics as a differential equation, integrated by fixed Runge-Kutta steps."""

    @property
    def time_unit(self) -> str:
        """Unit of time of the derivative: ``s``, ``min`` or ``h``."""

    def derivative(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the rate of change ``[B, S]`` per ``time_unit``."""


@runtime_checkable
class DiscreteDynamics(Protocol):
    """Dynamics as a map from one control step to the next."""

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, S]`` after ``period`` seconds."""


@runtime_checkable
class HasOutputs(Protocol):
    """Dynamics that compute measured signals which are not states."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the signals of role ``measurement``, in the order of the columns."""

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return the computed signals ``[B, Y]``."""


@runtime_checkable
class HasPose(Protocol):
    """Dynamics by a MuJoCo model whose coordinates are not simply the first states."""

    def pose(self, state: Tensor) -> Tensor:
        """Return the model's coordinates ``[B, nq]``."""
