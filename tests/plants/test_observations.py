"""Every kind of observation, computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.references import reference_table, reference_value
from fpo_pilot.plants.simulation import Simulation


def observe(make_plant: Any, *terms: dict[str, Any]) -> Simulation:
    return Simulation(make_plant(observations=terms), 1, autoreset=False)


def test_a_signal_is_mapped_from_its_range_to_minus_one_to_one(make_plant: Any) -> None:
    simulation = observe(make_plant, {"signal": "level"}, {"signal": "level", "scale": (0.0, 1.0)})
    assert simulation.reset()[0].tolist() == [-0.5, 1.0]  # 1 m in 0 to 4 m, and in 0 to 1 m
    assert simulation.observation_names == ("level", "level")


def test_a_computed_measurement_can_be_observed(make_plant: Any) -> None:
    simulation = observe(make_plant, {"signal": "outflow"})
    assert simulation.reset()[0].tolist() == [-0.75]  # 0.25 m³/s in 0 to 2


def test_an_error_is_measurement_minus_reference_over_the_span(make_plant: Any) -> None:
    term = {"term": "setpoint_error", "of": "level", "reference": "level_sp"}
    simulation = observe(make_plant, term, term | {"scale": (-1.0, 1.0)})
    assert simulation.reset()[0].tolist() == [0.0, 0.0]
    for _ in range(2):
        simulation.step(torch.tensor([[0.25]]))  # holds 1 m while the set point goes to 2 m at step 2
    assert simulation.observation[0].tolist() == pytest.approx([-0.25, -1.0])


def test_a_preview_sees_the_reference_ahead_and_its_last_value_beyond_the_schedule(make_plant: Any) -> None:
    terms = [{"term": "preview", "of": "level_sp", "ahead": ahead, "scale": (1.0, 2.0)} for ahead in (0, 1, 2, 9)]
    simulation = observe(make_plant, *terms)
    assert simulation.reset()[0].tolist() == [-1.0, -1.0, 1.0, 1.0]
    simulation.step(torch.tensor([[0.25]]))
    assert simulation.observation[0].tolist() == [-1.0, 1.0, 1.0, 1.0]


def test_the_previous_action_reads_as_the_policy_wrote_it(make_plant: Any, make_safety: Any) -> None:
    plant = make_plant(
        safety=make_safety(), observations=({"term": "previous_action"},), signal_inflow={"range": (-5.0, 5.0)}
    )
    simulation = Simulation(plant, 1)
    assert simulation.reset()[0].tolist() == [0.0]  # the start, 0.5 in the limits 0 to 1, not in the range −5 to 5
    simulation.step(plant.to_engineering(torch.tensor([[0.6]])))
    assert simulation.observation[0].tolist() == pytest.approx([0.6])


def test_history_stacks_past_values_newest_first_and_begins_with_the_first_one(make_plant: Any) -> None:
    simulation = observe(make_plant, {"term": "previous_action", "history": 3}, {"signal": "level", "history": 2})
    assert simulation.reset()[0].tolist() == [0.0, 0.0, 0.0, -0.5, -0.5]
    simulation.step(torch.tensor([[0.75]]))
    first = float(simulation.observation[0, 3])
    simulation.step(torch.tensor([[1.0]]))
    seen = simulation.observation[0].tolist()
    assert seen[:3] == [1.0, 0.5, 0.0]
    assert seen[4] == first
    assert seen[3] > first > -0.5
    names = ("previous inflow", "previous inflow[-1]", "previous inflow[-2]", "level", "level[-1]")
    assert simulation.observation_names == names


def test_progress_runs_from_minus_one_to_one(make_plant: Any) -> None:
    simulation = observe(make_plant, {"term": "progress"})
    seen = [float(simulation.reset())]
    for _ in range(5):
        seen.append(float(simulation.step(torch.tensor([[0.25]])).final_observation))
    assert seen == pytest.approx([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0])


def test_observations_stay_within_their_declared_bounds(make_plant: Any) -> None:
    simulation = observe(
        make_plant,
        {"signal": "level", "scale": (0.0, 1.0)},
        {"term": "setpoint_error", "of": "level", "reference": "level_sp", "scale": (-1.0, 1.0)},
    )
    low, high = simulation.observation_bounds
    assert low == pytest.approx((-1.0, -4.0), abs=1e-4)
    assert high == pytest.approx((7.0, 4.0), abs=1e-4)


def test_an_observation_of_something_unknown_is_refused(make_plant: Any) -> None:
    with pytest.raises(PlantError, match="names 'levle', expected one of level, outflow"):
        observe(make_plant, {"signal": "levle"})
    with pytest.raises(PlantError, match="setpoint_error names None"):
        observe(make_plant, {"term": "setpoint_error", "of": "level"})


def test_a_reference_holds_its_last_value(make_plant: Any) -> None:
    plant = make_plant()
    signal = plant.spec.signals["level_sp"]
    assert [reference_value(signal, step) for step in (0, 1, 2, 100)] == [1.0, 1.0, 2.0, 2.0]
    table = reference_table(plant, 4, device=torch.device("cpu"), dtype=torch.float64)
    assert table[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0]
