"""The press-fit cell: the golden plunge, a hole at an offset against a fixture that was moved, and a search that gets in."""

from __future__ import annotations

import dataclasses

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor

import fpo_pilot  # noqa: F401  # registers the plants
from fpo_pilot.plants.check import check_plant
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.reward import compile_expression
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.evaluation import Scenario

PLANT = load_plant("peg_cell")
XML = str(PLANT.dynamics.model.xml)
FREE = dataclasses.replace(PLANT, safety=None)  # the same physics, of which nothing trips
START = {name: float(start.value) for name, start in PLANT.spec.episode.start.items() if start.kind == "fixed"}
DOWN = (0.0, 0.0, -0.001)


def states_of(**values: float | list[float]) -> Tensor:
    columns = [
        torch.as_tensor(values.get(name, START.get(name, 0.0)), dtype=torch.float64) for name in PLANT.state_names
    ]
    return torch.stack(torch.broadcast_tensors(*(torch.atleast_1d(column) for column in columns)), dim=1)


def column(state: Tensor, name: str) -> Tensor:
    return state[:, PLANT.state_names.index(name)]


def outputs_of(state: Tensor) -> dict[str, Tensor]:
    row = PLANT.outputs(state, torch.zeros((len(state), 3), dtype=torch.float64))
    return dict(zip(PLANT.output_names, row.unbind(-1), strict=True))


