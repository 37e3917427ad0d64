"""The exothermic reactor against its published and computed facts."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.controllers import hold_controller, incumbent_controller
from fpo_pilot.plants.integrator import rk4
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation

PLANT = load_plant("cstr")


def with_substeps(plant: Plant, count: int) -> Plant:
    dynamics = plant.spec.dynamics.model_copy(update={"substeps": count})
    return dataclasses.replace(plant, spec=plant.spec.model_copy(update={"dynamics": dynamics}))


def one_step(substeps: int) -> Tensor:
    state = torch.tensor([[0.8, 330.0]], dtype=torch.float64)
    return with_substeps(PLANT, substeps).step(state, torch.tensor([[300.0]], dtype=torch.float64))[0][0]


def rates(ca: float, t: float, jacket: float) -> Tensor:
    """Return the derivatives [mol/L/min, K/min] at a point."""
    return derivative(torch.tensor([ca, t], dtype=torch.float64), jacket)


def derivative(state: Tensor, jacket: float) -> Tensor:
    parameters = torch.tensor([PLANT.nominal_parameters()], dtype=torch.float64)
    action = torch.tensor([[jacket]], dtype=torch.float64)
    rate: Tensor = PLANT.dynamics.derivative(state[None], action, state.new_empty((1, 0)), parameters)[0]
    return rate


def steady_concentration(t: Tensor) -> Tensor:
    """Return the concentration at which the mass balance is at rest at temperature ``t``."""
    return 1.0 / (1.0 + 7.2e10 * torch.exp(-8750.0 / t))


def steady_temperatures(jacket: float) -> list[float]:
    """Return where the heat balance of the steady concentration changes sign between 300 and 450 K."""
    t = torch.linspace(300.0, 450.0, 150_001, dtype=torch.float64)
    balance = (
        (350.0 - t)
        + 5e4 / 239.0 * 7.2e10 * torch.exp(-8750.0 / t) * steady_concentration(t)
        + 5e4 / 23_900.0 * (jacket - t)
    )
    return t[:-1][(balance[:-1] * balance[1:]) <= 0.0].tolist()


def test_one_step_has_the_golden_value() -> None:
    got = one_step(4)
    assert got.tolist() == pytest.approx([0.81408, 327.68214], rel=1e-4)
    assert float(got[1]) == pytest.approx(327.68214, abs=1e-5)


def test_four_substeps_leave_an_error_below_a_hundred_thousandth_of_a_kelvin_and_one_does_not() -> None:
    exact = one_step(512)
    assert float((one_step(4) - exact).abs().max()) < 1e-5
    assert float((one_step(1) - exact)[1].abs()) == pytest.approx(5e-4, rel=0.3)


def test_the_integrator_reaches_its_order_on_this_plant() -> None:
    exact = one_step(512)
    errors = [float((one_step(count) - exact)[1].abs()) for count in (8, 16)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.2)


@pytest.mark.parametrize(("ca", "jacket"), [(0.85, 301.438), (0.9, 298.209), (0.87, 300.446)])
def test_the_steady_jacket_of_each_set_point(ca: float, jacket: float) -> None:
    t = 8750.0 / math.log(7.2e10 * ca / (1.0 - ca))  # at rest: 1 − Ca = k Ca
    assert rates(ca, t, jacket)[0].item() == pytest.approx(0.0, abs=1e-9)
    assert rates(ca, t, jacket)[1].item() == pytest.approx(0.0, abs=2e-3)  # 0.5 mK of jacket


@pytest.mark.parametrize(
    ("ca", "t", "kind"), [(0.8773, 324.475, "stable"), (0.4999, 350.0, "saddle"), (0.2088, 369.7, "unstable focus")]
)
def test_the_three_steady_states_at_a_jacket_of_300_kelvin(ca: float, t: float, kind: str) -> None:
    state = torch.tensor([ca, t], dtype=torch.float64)
    for _ in range(20):  # Newton's method from the published digits
        jacobian = torch.func.jacrev(lambda x: derivative(x, 300.0))(state)
        state = state - torch.linalg.solve(jacobian, derivative(state, 300.0))
    assert state.tolist() == pytest.approx([ca, t], rel=2e-4)
    eigenvalues = torch.linalg.eigvals(torch.func.jacrev(lambda x: derivative(x, 300.0))(state))
    positive = int((eigenvalues.real > 0).sum())
    oscillates = bool((eigenvalues.imag.abs() > 1e-6).any())
    assert {"stable": positive == 0, "saddle": positive == 1, "unstable focus": positive == 2 and oscillates}[kind]


def test_the_cold_steady_state_disappears_between_303_and_304_kelvin() -> None:
    assert len(steady_temperatures(303.0)) == 3
    assert len(steady_temperatures(304.0)) == 1
    assert steady_temperatures(304.0)[0] > 360.0


def test_a_jacket_of_305_and_a_half_runs_away_to_479_kelvin_within_two_and_a_quarter_minutes() -> None:
    state = torch.tensor([[0.8773, 324.475]], dtype=torch.float64)
    peak, when = 0.0, 0.0
    for step in range(1, 2401):
        state = rk4(lambda x: derivative(x[0], 305.5)[None], state, 0.001)
        if float(state[0, 1]) > peak:
            peak, when = float(state[0, 1]), 0.001 * step
    assert peak == pytest.approx(478.8, abs=0.5)
    assert when == pytest.approx(2.22, abs=0.03)


def cost_of(controller: object) -> float:
    simulation = Simulation(PLANT, 1)
    for _ in range(60):
        got = simulation.step(controller.act(simulation.signals(), simulation.applied))  # type: ignore[attr-defined]
    return -float(got.episode_return)


def test_the_best_proportional_controller_costs_67_85() -> None:
    assert cost_of(incumbent_controller(PLANT)) == pytest.approx(67.85, abs=0.01)


def test_the_textbook_proportional_controller_costs_71_3() -> None:
    assert PLANT.safety is not None
    spec = PLANT.safety.incumbent
    loops = tuple(loop.model_copy(update={"gain": 120.0, "bias": 300.0}) for loop in spec.loops)  # type: ignore[union-attr]
    from fpo_pilot.plants.controllers import build_controller

    softer = build_controller(spec.model_copy(update={"loops": loops}), PLANT)
    assert cost_of(softer) == pytest.approx(71.3, abs=0.2)


def test_holding_the_steady_jackets_costs_95_8() -> None:
    assert cost_of(hold_controller(PLANT)) == pytest.approx(95.8, abs=0.05)


def test_random_actions_cost_about_558() -> None:
    simulation, generator = Simulation(PLANT, 2000), torch.Generator().manual_seed(0)
    for _ in range(60):
        normalised = 2.0 * torch.rand((2000, 1), generator=generator, dtype=torch.float64) - 1.0
        got = simulation.step(PLANT.to_engineering(normalised))
    assert -float(got.episode_return.mean()) == pytest.approx(558.0, abs=10.0)
    assert not bool(got.terminated.any())


@pytest.mark.parametrize(("policy", "share"), [("random", 0.695), ("slow", 0.895), ("max", 1.0)])
def test_unshielded_random_policies_run_away_as_often_as_computed(policy: str, share: float) -> None:
    plant, batch, generator = load_plant("cstr_safety"), 1024, torch.Generator().manual_seed(0)
    simulation = Simulation(plant, batch, seed=2, autoreset=False)
    passed = torch.zeros(batch, dtype=torch.bool)
    for step in range(60):
        if policy == "max":
            action = torch.full((batch, 1), 310.0, dtype=torch.float64)
        elif policy == "random" or step % 10 == 0:
            action = 290.0 + 20.0 * torch.rand((batch, 1), generator=generator, dtype=torch.float64)
        passed |= simulation.step(action).tripped
    assert float(passed.double().mean()) == pytest.approx(share, abs=0.06)


def test_coming_back_from_the_edge_costs_less_than_a_trip() -> None:
    from fpo_pilot.specs.evaluation import Scenario
    from fpo_pilot.specs.plant import Fixed

    plant = load_plant("cstr_safety")
    start = Scenario(start={"Ca": Fixed(value=0.5), "T": Fixed(value=349.0)}, noise_factor=0.0)
    controller, simulation = incumbent_controller(plant), Simulation(plant, 1, scenario=start)
    cooling = True
    for _ in range(60):
        signals = simulation.signals()
        cooling = cooling and float(signals["T"]) >= 335.0
        action = torch.full((1, 1), 290.0) if cooling else controller.act(signals, simulation.applied)
        got = simulation.step(action)
    assert bool(got.truncated)
    assert -float(got.episode_return) < 2000.0


def test_the_incumbent_near_runaway_costs_less_than_the_declared_range_from_every_corner() -> None:
    from fpo_pilot.specs.evaluation import Scenario
    from fpo_pilot.specs.plant import Fixed

    plant = load_plant("cstr_safety")
    assert plant.safety is not None
    greatest = min(gate.range[1] for stage in plant.safety.stages for gate in stage.gates if gate.kind == "difference")
    for ca in (0.8, 0.9):
        for t in (318.0, 332.0):
            start = Scenario(start={"Ca": Fixed(value=ca), "T": Fixed(value=t)})
            controller, simulation = incumbent_controller(plant), Simulation(plant, 64, scenario=start)
            for _ in range(60):
                got = simulation.step(controller.act(simulation.signals(), simulation.applied))
            assert float(-got.episode_return.min()) < greatest


@pytest.mark.parametrize("name", ["cstr", "cstr_safety", "quad_tank", "quad_tank_minus", "quad_tank_plus"])
def test_random_proposals_are_outside_the_agreement_band_in_most_blocks(name: str) -> None:
    plant, batch, generator = load_plant(name), 128, torch.Generator().manual_seed(0)
    assert plant.safety is not None
    band = plant.safety.stages[0].agreement_band
    controller, simulation = incumbent_controller(plant), Simulation(plant, batch, seed=1, autoreset=False)
    low, high = torch.tensor(plant.action_low), torch.tensor(plant.action_high)
    squares = torch.zeros(batch, dtype=torch.float64)
    for _ in range(plant.horizon):
        asked = controller.act(simulation.signals(), simulation.applied)
        drawn = plant.to_engineering(2.0 * torch.rand(asked.shape, generator=generator, dtype=torch.float64) - 1.0)
        squares += ((drawn - asked) / (high - low)).square().mean(dim=1) / plant.horizon
        simulation.step(asked)
    assert float((squares.sqrt() > band).double().mean()) > 0.8
