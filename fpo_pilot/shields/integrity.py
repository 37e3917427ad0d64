"""L0: garbage in, fallback out. No promise about the plant, only about what is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.fallback import FallbackAction
from fpo_pilot.shields.memory import Memory
from fpo_pilot.shields.verdict import ShieldContext, Verdict

QUALITY_GOOD = 0
QUALITY_HELD = 2
KINDS = ("nan", "quality", "range", "stale", "frozen")


@dataclass(frozen=True)
class SensorCheck:
    """When a measurement is not believed.

    Args:
        name: of the signal.
        low: least value that is believed.
        high: greatest value that is believed.
        stale_after: seconds; a held value is believed until then, and not at all if this is None.
        frozen_after: the same value in so many steps is not believed; None for any number.
    """

    name: str
    low: float
    high: float
    stale_after: float | None = None
    frozen_after: int | None = None

    def __post_init__(self) -> None:
        """Refuse a range in which nothing can be read."""
        if not self.low < self.high:
            raise ShieldError(
                f"sensors.{self.name}.range: found {self.low} to {self.high}, expected low below high. "
                "Give the range in which readings are believed."
            )


class IntegrityShield:
    """Replaces the proposal by the fallback where a measurement is not to be believed, or the proposal is not finite.

    Reasons: ``integrity.nan:NAME``, ``integrity.quality:NAME``, ``integrity.range:NAME``, ``integrity.stale:NAME``,
    ``integrity.frozen:NAME``, ``integrity.proposal``; with them ``fallback.incumbent`` or ``fallback.value``.
    A value of held quality is judged by its age where ``stale_after`` is declared, and is bad otherwise. An age below 0, or without end,
    is stale whatever is declared.
    """

    promise = "Where a measurement is not to be believed or the proposal is not finite, the action is the fallback."

    def __init__(self, sensors: tuple[SensorCheck, ...], fallback: FallbackAction) -> None:
        self.sensors = sensors
        self.fallback = fallback
        self._memory = Memory("IntegrityShield", {"last": (math.nan, len(sensors)), "same": (0, len(sensors))})
        self._constants: dict[torch.device, dict[str, Tensor]] = {}

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        """Judge the measurements ``[B, M]`` and the proposal ``[B, A]``; counts equal readings."""
        self._memory.start(context.batch, proposal.device)
        dtype = torch.promote_types(proposal.dtype, context.previous.dtype)
        faults = self._faults(context)
        garbage = ~proposal.isfinite().all(dim=-1)
        bad = torch.stack([*faults.values()]).any(dim=0).any(dim=-1) | garbage
        safe, from_incumbent = self.fallback.choose(context, dtype)
        reasons = {
            f"integrity.{kind}:{sensor.name}": flag
            for kind, flags in faults.items()
            for sensor, flag in zip(self.sensors, flags.unbind(-1), strict=True)
        }
        reasons["integrity.proposal"] = garbage
        reasons["fallback.incumbent"] = bad & from_incumbent
        reasons["fallback.value"] = bad & ~from_incumbent
        action = torch.where(bad[:, None], safe, proposal.to(dtype))
        return Verdict(action, reasons, self._margin(context), torch.ones_like(bad))

    def believes(self, context: ShieldContext) -> Tensor:
        """Return ``[B, M]`` bool: the readings that are believed; changes nothing, so that frozen is as of the last cycle."""
        same = self._memory["same"] if self._memory.started else torch.zeros_like(context.quality, dtype=torch.int64)
        return ~torch.stack([*self._judged(context, same).values()]).any(dim=0)

    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Check that the action is finite: later stages may move it on from the fallback; ``[B]`` bool."""
        return action.isfinite().all(dim=-1)

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget how often a reading was the same."""
        self._memory.reset(mask)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the last readings and how often each was the same."""
        return self._memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._memory.load_state_dict(state)

    def _faults(self, context: ShieldContext) -> dict[str, Tensor]:
        """Return ``[B, M]`` bool for each of KINDS, and remember the readings."""
        reading = context.measurement.to(torch.float64)
        same = torch.where(reading == self._memory["last"], self._memory["same"] + 1, 1)
        self._memory.update(last=reading, same=same)
        return self._judged(context, same)

    def _judged(self, context: ShieldContext, same: Tensor) -> dict[str, Tensor]:
        reading, age = context.measurement.to(torch.float64), context.age.to(torch.float64)
        limits = self._limits(reading.device)
        held = context.quality == QUALITY_HELD
        tolerated = held & limits["tolerates_held"]
        return {
            "nan": ~reading.isfinite(),
            "quality": (context.quality != QUALITY_GOOD) & ~tolerated,
            "range": (reading < limits["low"]) | (reading > limits["high"]),
            "stale": ~((age <= limits["stale_after"]) & (age >= 0.0) & age.isfinite()),
            "frozen": same >= limits["frozen_after"],
        }

    def _margin(self, context: ShieldContext) -> Tensor:
        reading = context.measurement.to(torch.float64)
        if not self.sensors:
            return reading.new_full((context.batch,), math.inf)
        limits = self._limits(reading.device)
        nearest = torch.minimum(reading - limits["low"], limits["high"] - reading) / (limits["high"] - limits["low"])
        return torch.where(nearest.isnan(), -math.inf, nearest).amin(dim=-1)

    def _limits(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._constants:
            with torch.inference_mode(mode=False):
                self._constants[device] = {name: tensor.to(device) for name, tensor in _tables(self.sensors).items()}
        return self._constants[device]


def _tables(sensors: tuple[SensorCheck, ...]) -> dict[str, Tensor]:
    """Turn the checks into tensors ``[M]``; what is not checked is never reached."""
    stale = [math.inf if sensor.stale_after is None else sensor.stale_after for sensor in sensors]
    frozen = [
        torch.iinfo(torch.int64).max if sensor.frozen_after is None else sensor.frozen_after for sensor in sensors
    ]
    return {
        "low": torch.tensor([sensor.low for sensor in sensors], dtype=torch.float64),
        "high": torch.tensor([sensor.high for sensor in sensors], dtype=torch.float64),
        "stale_after": torch.tensor(stale, dtype=torch.float64),
        "frozen_after": torch.tensor(frozen, dtype=torch.int64),
        "tolerates_held": torch.tensor([sensor.stale_after is not None for sensor in sensors]),
    }
