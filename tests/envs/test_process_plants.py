"""What every process plant must keep, asked of those that have no older test for it."""

from __future__ import annotations

import dataclasses

import gymnasium
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import fpo_pilot  # noqa: F401  # registers the plants
from fpo_pilot.plants.check import check_plant
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs import load_evaluation_spec

NAMES = ("vdv_cstr", "poly_semibatch", "zone_furnace", "web_line", "grade_cstr", "industrial_benchmark")


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract_of_a_plant(name: str) -> None:
    plant = load_plant(name)
    timing = plant.spec.timing.model_copy(
        update={"horizon": 12}
    )  # the whole horizon takes half a minute more, and was asked once
    short = dataclasses.replace(plant, spec=plant.spec.model_copy(update={"timing": timing}))
    assert [result for result in check_plant(short) if not result.passed] == []


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_has_no_complaint(name: str) -> None:
    check_env(gymnasium.make(f"fpo_pilot/{name}-v0").unwrapped)


@pytest.mark.parametrize("name", NAMES)
def test_its_scenarios_can_be_simulated(name: str) -> None:
    plant = load_plant(name)
    for scenario in load_evaluation_spec(name).scenarios:
        simulation = Simulation(plant, 4, scenario=scenario)
        got = simulation.step(incumbent_controller(plant).act(simulation.signals(), simulation.applied))
        assert not bool(got.tripped.any())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "poly_semibatch"])
def test_random_proposals_are_outside_the_agreement_band_in_most_blocks(name: str) -> None:
    # that of poly_semibatch changes along its batch: it is asked in its own file, over a whole one
    plant, batch, generator = load_plant(name), 128, torch.Generator().manual_seed(0)
    assert plant.safety is not None
    band, steps = plant.safety.stages[0].agreement_band, min(plant.horizon, 60)
    controller, simulation = incumbent_controller(plant), Simulation(plant, batch, seed=1, autoreset=False)
    low, high = torch.tensor(plant.action_low), torch.tensor(plant.action_high)
    squares = torch.zeros(batch, dtype=torch.float64)
    for _ in range(steps):
        asked = controller.act(simulation.signals(), simulation.applied)
        drawn = plant.to_engineering(2.0 * torch.rand(asked.shape, generator=generator, dtype=torch.float64) - 1.0)
        squares += ((drawn - asked) / (high - low)).square().mean(dim=1) / steps
        simulation.step(asked)
    assert float((squares.sqrt() > band).double().mean()) > 0.8
