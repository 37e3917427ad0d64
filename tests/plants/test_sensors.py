"""Sensors and their faults: value, quality and age."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.evaluation import Scenario, SensorFault

HOLD = torch.tensor([[0.25]], dtype=torch.float64)
FILL = torch.tensor([[1.0]], dtype=torch.float64)


def sensing(make_plant: Any, batch: int = 1, **sensor: Any) -> Simulation:
    return Simulation(make_plant(signal_level={"sensor": sensor}), batch, autoreset=False)


def with_fault(make_plant: Any, kind: str, steps: tuple[int, int | None], value: float = 0.0) -> Simulation:
    fault = SensorFault(signal="level", kind=kind, from_step=steps[0], to_step=steps[1], value=value)
    return Simulation(make_plant(), 1, scenario=Scenario(faults=(fault,)), autoreset=False)


def readings(simulation: Simulation, action: torch.Tensor, steps: int) -> list[tuple[float, int, float]]:
    """Return value, quality and age of the level at the start and after each step."""
    seen = [(float(simulation.measurement[0, 0]), int(simulation.quality[0, 0]), float(simulation.age[0, 0]))]
    for _ in range(steps):
        got = simulation.step(action)
        seen.append((float(got.measurement[0, 0]), int(got.quality[0, 0]), float(simulation.age[0, 0])))
    return seen


def test_a_perfect_sensor_reads_the_state(make_plant: Any) -> None:
    assert readings(sensing(make_plant), HOLD, 2) == [(1.0, 0, 0.0)] * 3


def test_bias_and_quantisation(make_plant: Any) -> None:
    assert readings(sensing(make_plant, bias=0.07), HOLD, 1)[1][0] == pytest.approx(1.07)
    assert readings(sensing(make_plant, bias=0.07, quantize=0.1), HOLD, 1)[1][0] == pytest.approx(1.1)


def test_a_delay_shows_the_past_and_says_how_old_it_is(make_plant: Any) -> None:
    simulation = sensing(make_plant, delay_steps=2)
    true = [float(simulation.state)]
    seen = [simulation.measurement[0, 0].item()]
    for _ in range(4):
        got = simulation.step(FILL)
        true.append(float(got.state))
        seen.append(float(got.measurement[0, 0]))
    assert seen == [true[0], true[0], true[0], true[1], true[2]]
    assert float(simulation.age[0, 0]) == 4.0  # two steps of 2 s
    assert float(simulation.age[0, 1]) == 0.0  # of the other sensor


def test_noise_has_its_standard_deviation_and_its_cut(make_plant: Any) -> None:
    free = sensing(make_plant, 20_000, noise={"std": 0.1}).measurement[:, 0] - 1.0
    assert float(free.std()) == pytest.approx(0.1, rel=0.03)
    assert abs(float(free.mean())) < 0.003
    cut = sensing(make_plant, 20_000, noise={"std": 0.1, "truncate": 1.0}).measurement[:, 0] - 1.0
    assert float(cut.abs().max()) <= 0.1 + 1e-12
    assert float(cut.std()) == pytest.approx(0.0540, rel=0.03)  # of a standard normal cut at one: 0.5396


def test_a_scenario_scales_the_noise_away(make_plant: Any) -> None:
    plant = make_plant(signal_level={"sensor": {"noise": {"std": 0.1}}})
    simulation = Simulation(plant, 8, scenario=Scenario(noise_factor=0.0))
    assert simulation.measurement[:, 0].tolist() == [1.0] * 8


def test_beyond_its_range_a_sensor_saturates_and_says_so(make_plant: Any) -> None:
    simulation = Simulation(make_plant(signal_level={"range": (0.0, 1.5)}), 1, autoreset=False)
    value, quality, _ = readings(simulation, FILL, 3)[-1]
    assert (value, quality) == (1.5, 3)
    assert float(simulation.state) > 1.5


def test_a_dead_sensor_reads_nan_in_its_window_only(make_plant: Any) -> None:
    seen = readings(with_fault(make_plant, "nan", (1, 3)), HOLD, 3)
    assert [quality for _, quality, _ in seen] == [0, 1, 1, 0]
    assert [math.isnan(value) for value, _, _ in seen] == [False, True, True, False]


def test_a_stuck_sensor_keeps_its_value_and_looks_good(make_plant: Any) -> None:
    seen = readings(with_fault(make_plant, "stuck", (2, 4)), FILL, 4)
    values = [value for value, _, _ in seen]
    assert values[1] == values[2] == values[3] < values[4]
    assert [(quality, age) for _, quality, age in seen] == [(0, 0.0)] * 5


def test_a_stale_sensor_keeps_its_value_and_grows_old(make_plant: Any) -> None:
    seen = readings(with_fault(make_plant, "stale", (2, 4)), FILL, 4)
    assert seen[1][0] == seen[2][0] == seen[3][0] < seen[4][0]
    assert [quality for _, quality, _ in seen] == [0, 0, 2, 2, 0]
    assert [age for _, _, age in seen] == [0.0, 0.0, 2.0, 4.0, 0.0]


def test_a_biased_sensor_is_off_and_looks_good(make_plant: Any) -> None:
    seen = readings(with_fault(make_plant, "bias", (1, None), 0.5), HOLD, 2)
    assert [(value, quality) for value, quality, _ in seen] == [(1.0, 0), (1.5, 0), (1.5, 0)]


def test_a_sensor_off_its_range_is_flagged(make_plant: Any) -> None:
    seen = readings(with_fault(make_plant, "range", (0, 1)), HOLD, 1)
    assert [(value, quality) for value, quality, _ in seen] == [(4.0, 3), (1.0, 0)]


def test_a_fault_counts_the_steps_of_its_own_episode(make_plant: Any) -> None:
    fault = SensorFault(signal="level", kind="nan", from_step=1, to_step=2)
    simulation = Simulation(make_plant(), 2, scenario=Scenario(faults=(fault,)), autoreset=False)
    simulation.step(HOLD.expand(2, 1))
    simulation.reset(torch.tensor([True, False]))
    got = simulation.step(HOLD.expand(2, 1))
    assert got.measurement[:, 0].isnan().tolist() == [True, False]


def test_a_fault_of_an_unknown_signal_is_refused(make_plant: Any) -> None:
    fault = SensorFault(signal="pressure", kind="nan")
    with pytest.raises(PlantError, match="names 'pressure', expected a measured signal \\(level, outflow\\)"):
        Simulation(make_plant(), 1, scenario=Scenario(faults=(fault,)))
