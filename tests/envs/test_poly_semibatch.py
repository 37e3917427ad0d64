"""The semi-batch polymerisation against its computed facts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation

PLANT = load_plant("poly_semibatch")
FREE = dataclasses.replace(PLANT, safety=None)  # the same physics, and nothing trips
START = (10000.0, 853.0, 26.5, 363.15, 363.15, 363.15, 308.15, 308.15, 300.0)
RECIPES = ((3e4, 333.15, 333.15), (1.2e4, 363.15, 340.0), (8e3, 365.0, 345.0))


def rows(*values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def with_substeps(plant: Plant, count: int) -> Plant:
    dynamics = plant.spec.dynamics.model_copy(update={"substeps": count})
    return dataclasses.replace(plant, spec=plant.spec.model_copy(update={"dynamics": dynamics}))


COARSE = with_substeps(FREE, 25)  # within 1e-3 kg and far closer in temperature, as tested below


def one_step(substeps: int) -> Tensor:
    return with_substeps(FREE, substeps).step(rows(START), rows((1.5e4, 363.15, 340.0)))[0][0]


def test_one_step_has_the_golden_value() -> None:
    state, action = rows(START), rows((1.5e4, 363.15, 340.0))
    got, trip = PLANT.step(state, action)
    masses, temperatures = [10069.375, 964.88476, 53.57357], [362.06659, 362.83842, 363.09069, 335.72666, 335.23562]
    assert got[0].tolist() == pytest.approx([*masses, *temperatures, 508.33333], rel=1e-7)
    assert float(PLANT.outputs(got, action)) == pytest.approx(378.60076, rel=1e-7)
    assert float(PLANT.outputs(state, action)) == pytest.approx(378.047, abs=1e-3)
    assert not bool(trip)


def test_forty_substeps_are_exact_and_twenty_are_unstable() -> None:
    exact = one_step(160)
    errors = {n: float((one_step(n) - exact).abs().max()) for n in (40, 25, 18)}
    assert errors[40] < 2e-6  # kg of 10000; temperatures are far closer
    assert float((one_step(40) - exact)[3:8].abs().max()) < 2e-7
    assert errors[25] < 1e-3
    assert errors[18] > 1.0


def test_the_integrator_reaches_its_order_on_this_plant() -> None:
    """Over one step with 80 and 160 substeps: at 40 the fastest mode, 0.79 s, is not yet in the range of the order."""
    exact = one_step(480)[6]
    ratio = float((one_step(80)[6] - exact).abs() / (one_step(160)[6] - exact).abs())
    assert 12.0 < ratio < 40.0


def test_naive_recipes_leave_the_band_of_the_temperature_within_fifty_minutes() -> None:
    state, action = rows(START, START, START), rows(*RECIPES)
    hottest, adiabatic = state[:, 3], torch.zeros(3, dtype=torch.float64)
    for _ in range(60):
        state, _ = FREE.step(state, action)
        hottest = torch.maximum(hottest, state[:, 3])
        adiabatic = torch.maximum(adiabatic, FREE.outputs(state, action)[:, 0])
    assert adiabatic.tolist() == pytest.approx([387.26, 385.14, 382.08], abs=0.01)
    assert state[:, 3].tolist() == pytest.approx([371.79, 372.29, 370.08], abs=0.01)
    assert hottest.tolist() == pytest.approx([371.79, 373.09, 371.49], abs=0.02)
    assert bool((hottest > 365.15).all())


def test_dosing_at_once_trips_the_plant_and_freezes_it_at_the_limit() -> None:
    state, tripped = rows(START), torch.zeros(1, dtype=torch.bool)
    for _ in range(12):
        state, trip = PLANT.step(state, rows(RECIPES[0]))
        tripped |= trip
    assert bool(tripped)
    assert 382.15 < float(PLANT.outputs(state, rows(RECIPES[0]))) < 382.6


def safe_values() -> tuple[float, ...]:
    safety = PLANT.safety
    assert safety is not None
    return tuple(float(safety.actions[name].fallback) for name in PLANT.action_names)


def test_with_the_safe_values_the_heat_still_to_come_only_falls() -> None:
    """What the fallback relies on: from a state near the limit, the declared safe values lower the adiabatic temperature."""
    state, action, last = rows(START), rows(safe_values()), 382.1
    state[0, 1] = 1080.0  # Tad 381.99 K
    for _ in range(12):
        state, _ = FREE.step(state, action)
        now = float(FREE.outputs(state, action))
        assert now < last
        last = now


def test_the_safe_values_can_be_held_from_any_moment_of_a_batch_whatever_the_rate_and_heat() -> None:
    """From every twelfth step of the incumbent's batch, for the corners whose start is inside; colder coolant would trip."""
    corners = corner_parameters(heat=(0.7, 1.0), rate=(0.7, 1.0, 1.3))
    states, actions = incumbent_batch(corners)
    state, held = torch.cat(states), torch.cat(actions)
    targets = torch.cat(
        (rows(safe_values()).expand(len(state), -1), rows((0.0, 333.15, 333.15)).expand(len(state), -1))
    )
    parameters = corners.repeat(2 * len(states), 1)
    temperature, adiabatic = hold(state.repeat(2, 1), held.repeat(2, 1), targets, parameters)
    safe, cold = temperature.split(len(state), dim=1)
    assert float(safe.min()) > 353.15 + 2.0
    assert float(safe.max()) < 373.15 - 4.0
    assert float(adiabatic[:, : len(state)].max()) < 382.15
    assert float(cold.min()) < 353.15


