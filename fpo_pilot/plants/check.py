"""Does a plant keep the promises that everything else relies on? Questions to ask before training on one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fpo_pilot.plants.answers import CheckResult, ask
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation

_BATCH = 32
_STEP_ERROR = 1e-3
"""Largest error of a step, relative to the range of the signal, that too few substeps may leave."""
_OBSERVATION_REACH = 10.0
DEEP_STEPS = 100


def check_plant(plant: Plant, *, deep: bool = False, steps: int = DEEP_STEPS) -> list[CheckResult]:
    """Ask every question; nothing is raised, so that all answers are there at once.

    Args:
        plant: the plant.
        deep: also ask what takes seconds to minutes: whole trajectories, types, faults, distributions.
        steps: length of the trajectories of the deep questions, or that of an episode if it is shorter.

    Returns:
        One result a question, in a fixed order. A plant that fails one should not be trained on.
    """
    results = ask(
        (
            ("starts are inside the hard limits", _starts_safe),
            ("a step returns the right shape, type and device", _step_shapes),
            ("a batch gives what single plants give", _batch_is_loop),
            ("the substeps are fine enough", _substeps),
            ("nothing becomes infinite under random actions", _stays_finite),
            ("the same seed gives the same episode", _reproduces),
            ("an episode ends by its horizon at the latest", _horizon),
            ("observations are scaled", _observations),
            ("runs without asking the device for a value", _meta),
        ),
        plant,
    )
    if not deep:
        return results
    from fpo_pilot.plants.deep_check import deep_results  # scipy's statistics take a second to import

    return results + deep_results(plant, steps)


def _sample(plant: Plant) -> tuple[Tensor, Tensor]:
    """Return start states ``[B, S]`` and random actions ``[B, A]``."""
    simulation = Simulation(plant, _BATCH, seed=0)
    return simulation.state, _actions(plant, _BATCH, torch.Generator().manual_seed(1))


def _actions(plant: Plant, batch: int, generator: torch.Generator) -> Tensor:
    normalised = 2.0 * torch.rand((batch, len(plant.action_names)), dtype=torch.float64, generator=generator) - 1.0
    return plant.to_engineering(normalised)


def _starts_safe(plant: Plant) -> tuple[bool, str]:
    simulation = Simulation(plant, 256, seed=0, autoreset=False)
    outputs = plant.outputs(simulation.state, simulation.applied)
    names = (*plant.state_names, *plant.output_names)
    values = dict(zip(names, torch.cat((simulation.state, outputs), dim=1).unbind(-1), strict=True))
    for limit in plant.limits:
        value = values.get(limit.signal)
        if limit.kind != "hard" or value is None:
            continue
        low = -torch.inf if limit.low is None else limit.low
        high = torch.inf if limit.high is None else limit.high
        if bool(((value < low) | (value > high)).any()):
            return False, f"{limit.signal} starts beyond the hard limit {limit.id}: narrow `episode.start`"
    return True, "256 starts drawn"


def _step_shapes(plant: Plant) -> tuple[bool, str]:
    state, action = _sample(plant)
    for dtype in (torch.float64, torch.float32):
        after, trip = plant.step(state.to(dtype), action.to(dtype))
        if after.dtype != dtype or trip.shape != (_BATCH,) or trip.dtype != torch.bool:
            return False, f"step returned {after.dtype} and a trip of shape {tuple(trip.shape)} for {dtype}"
    return True, "float64 and float32"


def _batch_is_loop(plant: Plant) -> tuple[bool, str]:
    state, action = _sample(plant)
    together = plant.step(state, action)[0]
    alone = torch.cat([plant.step(state[i : i + 1], action[i : i + 1])[0] for i in range(_BATCH)])
    error = float(((together - alone).abs() / alone.abs().clamp(min=1.0)).max())
    return error < 1e-9, f"largest difference {error:.1e}"


def _substeps(plant: Plant) -> tuple[bool, str]:
    if not hasattr(plant.dynamics, "derivative"):
        return True, "a discrete-time plant has none"
    count = plant.spec.dynamics.substeps
    finer = plant.spec.model_copy(update={"dynamics": plant.spec.dynamics.model_copy(update={"substeps": 8 * count})})
    state, action = _sample(plant)
    coarse, trip = plant.step(state, action)
    fine, fine_trip = replace(plant, spec=finer).step(state, action)
    spans = torch.tensor([high - low for low, high in (plant.spec.signals[name].range for name in plant.state_names)])
    runs = ~(trip | fine_trip)
    if not bool(runs.any()):
        return False, "every plant tripped in the first step"
    error = float(((coarse - fine).abs() / spans)[runs].max())
    return (
        error < _STEP_ERROR,
        f"a step with {count} substeps differs by {error:.1e} of the range from one with {8 * count}",
    )


def _stays_finite(plant: Plant) -> tuple[bool, str]:
    simulation, generator = Simulation(plant, _BATCH, seed=0), torch.Generator().manual_seed(2)
    trips = 0
    for _ in range(plant.horizon):
        transition = simulation.step(_actions(plant, _BATCH, generator))
        trips += int(transition.tripped.sum())
        for name, tensor in (("reward", transition.reward), ("observation", transition.final_observation)):
            if not bool(torch.isfinite(tensor).all()):
                return False, f"the {name} is not finite: look for a division by zero or a logarithm"
    return True, f"{trips} trips in {_BATCH} random episodes"


def _reproduces(plant: Plant) -> tuple[bool, str]:
    rewards = []
    for _ in range(2):
        simulation, generator = Simulation(plant, 4, seed=3), torch.Generator().manual_seed(4)
        rewards.append(torch.stack([simulation.step(_actions(plant, 4, generator)).reward for _ in range(5)]))
    same = (rewards[0] == rewards[1]) | (rewards[0].isnan() & rewards[1].isnan())
    return bool(same.all()), "compared to the bit over five steps"


def _horizon(plant: Plant) -> tuple[bool, str]:
    simulation = Simulation(plant, 1, seed=0)
    middle = plant.to_engineering(torch.zeros((1, simulation.action_size), dtype=torch.float64))
    for step in range(1, plant.horizon + 1):
        transition = simulation.step(middle)
        if bool(transition.terminated[0]):
            return True, f"ended by a trip or the declared end after {step} steps of middle actions"
        if bool(transition.truncated[0]):
            return step == plant.horizon, f"truncated after {step} of {plant.horizon} steps"
    return False, f"still running after {plant.horizon} steps"


def _observations(plant: Plant) -> tuple[bool, str]:
    simulation, generator = Simulation(plant, _BATCH, seed=0), torch.Generator().manual_seed(5)
    start = simulation.observation
    worst = start.abs().amax(dim=0)
    for _ in range(min(plant.horizon, 20)):
        observation = simulation.step(_actions(plant, _BATCH, generator)).final_observation
        worst = torch.maximum(worst, observation.abs().amax(dim=0))
    index = int(worst.argmax())
    name, value = simulation.observation_names[index], float(worst[index])
    return value <= _OBSERVATION_REACH, f"the largest entry is {name}, {value:.3g} (about 1 is best; set its `scale`)"


def _meta(plant: Plant) -> tuple[bool, str]:
    simulation = Simulation(plant, _BATCH, device="meta")
    action = torch.empty((_BATCH, simulation.action_size), device="meta", dtype=torch.float64)
    transition = simulation.step(action)
    return transition.observation.device.type == "meta", "a step on the device meta"
