"""Disturbances of an episode, and what is drawn at its start: initial states and uncertain parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.replay import Floats, replayed
from fpo_pilot.specs.evaluation import Scenario
from fpo_pilot.specs.plant import DisturbanceSpec, Fixed, Start, Uniform

_WIDEST = {torch.float64: 8.0, torch.float32: 5.0}


class Exogenous(NamedTuple):
    """What acts on the plant from outside at one step; None where it is as declared."""

    impulse: Tensor | None  # [B, S] added to the state at the start of the step
    disturbance: Tensor | None  # [B, D]
    parameters: Tensor | None  # [B, P]


class DisturbanceModel:
    """The disturbances of a plant or scenario, batched; each is drawn on or off at the start of an episode."""

    def __init__(
        self, plant: Plant, specs: Sequence[DisturbanceSpec], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.specs = tuple(specs)
        self.targets = tuple(_target(plant, spec) for spec in self.specs)
        self.plant = plant
        self.probability = torch.tensor([spec.probability for spec in self.specs], dtype=dtype, device=device)
        decay = [_decay(spec) for spec in self.specs]
        self.decay = torch.tensor(decay, dtype=dtype, device=device)
        self.fresh = torch.tensor([math.sqrt(max(1.0 - d * d, 0.0)) for d in decay], dtype=dtype, device=device)
        self.is_chance = any(spec.probability < 1.0 for spec in self.specs)
        self.drifts = any(spec.kind in {"ou", "white"} for spec in self.specs)
        self.tables = {
            index: torch.tensor(self._table(spec, target), dtype=dtype, device=device)
            for index, (spec, target) in enumerate(zip(self.specs, self.targets, strict=True))
            if spec.replay is not None
        }
        """Of each replay, by its place: what the channel has more than its own value, one row a step of the record."""

    @property
    def is_random(self) -> bool:
        """Whether an episode draws anything."""
        begins = any(spec.replay is not None and spec.replay.begin == "random" for spec in self.specs)
        return self.is_chance or self.drifts or begins

    def first_level(self, batch: int, generator: torch.Generator | None) -> Tensor:
        """Draw the levels ``[B, N]`` of a new episode: standard normal, and of a replay the row where it begins."""
        shape = (batch, len(self.specs))
        level = torch.zeros(shape, dtype=self.decay.dtype, device=self.decay.device)
        if self.drifts:
            level = torch.randn(shape, dtype=self.decay.dtype, device=self.decay.device, generator=generator)
        for index, table in self.tables.items():
            replay = self.specs[index].replay
            begins = torch.zeros_like(level[:, index])
            if replay is not None and replay.begin == "random":
                drawn = torch.rand(begins.shape, dtype=level.dtype, device=level.device, generator=generator)
                begins = torch.floor(drawn * (len(table) - self.plant.horizon))
            level = level.index_copy(1, torch.tensor([index], device=level.device), begins.unsqueeze(-1))
        return level

    def _table(self, spec: DisturbanceSpec, target: tuple[str, int, float]) -> Floats:
        """Read a replay as differences from the channel's own value."""
        plant, kind = self.plant, target[0]
        if spec.replay is None or plant.folder is None:
            raise PlantError(
                f"plant {plant.name}: a replay of {spec.channel} in a plant without a folder, expected one that was loaded from "
                "files. Load the plant by its path."
            )
        if kind == "parameter":
            declared = plant.spec.parameters[spec.channel]
            unit, own = declared.unit, declared.value
        else:
            signal = plant.spec.signals[spec.channel]
            unit, own = signal.unit, float(signal.start or 0.0)
        values = replayed(plant.folder, spec.replay, unit=unit, period=plant.period)
        if len(values) < plant.horizon:
            raise PlantError(
                f"{spec.replay.file}: found {len(values)} periods of {plant.period:g} s, expected at least the {plant.horizon} of an "
                "episode. Give a longer record."
            )
        return values - own

    def draw_active(self, batch: int, generator: torch.Generator | None) -> Tensor:
        """Draw ``[B, N]`` which disturbances happen in an episode."""
        if not self.is_chance:
            return torch.ones_like(self.probability, dtype=torch.bool).expand(batch, -1)
        shape = (batch, len(self.specs))
        drawn = torch.rand(shape, dtype=self.probability.dtype, device=self.probability.device, generator=generator)
        return drawn < self.probability

    def drift(self, level: Tensor, generator: torch.Generator | None) -> Tensor:
        """Advance the random levels ``[B, N]``, in standard deviations, by one step; white noise forgets the last one."""
        if not self.drifts:
            return level
        noise = torch.randn(level.shape, dtype=level.dtype, device=level.device, generator=generator)
        return level * self.decay + noise * self.fresh

    def at(self, step: Tensor, active: Tensor, level: Tensor, parameters: Tensor | None) -> Exogenous:
        """Return what acts at ``step`` ``[B]``, on top of the ``parameters`` ``[B, P]`` of the episode."""
        if not self.specs:
            return Exogenous(None, None, parameters)
        plant, like = self.plant, level
        batch = (step.shape[0], 1)
        sums: dict[str, Tensor] = {}
        for index, (spec, (kind, column, factor)) in enumerate(zip(self.specs, self.targets, strict=True)):
            if index in self.tables:
                table = self.tables[index]
                row = (level[:, index].long() + step).clamp(max=len(table) - 1)
                height = table[row] * (active[:, index] * factor)
            else:
                profile = _profile(spec, step.to(like.dtype), level[:, index])
                height = profile * (active[:, index] * (spec.size * factor))
            width = {"state": len(plant.state_names), "disturbance": len(plant.disturbance_names)}.get(
                kind, len(plant.parameter_names)
            )
            if kind not in sums:
                sums[kind] = torch.zeros((step.shape[0], width), dtype=like.dtype, device=like.device)
            unit = torch.zeros(width, dtype=like.dtype, device=like.device)
            unit[column] = 1.0
            sums[kind] = sums[kind] + height.reshape(batch) * unit
        disturbance, changed = sums.get("disturbance"), sums.get("parameter")
        if disturbance is not None:
            disturbance = disturbance + plant.nominal_disturbance_like(like)
        if changed is not None:
            parameters = changed + (plant.nominal_parameters_like(like) if parameters is None else parameters)
        return Exogenous(sums.get("state"), disturbance, parameters)