def corner_parameters(heat: tuple[float, ...], rate: tuple[float, ...]) -> Tensor:
    """Return the declared parameters ``[n, P]`` with these factors on the heat of reaction and on the rate constant."""
    names, nominal = list(PLANT.parameter_names), rows(PLANT.nominal_parameters())
    found = []
    for factor in heat:
        for other in rate:
            one = nominal.clone()
            one[:, names.index("heat_of_reaction")] *= factor
            one[:, names.index("rate_constant")] *= other
            found.append(one)
    return torch.cat(found)


def incumbent_batch(parameters: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return state and applied action of every twelfth step by the incumbent, one row a parameter set, to the middle of a batch."""
    low, high, speed = rows(PLANT.action_low), rows(PLANT.action_high), rows((3000.0, 5.0, 5.0))
    state, applied = rows(START).repeat(len(parameters), 1), rows((0.0, 363.15, 363.15)).repeat(len(parameters), 1)
    states, actions = [], []
    for step in range(73):
        warm = state[:, 3] - 363.15
        feed = 6000 - 2000 * (FREE.outputs(state, applied, parameters=parameters)[:, 0] - 379.15)
        asked = torch.stack((feed, 351 - 10 * warm, 345 - 10 * warm), dim=-1).clamp(low, high)
        applied = applied + (asked - applied).clamp(-speed, speed)
        state, _ = COARSE.step(state, applied, None, parameters)
        if step % 12 == 0:
            states.append(state)
            actions.append(applied)
    return states, actions


def hold(state: Tensor, applied: Tensor, target: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return temperatures and adiabatic ones ``[100, B]`` of a hundred steps towards ``target``."""
    speed = rows((3000.0, 5.0, 5.0))
    temperatures, adiabatic = [], []
    for _ in range(100):
        applied = applied + (target - applied).clamp(-speed, speed)
        state, _ = COARSE.step(state, applied, None, parameters)
        temperatures.append(state[:, 3])
        adiabatic.append(FREE.outputs(state, applied, parameters=parameters)[:, 0])
    return torch.stack(temperatures), torch.stack(adiabatic)


def test_the_valve_shuts_when_the_recipe_is_in() -> None:
    state = rows((2e4, 1e3, 1.9e4, 363.15, 360.0, 355.0, 350.0, 345.0, 29990.0))
    got, _ = FREE.step(state, rows((3e4, 350.0, 345.0)))
    assert 30000.0 <= float(got[0, 8]) <= 30000.0 + 3e4 / 72 / 40


def test_the_incumbent_makes_a_batch_inside_every_band_and_random_proposals_do_not_agree_with_it() -> None:
    simulation, controller = Simulation(PLANT, 1, autoreset=False), incumbent_controller(PLANT)
    generator, low, high = torch.Generator().manual_seed(0), rows(PLANT.action_low), rows(PLANT.action_high)
    margins: dict[str, float] = {}
    squares = torch.zeros(256, dtype=torch.float64)
    for _ in range(PLANT.horizon):
        asked = controller.act(simulation.signals(), simulation.applied)
        drawn = low + (high - low) * torch.rand((256, 3), generator=generator, dtype=torch.float64)
        squares += ((drawn - asked) / (high - low)).square().mean(dim=1)
        got = simulation.step(asked)
        margins = {name: min(float(value), margins.get(name, 1e9)) for name, value in got.margins.items()}
        if bool(got.terminated):
            break
    assert int(got.episode_length) == 123
    assert not bool(got.tripped)
    assert float(got.episode_return) == pytest.approx(19.6, abs=0.01)
    assert min(margins.values()) > 0.0
    assert PLANT.safety is not None
    assert float((squares / 123).sqrt().min()) > PLANT.safety.stages[0].agreement_band


def test_the_start_itself_is_beyond_the_limit_where_the_heat_is_28_percent_higher() -> None:
    parameters = torch.tensor([PLANT.nominal_parameters()], dtype=torch.float64)
    column, start, action = PLANT.parameter_names.index("heat_of_reaction"), rows(START), rows((0.0, 363.15, 363.15))
    for factor, trips in ((1.20, False), (1.27, False), (1.28, True)):
        changed = parameters.clone()
        changed[0, column] *= factor
        assert bool(PLANT.step(start, action, None, changed)[1]) == trips
