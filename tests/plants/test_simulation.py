"""Resets, ends of episodes, seeds, state and devices of a simulation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.evaluation import Scenario, SensorFault
from fpo_pilot.specs.plant import DisturbanceSpec

HOLD = torch.tensor([[0.25]], dtype=torch.float64)
NOISY = Scenario(
    faults=(SensorFault(signal="T", kind="stuck", from_step=3, to_step=6),),
    disturbances=(
        DisturbanceSpec(channel="T", kind="impulse", size=2.0, at_step=4, probability=0.5),
        DisturbanceSpec(channel="rate_constant", kind="ou", size=1e9, period_steps=5.0),
    ),
)


def random_actions(plant: Any, batch: int, steps: int) -> torch.Tensor:
    shape = (steps, batch, len(plant.action_names))
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return torch.stack([plant.to_engineering(2.0 * row - 1.0) for row in drawn])


def test_the_horizon_truncates_and_does_not_terminate(make_plant: Any) -> None:
    simulation = Simulation(make_plant(), 2)
    ends = [simulation.step(HOLD.expand(2, 1)) for _ in range(5)]
    assert [bool(t.truncated.all()) for t in ends] == [False] * 4 + [True]
    assert not any(bool(t.terminated.any()) for t in ends)
    assert ends[-1].episode_length.tolist() == [5, 5]


def test_a_trip_terminates_and_does_not_truncate_even_at_the_horizon(make_plant: Any, make_safety: Any) -> None:
    plant = make_plant(safety=make_safety(), signal_inflow={"range": (0.0, 9.0)}, timing={"period": 2.0, "horizon": 1})
    got = Simulation(plant, 1).step(torch.tensor([[9.0]]))
    assert (bool(got.terminated), bool(got.truncated), bool(got.tripped), float(got.cost)) == (True, False, True, 1.0)


def test_a_declared_end_terminates_without_a_trip(make_plant: Any) -> None:
    episode = {"start": {"level": {"kind": "fixed", "value": 1.0}}, "ends_when": "level >= 1.2 m"}
    simulation = Simulation(make_plant(episode=episode), 1)
    ends = [simulation.step(torch.tensor([[a]])) for a in (0.25, 1.0)]
    assert [bool(t.terminated) for t in ends] == [False, True]
    assert not bool(ends[1].tripped)
    assert float(ends[1].cost) == 0.0


def test_autoreset_shows_the_new_start_and_keeps_the_true_last_observation(make_plant: Any) -> None:
    simulation = Simulation(make_plant(), 1)
    for _ in range(5):
        got = simulation.step(torch.tensor([[0.75]]))
    assert float(got.observation) == -0.5  # 1 m again
    assert float(got.final_observation) > -0.3
    assert float(got.episode_return) < 0.0
    assert simulation.step_index.tolist() == [0]
    assert float(simulation.applied) == 0.5  # the start of the read-back
    assert torch.equal(got.observation, simulation.observation)


def test_without_autoreset_an_episode_goes_on_until_the_caller_resets(make_plant: Any) -> None:
    simulation = Simulation(make_plant(), 1, autoreset=False)
    for _ in range(6):
        got = simulation.step(torch.tensor([[0.75]]))
    assert bool(got.truncated)
    assert torch.equal(got.observation, got.final_observation)
    assert float(simulation.reset()) == -0.5


def test_a_masked_reset_leaves_the_others_alone(make_plant: Any) -> None:
    simulation = Simulation(make_plant(), 3)
    simulation.step(torch.full((3, 1), 0.75))
    before = simulation.state.clone()
    simulation.reset(torch.tensor([False, True, False]))
    assert simulation.step_index.tolist() == [1, 0, 1]
    assert float(simulation.state[1]) == 1.0
    assert torch.equal(simulation.state[[0, 2]], before[[0, 2]])


def test_episodes_of_different_length_reset_one_by_one(make_plant: Any) -> None:
    simulation = Simulation(make_plant(), 2)
    simulation.step(torch.full((2, 1), 0.25))
    simulation.reset(torch.tensor([True, False]))
    got = [simulation.step(torch.full((2, 1), 0.25)).truncated.tolist() for _ in range(5)]
    assert got == [[False, False]] * 3 + [[False, True], [True, False]]


def test_actuators_clamp_hold_and_keep_their_own_rate(make_plant: Any) -> None:
    simulation = Simulation(make_plant(signal_inflow={"rate": 0.3}), 1)
    sent = [2.0, float("nan"), -5.0, float("inf")]
    applied = [float(simulation.step(torch.tensor([[a]])).applied) for a in sent]
    assert applied == pytest.approx([0.8, 0.8, 0.5, 0.5])  # from the start 0.5; what is not finite moves nothing


def test_an_action_of_the_wrong_shape_is_refused(make_plant: Any) -> None:
    with pytest.raises(PlantError, match=r"the action has shape \(1, 1\), expected \(2, 1\) for inflow"):
        Simulation(make_plant(), 2).step(HOLD)


def test_no_copies_are_refused(make_plant: Any) -> None:
    with pytest.raises(PlantError, match="num_envs is 0"):
        Simulation(make_plant(), 0)


def test_signals_are_what_can_be_read(make_plant: Any) -> None:
    signals = Simulation(make_plant(signal_level={"sensor": {"bias": 0.5}}), 1).signals()
    assert {name: float(value) for name, value in signals.items()} == {
        "level": 1.5,
        "outflow": 0.25,
        "level_sp": 1.0,
        "inflow": 0.5,
    }


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    plant = load_plant("cstr_safety")
    actions = random_actions(plant, 6, 20)

    def run(seed: int) -> torch.Tensor:
        simulation = Simulation(plant, 6, seed=seed, scenario=NOISY)
        return torch.stack([simulation.step(action).observation for action in actions])

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_seed_starts_the_random_stream_again() -> None:
    simulation = Simulation(load_plant("cstr_safety"), 4, seed=1)
    simulation.seed(7)
    first = simulation.reset()
    simulation.seed(7)
    assert torch.equal(simulation.reset(), first)


def test_a_run_resumes_to_the_bit_from_its_state_dict() -> None:
    plant = load_plant("cstr_safety")
    actions = random_actions(plant, 6, 70)
    whole = Simulation(plant, 6, seed=3, scenario=NOISY)
    for action in actions[:30]:
        whole.step(action)
    saved = whole.state_dict()
    rest = [whole.step(action) for action in actions[30:]]
    resumed = Simulation(plant, 6, seed=99, scenario=NOISY)
    resumed.load_state_dict(saved)
    for action, expected in zip(actions[30:], rest, strict=True):
        got = resumed.step(action)
        for name in ("observation", "final_observation", "reward", "state", "episode_return", "truncated"):
            assert torch.equal(getattr(got, name), getattr(expected, name)), name


def test_a_state_dict_of_another_simulation_is_refused(make_plant: Any) -> None:
    simulation = Simulation(make_plant(), 2)
    with pytest.raises(PlantError, match="simulation state: state is \\(3, 1\\), expected"):
        simulation.load_state_dict(Simulation(make_plant(), 3).state_dict())
    tensors = simulation.state_dict()
    del tensors["generator"]
    with pytest.raises(PlantError, match="found no generator"):
        simulation.load_state_dict(tensors)


def test_a_saved_state_does_not_change_when_the_run_goes_on(make_plant: Any) -> None:
    simulation = Simulation(make_plant(), 1)
    saved = simulation.state_dict()
    simulation.step(torch.tensor([[0.75]]))
    assert float(saved["state"]) == 1.0


def test_a_batch_gives_what_single_simulations_give() -> None:
    plant = load_plant("cstr")
    actions = random_actions(plant, 5, 65)
    batch = Simulation(plant, 5)
    singles = [Simulation(plant, 1) for _ in range(5)]
    for action in actions:
        together = batch.step(action)
        alone = [single.step(action[i : i + 1]) for i, single in enumerate(singles)]
        for name in ("observation", "reward", "state", "episode_return"):
            torch.testing.assert_close(getattr(together, name), torch.cat([getattr(t, name) for t in alone]))


@pytest.mark.parametrize("name", ["cstr_safety", "quad_tank_minus"])
def test_a_whole_episode_runs_on_a_device_that_refuses_to_be_asked(name: str) -> None:
    plant = load_plant(name)
    scenario = NOISY if name == "cstr_safety" else None
    simulation = Simulation(plant, 4, device="meta", scenario=scenario)
    simulation.reset(torch.empty(4, dtype=torch.bool, device="meta"))
    for _ in range(3):
        got = simulation.step(torch.empty((4, simulation.action_size), device="meta"))
    assert {value.device.type for value in (got.observation, got.reward, got.cost, *simulation.signals().values())} == {
        "meta"
    }
    assert got.observation.shape == (4, simulation.observation_size)


def test_states_are_float64_and_observations_float32() -> None:
    got = Simulation(load_plant("cstr"), 2).step(torch.full((2, 1), 300.0))
    assert (got.state.dtype, got.measurement.dtype) == (torch.float64, torch.float64)
    assert (got.observation.dtype, got.reward.dtype, got.quality.dtype) == (torch.float32, torch.float32, torch.uint8)


def test_nothing_that_a_step_gives_needs_a_gradient() -> None:
    action = torch.full((1, 1), 300.0, requires_grad=True)
    assert not Simulation(load_plant("cstr"), 1).step(action).reward.requires_grad