class StartModel:
    """The distribution of initial states and, if declared, of the parameters of an episode."""

    def __init__(self, plant: Plant, scenario: Scenario, *, device: torch.device, dtype: torch.dtype) -> None:
        for name in scenario.start:
            _require(plant, name, plant.state_names, "start")
        for name in scenario.parameters:
            _require(plant, name, plant.parameter_names, "parameters")
        starts = [scenario.start.get(name, plant.spec.episode.start.get(name)) for name in plant.state_names]
        rows = [_spread(start, _WIDEST.get(dtype, 3.0)) for start in starts]
        self.center, self.half, self.std, self.reach = (
            torch.tensor(column, dtype=dtype, device=device) for column in zip(*rows, strict=True)
        )
        self.is_random = any(half > 0.0 or std > 0.0 for _, half, std, _ in rows)
        self.has_normal = any(std > 0.0 for _, _, std, _ in rows)
        values, widths = [], []
        for name, nominal, factor in zip(
            plant.parameter_names, plant.parameter_values, plant.parameter_factors, strict=True
        ):
            declared = plant.spec.parameters[name]
            given = scenario.parameters.get(name)
            values.append(nominal if given is None else nominal + factor * (given - declared.value))
            uncertainty = declared.uncertainty if plant.spec.episode.randomize_parameters and given is None else None
            relative = uncertainty is not None and uncertainty.kind == "relative"
            width = 0.0 if uncertainty is None else uncertainty.half_width
            widths.append(width * abs(nominal) if relative else width * factor)
        self.values = torch.tensor(values, dtype=dtype, device=device)
        self.widths = torch.tensor(widths, dtype=dtype, device=device)
        self.random_parameters = any(width > 0.0 for width in widths)
        self.has_parameters = self.random_parameters or bool(scenario.parameters)

    def draw_state(self, batch: int, generator: torch.Generator | None) -> Tensor:
        """Draw initial states ``[B, S]``."""
        if not self.is_random:
            return self.center.expand(batch, -1).clone()
        shape = (batch, len(self.center))
        uniform = 2.0 * torch.rand(shape, dtype=self.center.dtype, device=self.center.device, generator=generator) - 1.0
        state = self.center + self.half * uniform
        if self.has_normal:
            state = state + self.std * (math.sqrt(2.0) * torch.erfinv(uniform * self.reach))
        return state

    def draw_parameters(self, batch: int, generator: torch.Generator | None) -> Tensor:
        """Draw the parameters ``[B, P]`` of an episode; ``[B, 0]`` if they are the nominal ones."""
        if not self.has_parameters:
            return self.values.new_empty((batch, 0))
        values = self.values.expand(batch, -1)
        if not self.random_parameters:
            return values.clone()
        uniform = torch.rand(values.shape, dtype=values.dtype, device=values.device, generator=generator)
        return values + self.widths * (2.0 * uniform - 1.0)