def plunged_by_mujoco(offset: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Return sensor values after 55 steps of 1 mm down and a second, and the largest axial force in any millisecond."""
    source = mujoco.MjSpec.from_file(XML)
    source.body("fixture").pos = [*offset, 0.0]
    model = source.compile()
    data, largest = mujoco.MjData(model), 0.0
    for step in range(1, 76):
        data.ctrl[2] = -0.001 * min(step, 55)
        for _ in range(50):
            mujoco.mj_step(model, data)
            largest = max(largest, abs(float(data.sensordata[2])))
    return data.sensordata.copy(), largest


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("offset", [0.0, 0.0003, -0.0003])
def test_golden_a_plunge_within_the_clearance_gets_in_with_5_newtons(axis: int, offset: float) -> None:
    values, largest = plunged_by_mujoco((offset, 0.0) if axis == 0 else (0.0, offset))
    assert values[5] == pytest.approx(0.015, abs=1e-5)
    assert largest == pytest.approx(5.05, abs=0.01)
    assert values[2] == pytest.approx(4.905, abs=1e-3)  # it touches nothing: the weight of 0.5 kg


@pytest.mark.parametrize("offset", [0.0008, -0.0008, 0.002])
def test_golden_a_plunge_beside_the_hole_jams_with_45_newtons(offset: float) -> None:
    values, largest = plunged_by_mujoco((offset, 0.0))
    assert values[5] == pytest.approx(0.040, abs=1e-4)
    assert largest == pytest.approx(45.0, abs=0.2)  # 2000 N/m · 25 mm, less the weight


def test_golden_the_plant_plunges_as_the_model_does() -> None:
    offsets = [0.0, 0.0003, 0.0008, 0.002]
    state = states_of(hole_x=offsets, z=0.0, target_z=0.0)
    action = torch.tensor([DOWN], dtype=torch.float64).expand(4, 3)
    for _ in range(75):  # the target stays at -0.055, the end of its reach
        state, tripped = FREE.step(state, action)
        assert not bool(tripped.any())
    got = outputs_of(state)
    assert got["tip_z"].tolist() == pytest.approx([0.015, 0.015, 0.04, 0.04], abs=2e-5)
    assert column(state, "wrist_z").tolist() == pytest.approx([4.905, 4.905, -45.07, -45.07], abs=0.01)
    assert got["inserted"].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert torch.equal(column(state, "target_z"), torch.full((4,), -0.055, dtype=torch.float64))


def test_a_hole_at_an_offset_is_a_fixture_that_was_moved() -> None:
    """The oracle is mj_step on a model of its own for each hole, over a search that touches, slides, falls in and strikes."""
    random, holes = (
        np.random.default_rng(0),
        np.array([(0.0013, 0.0), (-0.0011, 0.0004), (0.0004, -0.0016), (-0.0002, 0.0)]),
    )
    state = states_of(hole_x=holes[:, 0].tolist(), hole_y=holes[:, 1].tolist(), z=-0.027, target_z=-0.027)
    models = []
    for x, y in holes:
        source = mujoco.MjSpec.from_file(XML)
        source.body("fixture").pos = [x, y, 0.0]
        models.append(source.compile())
    struck, deepest = 0.0, 0.04
    for step in range(45):
        target = state[:, 11:14].numpy()
        action = random.uniform(-0.001, 0.001, (4, 3))
        action[:, 2] -= 0.0005 if step < 35 else 0.0
        action[:, :2] += 0.3 * (holes - target[:, :2])
        after, _ = FREE.step(state, torch.from_numpy(action))
        for row, model in enumerate(models):
            data = mujoco.MjData(model)
            data.qpos[:], data.qvel[:] = np.split(state[row, :8].numpy(), 2)
            data.ctrl[:] = np.clip(target[row] + action[row], [-0.01, -0.01, -0.055], [0.01, 0.01, 0.0])
            for _ in range(50):
                mujoco.mj_step(model, data)
            assert after[row, :8].numpy() == pytest.approx([*data.qpos, *data.qvel], abs=1e-6)
            assert after[row, 8:11].numpy() == pytest.approx(data.sensordata[:3], abs=1e-3)
            struck, deepest = max(struck, abs(data.sensordata[0])), min(deepest, data.sensordata[5])
        state = after
    assert struck > 1.0
    assert deepest < 0.035


def test_it_keeps_the_contract_of_a_plant() -> None:
    timing = PLANT.spec.timing.model_copy(update={"horizon": 40})
    short = dataclasses.replace(PLANT, spec=PLANT.spec.model_copy(update={"timing": timing}))
    assert [result for result in check_plant(short) if not result.passed] == []


def test_gymnasium_has_no_complaint() -> None:
    check_env(gymnasium.make("fpo_pilot/peg_cell-v0").unwrapped)


def test_an_action_moves_the_targets_within_their_reach() -> None:
    state = states_of(target_x=[0.0, 0.0098], target_y=[0.001, -0.01], target_z=[-0.02, -0.0545])
    after, _ = FREE.step(state, torch.tensor([[0.0005, -0.001, 0.001], [0.001, -0.001, -0.001]], dtype=torch.float64))
    assert after[0, 11:14].tolist() == pytest.approx([0.0005, 0.0, -0.019])
    assert after[1, 11:14].tolist() == pytest.approx([0.01, -0.01, -0.055])


def test_at_the_start_nothing_tells_on_which_side_the_hole_is() -> None:
    simulation = Simulation(PLANT, 500, seed=0)
    holes = column(simulation.state, "hole_x")
    assert simulation.observation.unique(dim=0).shape[0] == 1
    assert -0.002 <= float(holes.min()) < -0.0019
    assert 0.0019 < float(holes.max()) <= 0.002
    assert not bool(column(simulation.state, "hole_y").any())
    unseen = {"hole_x", "hole_y", "target_x", "target_y", "target_z", "x", "y", "z", "inserted"}
    assert unseen.isdisjoint(PLANT.measured_names)


def test_mirrored_holes_and_steps_give_mirrored_episodes_and_the_same_reward() -> None:
    right, left = (
        Simulation(PLANT, 1, scenario=Scenario(name="side", start={"hole_x": {"kind": "fixed", "value": hole}}))
        for hole in (0.0012, -0.0012)
    )
    mirror = torch.tensor([[-1.0, 1.0, 1.0]], dtype=torch.float64)
    for step in range(50):
        action = torch.tensor([[0.0002 if step < 25 else 0.0, 0.0, -0.0007]], dtype=torch.float64)
        here, there = right.step(action), left.step(action * mirror)
        names = ("x", "wrist_x", "target_x", "hole_x")
        assert column(here.state, "z") == pytest.approx(column(there.state, "z"), abs=1e-7)
        for name in names:
            assert column(here.state, name) == pytest.approx(
                -column(there.state, name), abs=1e-3 if "wrist" in name else 1e-6
            )
        assert here.reward == pytest.approx(there.reward, abs=1e-4)


def test_a_plunge_beside_the_hole_trips_at_30_newtons() -> None:
    simulation = Simulation(
        PLANT, 2, scenario=Scenario(name="beside", start={"hole_x": {"kind": "fixed", "value": 0.002}})
    )
    action = torch.tensor([DOWN], dtype=torch.float64).expand(2, 3)
    step, seen = 1, simulation.step(action)
    while not bool(seen.terminated.any()):
        step, seen = step + 1, simulation.step(action)
    # contact after 10 mm, then 2 N more in each step until 30 + 4.905 N: 10 + 17.45, and the servo lags behind
    assert 28 <= step <= 30
    assert bool(seen.tripped.all())
    assert float(column(seen.state, "wrist_z")[0]) == pytest.approx(-31.0, abs=1.1)
    assert float(seen.margins["axial.trip"][0]) < 0.0 < float(seen.margins["lateral.trip"][0])
    assert float(seen.terms["trip"][0]) == -5.0


def test_pushing_sideways_in_the_hole_trips_at_15_newtons() -> None:
    state = states_of(z=-0.045, target_z=-0.045)
    step, tripped, action = 0, torch.tensor([False]), torch.tensor([[0.001, 0.0, 0.0]], dtype=torch.float64)
    while not bool(tripped[0]):
        state, tripped = PLANT.step(state, action)
        step += 1
    assert step in (8, 9)  # 2 N a step once the wall is met after 0.5 mm
    assert float(outputs_of(state)["lateral"][0]) == pytest.approx(16.0, abs=1.01)
    assert float(column(state, "wrist_x")[0]) > 15.0


def test_the_reward_by_hand() -> None:
    now = {"tip_z": 0.016, "wrist_z": -15.0, "lateral": 3.0, "inserted": 1.0}
    values = {name: torch.tensor([value], dtype=torch.float64) for name, value in now.items()}
    before = {"tip_z": torch.tensor([0.017], dtype=torch.float64)}
    like = torch.zeros(1, dtype=torch.float64)
    got = {
        term.name: term.weight * float(compile_expression(PLANT, term.expression).value(values, before, like))
        for term in PLANT.spec.reward
    }
    assert got == pytest.approx({"time": -0.01, "progress": 0.1, "force": -0.02 * 0.29, "inserted": 2.0, "trip": 0.0})


def test_the_incumbent_gets_in_within_the_clearance_alone_and_never_presses_hard() -> None:
    simulation = Simulation(PLANT, 24, seed=0, autoreset=False)
    controller = incumbent_controller(PLANT)
    controller.reset(24)
    holes, least = column(simulation.state, "hole_x").abs(), 0.0
    running = torch.ones(24, dtype=torch.bool)
    for _ in range(60):
        seen = simulation.step(controller.act(simulation.signals(), simulation.applied))
        least = min(least, float(column(seen.state, "wrist_z")[running].min()))
        running &= ~seen.terminated
        assert not bool(seen.tripped.any())
    assert torch.equal(~running, holes < 0.0005)
    assert 3 < int((~running).sum()) < 12
    assert least > -6.0


@pytest.mark.parametrize("first", [1.0, -1.0])
def test_a_search_that_touches_slides_and_yields_finds_every_hole(first: float) -> None:
    """Either side may be tried first; no force comes near its limit."""
    simulation = Simulation(PLANT, 16, seed=1, autoreset=False)
    side, running = torch.full((16,), first, dtype=torch.float64), torch.ones(16, dtype=torch.bool)
    for _ in range(80):
        read = simulation.signals()
        inside = read["tip_z"] < 0.0395
        touching = (read["wrist_z"] < 2.0) & ~inside
        side = torch.where(read["tip_x"].abs() > 0.002, -read["tip_x"].sign(), side)
        yielding = -0.0002 * torch.stack((read["wrist_x"], read["wrist_y"]), dim=1) * inside[:, None]
        down = (-0.0002 * (read["wrist_z"] + 3.0)).clamp(-0.001, 0.001)
        seen = simulation.step(torch.stack((0.0005 * side * touching + yielding[:, 0], yielding[:, 1], down), dim=1))
        assert not bool(seen.tripped.any())
        running &= ~seen.terminated
        if not bool(running.any()):
            break
    assert not bool(running.any())
