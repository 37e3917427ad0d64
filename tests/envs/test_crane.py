"""The crane: MuJoCo against the equations of its twin, the pendulum by hand, and left as good as right."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

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
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs import load_evaluation_spec
from fpo_pilot.specs.evaluation import Scenario

CRANE, TWIN = load_plant("crane"), load_plant("crane_twin")
PLANTS = {"crane": CRANE, "crane_twin": TWIN}
both = pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
START = {name: {"kind": "fixed", "value": 0.0} for name in ("x", "y")}


def free(plant: Plant) -> Plant:
    """Return the same physics, of which nothing trips."""
    return dataclasses.replace(plant, safety=None)


def state_of(plant: Plant, **values: float) -> Tensor:
    return torch.tensor([[values.get(name, 0.0) for name in plant.state_names]], dtype=torch.float64)


def parameters_of(plant: Plant, **values: float) -> Tensor:
    row = dict(zip(plant.parameter_names, plant.nominal_parameters(), strict=True)) | values
    return torch.tensor([list(row.values())], dtype=torch.float64)


def outputs_of(plant: Plant, state: Tensor, **parameters: float) -> dict[str, float]:
    action = torch.zeros((len(state), 2), dtype=torch.float64)
    row = plant.outputs(state, action, None, parameters_of(plant, **parameters))[0]
    return dict(zip(plant.output_names, row.tolist(), strict=True))


def course(plant: Plant, asked: Callable[[float], tuple[float, float]], seconds: float) -> Tensor:
    """Return states ``[T, S]`` under speeds that are asked as a function of time."""
    state, rows = state_of(plant), []
    for step in range(1, round(seconds / plant.period) + 1):
        action = torch.tensor([asked(step * plant.period)], dtype=torch.float64)
        state, _ = free(plant).step(state, action)
        rows.append(state[0])
    return torch.stack(rows)


@both
def test_it_keeps_the_contract_of_a_plant(plant: Plant) -> None:
    timing = plant.spec.timing.model_copy(update={"horizon": 40})
    short = dataclasses.replace(plant, spec=plant.spec.model_copy(update={"timing": timing}))
    assert [result for result in check_plant(short) if not result.passed] == []


@pytest.mark.parametrize("name", PLANTS)
def test_gymnasium_has_no_complaint(name: str) -> None:
    check_env(gymnasium.make(f"fpo_pilot/{name}-v0").unwrapped)


def test_a_policy_of_the_twin_fits_the_crane() -> None:
    ours, twin = CRANE.spec, TWIN.spec
    assert ours.observations == twin.observations
    assert (ours.reward, ours.timing, ours.episode.ends_when) == (twin.reward, twin.timing, twin.episode.ends_when)
    assert {name: ours.signals[name] for name in twin.signals} == twin.signals
    assert {name: ours.parameters[name] for name in twin.parameters} == twin.parameters
    assert set(ours.signals) - set(twin.signals) == {"ramp_x", "ramp_y"}
    assert CRANE.safety is not None
    assert TWIN.safety is not None
    assert (CRANE.safety.actions, CRANE.safety.limits) == (TWIN.safety.actions, TWIN.safety.limits)


def test_mujoco_and_the_equations_agree_over_20_seconds_of_a_sinusoid() -> None:
    for asked in (
        lambda t: (0.5 * math.sin(0.6 * t), 0.4 * math.sin(0.8 * t)),
        lambda t: (0.2 * math.sin(2.4 * t), 0.15 * math.sin(2.6 * t)),  # above the pendulum's own 1.81 rad/s
    ):
        ours, twin = course(CRANE, asked, 20.0), course(TWIN, asked, 20.0)
        assert float(twin[:, 2:4].abs().max()) > 0.07
        assert float((ours[:, 2:4] - twin[:, 2:4]).abs().max()) < 0.023
        assert float((ours[:, :2] - twin[:, :2]).abs().max()) < 0.03


def test_the_twin_keeps_its_energy_without_friction() -> None:
    def energy(state: Tensor) -> float:
        theta, phi, theta_rate, phi_rate = (float(state[0, i]) for i in (2, 3, 6, 7))
        moving = 0.5 * 9.0 * ((math.cos(phi) * theta_rate) ** 2 + phi_rate**2)  # of 1 kg on 3 m
        return moving + 9.81 * 3.0 * (1.0 - math.cos(theta) * math.cos(phi))

    state = state_of(TWIN, theta=0.5, phi=-0.4, theta_rate=0.3, phi_rate=0.6)
    frictionless, rest = parameters_of(TWIN, hinge_friction=0.0), torch.zeros((1, 2), dtype=torch.float64)
    before = energy(state)
    for _ in range(600):
        state, _ = free(TWIN).step(state, rest, None, frictionless)
    assert energy(state) == pytest.approx(before, rel=1e-8)
    damped, _ = free(TWIN).step(state, rest)
    assert energy(damped) < before


@both
@pytest.mark.parametrize("axis", ["theta", "phi"])
@pytest.mark.parametrize("length", [2.0, 3.0])
def test_a_small_swing_has_the_period_of_a_pendulum(plant: Plant, axis: str, length: float) -> None:
    state, rest = state_of(plant, **{axis: 0.01}), torch.zeros((1, 2), dtype=torch.float64)
    # a drive that holds its trolley still, and nothing that damps
    stiff = {"drive_gain": 2e6} if plant is CRANE else {}
    parameters = parameters_of(plant, rope_length=length, hinge_friction=0.0, **stiff)
    column, angles = plant.state_names.index(axis), [0.01]
    for _ in range(80):
        state, _ = free(plant).step(state, rest, None, parameters)
        angles.append(float(state[0, column]))
    falls = [i + angles[i] / (angles[i] - angles[i + 1]) for i in range(80) if angles[i] > 0.0 >= angles[i + 1]]
    period = 2.0 * math.pi * math.sqrt(length / 9.81)
    assert (falls[1] - falls[0]) * 0.1 == pytest.approx(period, rel=2e-3)


@both
def test_mirrored_in_y_everything_is_as_it_was(plant: Plant) -> None:
    mirror = torch.tensor(
        [-1.0 if name[:2] in {"y", "ph", "vy"} or name == "ramp_y" else 1.0 for name in plant.state_names]
    )
    mirror = mirror.double()
    flip = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    scenario = Scenario(parameters={name: parameter.value for name, parameter in plant.spec.parameters.items()})
    here, there = (Simulation(plant, 8, seed=3, scenario=scenario, autoreset=False) for _ in range(2))
    there._memory = dataclasses.replace(there._memory, state=there.state * mirror)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        action = 2.0 * torch.rand((8, 2), dtype=torch.float64, generator=generator) - 1.0
        left, right = here.step(action), there.step(action * flip)
        assert torch.allclose(left.state, right.state * mirror, atol=1e-9)
        assert torch.allclose(left.reward, right.reward, atol=1e-5)
        assert torch.equal(left.tripped, right.tripped)


def test_a_batch_of_cranes_is_a_loop_of_mj_step() -> None:
    simulation = Simulation(CRANE, 6, seed=1)
    parameters, state = simulation._memory.parameters, simulation.state
    action = torch.tensor([[0.05, -0.03]], dtype=torch.float64).expand(6, -1)
    got, _ = free(CRANE).step(state, action, None, parameters)
    for row, values in enumerate(parameters.numpy()):
        named = dict(zip(CRANE.parameter_names, values, strict=True))
        source = mujoco.MjSpec.from_file(str(CRANE.dynamics.model.xml))
        CRANE.dynamics.model.vary(source, values)
        model = source.compile()
        assert model.body("bridge").mass[0] == pytest.approx(named["bridge_mass"])
        assert model.body("load").mass[0] == pytest.approx(named["payload_mass"] + 0.001)
        assert model.site("payload").pos[2] == pytest.approx(-named["rope_length"])
        assert list(model.dof_damping[2:]) == pytest.approx([named["hinge_friction"]] * 2)
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = state[row, :4].numpy(), state[row, 4:8].numpy()
        for step in range(20):
            data.ctrl[:] = action[row].numpy() * (step + 0.5) / 20
            mujoco.mj_step(model, data)
        assert got[row, :8].tolist() == pytest.approx([*data.qpos, *data.qvel], abs=1e-12)


def test_the_parameters_of_the_spec_are_those_of_the_file() -> None:
    model, rest = CRANE.dynamics.model, torch.zeros((1, 2), dtype=torch.float64)
    state = state_of(CRANE, theta=0.1, phi=-0.2, vx=0.3)[:, :8]
    assert torch.equal(model.advance(state, rest, 0.1, parameters_of(CRANE)), model.advance(state, rest, 0.1))


def test_where_the_load_is_and_how_fast_is_what_mujoco_measures() -> None:
    model, random = CRANE.dynamics.model.compiled, np.random.default_rng(0)
    data = mujoco.MjData(model)
    for _ in range(10):
        row = 0.3 * random.normal(size=8)
        data.qpos[:], data.qvel[:] = row[:4], row[4:]
        mujoco.mj_forward(model, data)
        place, speed = data.sensor("p").data, data.sensor("v").data
        state = torch.tensor([[*row, 0.0, 0.0]])
        got = outputs_of(CRANE, state)
        assert [got["load_x"], got["load_y"]] == pytest.approx(place[:2].tolist())
        assert got["load_speed"] == pytest.approx(math.hypot(*speed[:2]))
        assert got["distance"] == pytest.approx(math.hypot(place[0] - 6.0, place[1]))
        assert got["sway"] == pytest.approx(math.degrees(math.acos((4.0 - place[2]) / 3.0)))
        assert got["aim_x"] == pytest.approx(row[0] - 2.0 * (place[0] - row[0]))


@pytest.mark.parametrize(
    ("x", "y", "side", "clearance"),
    [
        (0.0, 0.0, 0, 3.0),
        (3.0, 0.8, 0, 0.8),
        (2.5, 1.2, 0, 1.3),
        (2.5, 1.2, 1, 0.5),
        (2.5, 1.2, -1, 1.3),
        (2.5, -1.2, -1, 0.5),
    ],
)
def test_the_clearance_is_to_the_pillar_or_to_the_blocked_aisle(
    x: float, y: float, side: int, clearance: float
) -> None:
    assert outputs_of(TWIN, state_of(TWIN, x=x, y=y), blocked_side=side)["clearance"] == pytest.approx(clearance)


TANGENTS = 2.0 * math.sqrt(8.0)
ARC = math.pi - 2.0 * math.acos(1.0 / 3.0)


@pytest.mark.parametrize(
    ("x", "y", "side", "way"),
    [
        (0.0, 0.0, 0, TANGENTS + ARC),  # 6.3365 m
        (0.0, 0.0, 1, TANGENTS + ARC),
        (0.0, 0.0, -1, TANGENTS + ARC),
        (5.0, 0.0, 0, 1.0),
        (0.0, 2.5, 0, 6.5),  # straight: 1.25 m from the pillar at the nearest
        (3.0, 1.0, 0, math.sqrt(8.0) + math.pi / 2.0 - math.acos(1.0 / 3.0)),
        (2.0, 1.0, 0, 1.0 + math.sqrt(8.0) + math.pi / 2.0 - math.acos(1.0 / 3.0)),
        (2.0, 1.0, 1, 1.0 + math.sqrt(8.0) + math.pi - math.acos(1.0 / 3.0)),  # all round the other side
        (2.0, -1.0, -1, 1.0 + math.sqrt(8.0) + math.pi - math.acos(1.0 / 3.0)),
        (2.0, -1.0, 1, 1.0 + math.sqrt(8.0) + math.pi / 2.0 - math.acos(1.0 / 3.0)),
        (5.0, 0.5, 1, math.hypot(1.0, 0.5)),  # past it already
    ],
)
def test_the_way_round_the_pillar(x: float, y: float, side: int, way: float) -> None:
    assert outputs_of(TWIN, state_of(TWIN, x=x, y=y), blocked_side=side)["way"] == pytest.approx(way)


@both
def test_a_drive_ramps_by_half_a_metre_a_second_each_second(plant: Plant) -> None:
    state, asked = state_of(plant), torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    for _ in range(10):
        state, _ = plant.step(state, asked)
    assert state[0, 4:6].tolist() == pytest.approx([0.5, -0.5], abs=0.03)
    for _ in range(20):
        state, _ = free(plant).step(state, asked)
    assert state[0, 4:6].tolist() == pytest.approx([1.0, -1.0], abs=0.03)


@both
def test_progress_at_rest_is_nothing_wherever_the_pillar_stands(plant: Plant) -> None:
    simulation = Simulation(plant, 16, seed=0)
    assert float(simulation._memory.parameters.std(dim=0).max()) > 0.0
    terms = simulation.step(torch.zeros((16, 2), dtype=torch.float64)).terms
    assert float(terms["progress"].abs().max()) < 1e-9


@both
def test_the_controller_of_today_arrives_on_its_one_side(plant: Plant) -> None:
    scenario = Scenario.model_validate({"start": START})
    simulation, controller = (
        Simulation(plant, 32, seed=0, scenario=scenario, autoreset=False),
        incumbent_controller(plant),
    )
    running, sway = torch.ones(32, dtype=torch.bool), 0.0
    for _ in range(120):
        seen = simulation.step(controller.act(simulation.signals(), simulation.applied))
        sway = max(sway, 8.0 - float(seen.margins["sway.high"][running].min()))
        running &= ~(seen.terminated | seen.truncated)
        assert not bool(seen.tripped.any())
        if not bool(running.any()):
            break
    assert not bool(running.any())
    assert sway < 7.0


@pytest.mark.parametrize("name", PLANTS)
def test_a_blocked_aisle_stops_the_controller_of_today(name: str) -> None:
    plant, (scenario,) = PLANTS[name], (s for s in load_evaluation_spec(name).scenarios if s.name == "aisle_blocked")
    simulation, controller = (
        Simulation(plant, 8, seed=0, scenario=scenario, autoreset=False),
        incumbent_controller(plant),
    )
    tripped = torch.zeros(8, dtype=torch.bool)
    for _ in range(60):
        tripped |= simulation.step(controller.act(simulation.signals(), simulation.applied)).tripped
    assert bool(tripped.all())


@both
def test_what_must_not_happen_trips_and_costs_13(plant: Plant) -> None:
    for scene in (
        {"x": 2.34, "vx": 0.2},
        {"x": 5.0, "y": 2.499, "vy": 0.5},
        {"x": 7.499, "vx": 0.5},
        {"theta": 0.5235, "theta_rate": 0.5},
    ):
        moving = scene | {f"ramp_{name[1]}": value for name, value in scene.items() if name in {"vx", "vy"}}
        start = {name: {"kind": "fixed", "value": moving.get(name, 0.0)} for name in plant.state_names}
        nominal = {name: parameter.value for name, parameter in plant.spec.parameters.items()}
        scenario = Scenario.model_validate({"start": start, "parameters": nominal})
        simulation = Simulation(plant, 1, scenario=scenario, autoreset=False)
        asked = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
        for _ in range(2):
            seen = simulation.step(asked)
            if bool(seen.tripped):
                break
        assert bool(seen.tripped)
        assert float(seen.terms["trip"]) == -13.0