def _decay(spec: DisturbanceSpec) -> float:
    """Return what is left of a level after a step: all of where a replay began, nothing of white noise."""
    if spec.kind == "ou":
        return math.exp(-1.0 / (spec.period_steps or 1.0))
    return 1.0 if spec.kind == "replay" else 0.0


def _profile(spec: DisturbanceSpec, step: Tensor, level: Tensor) -> Tensor:
    """Return ``[B]`` the height of a disturbance of size 1 at ``step``."""
    since = step - spec.at_step
    until = math.inf if spec.until_step is None else float(spec.until_step)
    window = ((since >= 0.0) & (step < until)).to(step.dtype)
    if spec.kind == "impulse":
        return (since == 0.0).to(step.dtype)
    if spec.kind == "ramp":
        return (since / max(until - spec.at_step, 1.0)).clamp(0.0, 1.0)
    if spec.kind == "periodic":
        return window * torch.sin(since * (2.0 * math.pi / (spec.period_steps or 1.0)))
    if spec.kind in {"ou", "white"}:
        return window * level
    return window


def _target(plant: Plant, spec: DisturbanceSpec) -> tuple[str, int, float]:
    """Return the kind of a channel, its column, and the factor from the spec's unit to that of the code."""
    if spec.channel in plant.disturbance_names:
        return "disturbance", plant.disturbance_names.index(spec.channel), 1.0
    if spec.channel in plant.state_names:
        return "state", plant.state_names.index(spec.channel), 1.0
    _require(plant, spec.channel, plant.parameter_names, "disturbances")
    column = plant.parameter_names.index(spec.channel)
    return "parameter", column, plant.parameter_factors[column]


def _spread(start: Start | None, widest: float) -> tuple[float, float, float, float]:
    """Return center, half width, standard deviation and reach of the error function."""
    if start is None:
        return 0.0, 0.0, 0.0, 0.0
    if isinstance(start, Fixed):
        return start.value, 0.0, 0.0, 0.0
    if isinstance(start, Uniform):
        return (start.low + start.high) / 2, (start.high - start.low) / 2, 0.0, 0.0
    return start.mean, 0.0, start.std, math.erf(min(start.truncate, widest) / math.sqrt(2.0))


def _require(plant: Plant, name: str, known: tuple[str, ...], where: str) -> None:
    if name not in known:
        raise PlantError(
            f"plant {plant.name}: {where} names {name!r}, expected one of {', '.join(known) or '(there is none)'}. "
            "Correct the name in the scenario or in plant.yaml."
        )
