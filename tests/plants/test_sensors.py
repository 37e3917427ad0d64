"""Sensors and their faults: value, quality and age."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.sensors import SensorBank
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


def test_a_lag_is_that_of_a_first_order_system_between_the_readings_too(make_plant: Any) -> None:
    """Against small steps of the lag's own equation, with the level running straight between two readings."""
    simulation = sensing(make_plant, lag=4.0)  # the period is 2 s
    shown, before, substeps = 1.0, 1.0, 20_000
    assert float(simulation.measurement[0, 0]) == 1.0  # it has always read the start
    for _ in range(4):
        got = simulation.step(FILL)
        for substep in range(substeps):
            level = before + (float(got.state) - before) * (substep + 0.5) / substeps
            shown += 2.0 / substeps * (level - shown) / 4.0
        before = float(got.state)
        assert float(got.measurement[0, 0]) == pytest.approx(shown, abs=1e-5)


@pytest.mark.parametrize("lag", [0.4, 2.0, 4.0])
def test_a_lagged_ramp_trails_by_its_lag(make_plant: Any, lag: float) -> None:
    """Also where the lag is shorter than the period: 50 readings later a ramp trails by slope times lag."""
    bank = SensorBank(
        make_plant(signal_level={"sensor": {"lag": lag}}), device=torch.device("cpu"), dtype=torch.float64
    )
    true = torch.zeros(1, 2, dtype=torch.float64)
    memory, step = bank.start(true, None), torch.zeros(1, dtype=torch.int64)
    for _ in range(50):
        true = true + 0.01
        reading, memory = bank.read(true, memory, step, None)
    assert float(true[0, 0] - reading.measurement[0, 0]) == pytest.approx(0.01 * lag / 2.0, abs=1e-9)


def test_a_lag_comes_before_the_delay(make_plant: Any) -> None:
    both, lagged = sensing(make_plant, lag=4.0, delay_steps=1), sensing(make_plant, lag=4.0)
    late = [float(both.step(FILL).measurement[0, 0]) for _ in range(4)]
    early = [float(lagged.step(FILL).measurement[0, 0]) for _ in range(4)]
    assert late[1:] == early[:-1]


def test_a_bias_is_drawn_for_an_episode_and_stays(make_plant: Any) -> None:
    simulation = sensing(make_plant, 4000, bias_spread=0.1)
    first = simulation.measurement[:, 0] - simulation.state[:, 0]
    assert float(first.std()) == pytest.approx(0.1, rel=0.05)
    got = simulation.step(HOLD.expand(4000, 1))
    torch.testing.assert_close(got.measurement[:, 0] - got.state[:, 0], first)
    simulation.reset()
    assert not torch.equal(simulation.measurement[:, 0] - simulation.state[:, 0], first)


def test_a_walking_bias_spreads_with_the_root_of_time(make_plant: Any) -> None:
    simulation = sensing(make_plant, 4000, bias_walk=0.01)
    assert torch.equal(simulation.measurement[:, 0], simulation.state[:, 0])
    for _ in range(9):
        got = simulation.step(HOLD.expand(4000, 1))
    assert float((got.measurement[:, 0] - got.state[:, 0]).std()) == pytest.approx(0.03, rel=0.06)


def test_lost_readings_are_held_and_grow_old_at_the_declared_rate(make_plant: Any) -> None:
    simulation = sensing(make_plant, 2000, dropout={"probability": 0.2})
    before, age = simulation.measurement[:, 0].clone(), simulation.age[:, 0].clone()
    lost = 0
    for _ in range(3):
        got = simulation.step(FILL.expand(2000, 1))
        stale = got.quality[:, 0] == 2
        lost += int(stale.sum())
        assert torch.equal(got.measurement[stale, 0], before[stale])
        assert torch.equal(got.age[stale, 0], age[stale] + 2.0)
        assert torch.equal(got.measurement[~stale, 0], got.state[~stale, 0])
        assert (got.quality[~stale, 0] == 0).all()
        before, age = got.measurement[:, 0].clone(), got.age[:, 0].clone()
    assert abs(lost - 1200) < 5 * math.sqrt(6000 * 0.2 * 0.8)
    assert float(age.max()) > 2.0  # some were lost twice in a row


def test_lost_readings_that_are_not_held_are_no_numbers_and_bad(make_plant: Any) -> None:
    simulation = sensing(make_plant, 500, dropout={"probability": 0.3, "hold": "none"})
    got = simulation.step(FILL.expand(500, 1))
    lost = got.quality[:, 0] == 1
    assert 100 < int(lost.sum()) < 200
    assert got.measurement[lost, 0].isnan().all()
    assert torch.equal(got.measurement[~lost, 0], got.state[~lost, 0])
    assert (got.quality[:, 1] == 0).all()  # of the other sensor


def test_a_lost_reading_that_would_be_replaced_by_no_number_is_bad(make_plant: Any) -> None:
    fault = SensorFault(signal="level", kind="nan", from_step=1)
    plant = make_plant(signal_level={"sensor": {"dropout": {"probability": 0.5}}})
    simulation = Simulation(plant, 200, scenario=Scenario(faults=(fault,)), autoreset=False)
    simulation.step(FILL.expand(200, 1))
    got = simulation.step(FILL.expand(200, 1))
    no_number = got.measurement[:, 0].isnan()
    assert 0 < int((~no_number).sum()) < 200  # lost twice: the level of the start still stands in
    assert (got.quality[no_number, 0] == 1).all()
    assert (got.quality[~no_number, 0] == 2).all()


def test_a_drifting_sensor_moves_away_step_by_step(make_plant: Any) -> None:
    seen = readings(with_fault(make_plant, "drift", (2, 4), value=0.1), HOLD, 4)
    assert [value for value, _, _ in seen] == pytest.approx([1.0, 1.0, 1.1, 1.2, 1.0])
    assert {quality for _, quality, _ in seen} == {0}


def test_a_noisy_sensor_is_noisy_in_its_window_only(make_plant: Any) -> None:
    fault = SensorFault(signal="level", kind="noise", from_step=1, to_step=2, value=0.2)
    simulation = Simulation(make_plant(), 5000, scenario=Scenario(faults=(fault,)), autoreset=False)
    assert float(simulation.measurement[:, 0].std()) == 0.0
    hold = HOLD.expand(5000, 1)
    assert float(simulation.step(hold).measurement[:, 0].std()) == pytest.approx(0.2, rel=0.05)
    assert float(simulation.step(hold).measurement[:, 0].std()) == 0.0


def test_what_sensors_remember_is_in_the_state_of_a_simulation(make_plant: Any) -> None:
    built = {"lag": 4.0, "bias_walk": 0.01, "bias_spread": 0.1, "dropout": {"probability": 0.3}, "noise": {"std": 0.1}}
    first, second = (sensing(make_plant, 8, **built) for _ in range(2))
    for _ in range(3):
        first.step(FILL.expand(8, 1))
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        a, b = first.step(FILL.expand(8, 1)), second.step(FILL.expand(8, 1))
        assert torch.equal(a.measurement, b.measurement)
        assert torch.equal(a.age, b.age)
