"""Sensors: what is measured, how good it is, and how old.

The order is true value → lag → delay → bias → noise → quantisation → faults → range of the instrument → dropout. Every
reading comes with a quality (0 good, 1 bad or NaN, 2 stale or held, 3 out of range) and an age in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.evaluation import SensorFault
from fpo_pilot.specs.plant import Noise

GOOD, BAD, STALE, OUT_OF_RANGE = 0, 1, 2, 3
_WIDEST = {torch.float64: 8.0, torch.float32: 5.0}
"""Cut of untruncated noise, in standard deviations: where the error function is still below 1 in this type."""
_FOREVER = 2**31 - 1


class Reading(NamedTuple):
    """What the sensors say at one time."""

    measurement: Tensor  # [B, M], engineering units
    quality: Tensor  # [B, M] uint8
    age: Tensor  # [B, M] seconds


@dataclass(frozen=True)
class SensorMemory:
    """What sensors remember between two readings: the last true values, newest first, and what is held by a fault."""

    line: Tensor  # [B, L, M], L the longest delay
    held: Tensor  # [B, M], or [B, 0] if no fault holds a value
    age: Tensor  # [B, M]
    lagged: Tensor  # [B, 2, M] behind the lag and before it, or [B, 0, M]
    bias: Tensor  # [B, M] that is drawn, or [B, 0]
    last: Tensor  # [B, M] what was read last, or [B, 0] if nothing drops out


class SensorBank:
    """All sensors of a plant, batched. It keeps nothing that changes: memory goes in and comes out."""

    def __init__(
        self,
        plant: Plant,
        *,
        faults: Sequence[SensorFault] = (),
        noise_factor: float = 1.0,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        signals = [plant.spec.signals[name] for name in plant.measured_names]
        sensors = [signal.sensor for signal in signals]
        self.period = plant.period

        def row(values: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.low, self.high = row([s.range[0] for s in signals]), row([s.range[1] for s in signals])
        widest = _WIDEST.get(dtype, 3.0)
        self.noise_std = row([_std(s.noise) * noise_factor for s in sensors])
        self.noise_reach = row([math.erf(_cut(s.noise, widest) / math.sqrt(2.0)) for s in sensors])
        self.bias, self.step = row([s.bias for s in sensors]), row([s.quantize for s in sensors])
        self.lag_weights = row([_lag_weights(s.lag / plant.period) for s in sensors]).T
        self.spread, self.walk = row([s.bias_spread for s in sensors]), row([s.bias_walk for s in sensors])
        self.dropout = row([0.0 if s.dropout is None else s.dropout.probability for s in sensors])
        holds = [s.dropout is None or s.dropout.hold == "last" for s in sensors]
        self.holds_last = torch.tensor(holds, dtype=torch.bool, device=device)
        self.has_lag = any(s.lag > 0.0 for s in sensors)
        self.drifts = any(s.bias_walk > 0.0 for s in sensors)
        self.draws_bias = self.drifts or any(s.bias_spread > 0.0 for s in sensors)
        self.drops = any(s.dropout is not None and s.dropout.probability > 0.0 for s in sensors)
        self.delay = torch.tensor([s.delay_steps for s in sensors], dtype=torch.int64, device=device)
        self.columns = torch.arange(len(sensors), device=device)
        self.longest = max((s.delay_steps for s in sensors), default=0)
        self.has_noise = noise_factor > 0.0 and any(_std(s.noise) > 0.0 for s in sensors)
        self.has_bias = any(s.bias != 0.0 for s in sensors)
        self.has_steps = any(s.quantize > 0.0 for s in sensors)
        self.holds = any(fault.kind in {"stuck", "stale"} for fault in faults)
        self.faults = tuple((_column(plant, fault), fault) for fault in faults)

    @property
    def is_random(self) -> bool:
        """Whether a reading asks the generator for anything."""
        noisy = any(fault.kind == "noise" for _, fault in self.faults)
        return self.has_noise or self.draws_bias or self.drops or noisy

    def start(self, true: Tensor, generator: torch.Generator | None) -> SensorMemory:
        """Return the memory of sensors that have always read ``true`` ``[B, M]``, with the bias of a new episode."""
        line = true.unsqueeze(1).expand(-1, self.longest, -1).contiguous()
        none = true[:, :0]
        bias = none.clone()
        if self.draws_bias:
            bias = self.spread * torch.randn(true.shape, dtype=true.dtype, device=true.device, generator=generator)
        return SensorMemory(
            line=line,
            held=(true if self.holds else none).clone(),
            age=torch.zeros_like(true),
            lagged=torch.stack((true, true), dim=1) if self.has_lag else true.unsqueeze(1)[:, :0],
            bias=bias,
            last=(true if self.drops else none).clone(),
        )

    def read(
        self, true: Tensor, memory: SensorMemory, step: Tensor, generator: torch.Generator | None
    ) -> tuple[Reading, SensorMemory]:
        """Read all sensors once.

        Args:
            true: ``[B, M]`` values now.
            memory: of the last reading; :meth:`start` at the start of an episode.
            step: ``[B]`` step of the episode, for the windows of faults.
            generator: source of the noise.

        Returns:
            The reading, and the memory for the next one.
        """
        line, value, lagged, bias = memory.line, true, memory.lagged, memory.bias
        age = self.period * self.delay.to(true.dtype).expand_as(true)
        if self.has_lag:
            keep, before, now = self.lag_weights.unbind(0)
            value = keep * memory.lagged[:, 0] + before * memory.lagged[:, 1] + now * true
            lagged = torch.stack((value, true), dim=1)
        if self.longest:
            line = torch.cat((value.unsqueeze(1), memory.line), dim=1)
            value, line = line[:, self.delay, self.columns], line[:, :-1]
        if self.has_bias:
            value = value + self.bias
        if self.draws_bias:
            value = value + bias
        if self.drifts:  # for the next reading
            bias = bias + self.walk * torch.randn(bias.shape, dtype=bias.dtype, device=bias.device, generator=generator)
        if self.has_noise:
            value = value + self.noise_std * self._noise(value, generator)
        if self.has_steps:
            safe = torch.where(self.step > 0.0, self.step, torch.ones_like(self.step))
            value = torch.where(self.step > 0.0, torch.round(value / safe) * safe, value)
        quality = torch.zeros_like(value, dtype=torch.uint8)
        held = value if self.holds else memory.held
        if self.faults:
            value, quality, age, held = self._with_faults(value, quality, age, held, memory, step, generator)
        outside = (value < self.low) | (value > self.high)
        quality = torch.where(outside, OUT_OF_RANGE, quality)
        value = torch.clamp(value, self.low, self.high)
        last = memory.last
        if self.drops:
            value, quality, age, last = self._with_dropout(value, quality, age, memory, generator)
        return Reading(value, quality, age), SensorMemory(line, held, age, lagged, bias, last)

    def _with_dropout(
        self, value: Tensor, quality: Tensor, age: Tensor, memory: SensorMemory, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Let readings get lost; the one before stands in, if it is held."""
        drawn = torch.rand(value.shape, dtype=value.dtype, device=value.device, generator=generator)
        lost = drawn < self.dropout
        last = torch.where(lost, memory.last, value)
        held = torch.where(self.holds_last & torch.isfinite(last), STALE, BAD).to(quality.dtype)
        quality = torch.where(lost, held, quality)
        age = torch.where(lost, memory.age + self.period, age)
        return torch.where(lost & ~self.holds_last, math.nan, last), quality, age, last

    def _noise(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw truncated standard normal noise by the inverse of its distribution function: no draw is rejected."""
        uniform = torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)
        return math.sqrt(2.0) * torch.erfinv((2.0 * uniform - 1.0) * self.noise_reach)

    def _with_faults(
        self,
        value: Tensor,
        quality: Tensor,
        age: Tensor,
        held: Tensor,
        memory: SensorMemory,
        step: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Apply the faults whose window is open; a held value is that of the step before the window."""
        for column, fault in self.faults:
            until = _FOREVER if fault.to_step is None else fault.to_step
            active = ((step >= fault.from_step) & (step < until)).unsqueeze(-1) & (self.columns == column)
            if fault.kind == "bias":
                value = torch.where(active, value + fault.value, value)
            elif fault.kind == "drift":
                since = (step - fault.from_step + 1).to(value.dtype).unsqueeze(-1)
                value = torch.where(active, value + fault.value * since, value)
            elif fault.kind == "noise":
                noise = torch.randn(value.shape, dtype=value.dtype, device=value.device, generator=generator)
                value = torch.where(active, value + fault.value * noise, value)
            elif fault.kind == "range":
                value = torch.where(active, self.high + 0.1 * (self.high - self.low), value)
            elif fault.kind == "nan":
                value = torch.where(active, math.nan, value)
                quality = torch.where(active, BAD, quality)
            else:
                value = torch.where(active, memory.held, value)
                held = torch.where(active, memory.held, held)
                if fault.kind == "stale":
                    quality = torch.where(active, STALE, quality)
                    age = torch.where(active, memory.age + self.period, age)
        return value, quality, age, held


def _lag_weights(ratio: float) -> tuple[float, float, float]:
    """Return the weights of the last lagged, the last true and the new true value for ``ratio`` of lag to period.

    Exact where the true value runs straight between two readings; a true value held still would lag too little.
    """
    if ratio == 0.0:
        return 0.0, 0.0, 1.0
    keep = math.exp(-1.0 / ratio)
    return keep, ratio * (1.0 - keep) - keep, 1.0 - ratio * (1.0 - keep)


def _std(noise: Noise | None) -> float:
    return 0.0 if noise is None else noise.std


def _cut(noise: Noise | None, widest: float) -> float:
    return widest if noise is None or noise.truncate is None else min(noise.truncate, widest)


def _column(plant: Plant, fault: SensorFault) -> int:
    if fault.signal not in plant.measured_names:
        raise PlantError(
            f"plant {plant.name}: the fault {fault.kind} names {fault.signal!r}, expected a measured signal "
            f"({', '.join(plant.measured_names)}). Correct the name in the scenario."
        )
    return plant.measured_names.index(fault.signal)
