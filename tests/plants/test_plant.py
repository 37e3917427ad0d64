"""The contract of Plant.step and the mapping of actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.load import load_plant

SAFETY_MODE = load_plant("cstr_safety")
ONE = torch.tensor([[1.0]], dtype=torch.float64)


def test_a_step_follows_the_exact_solution(make_plant: Any, exact_level: Any) -> None:
    state, trip = make_plant().step(ONE, torch.tensor([[0.75]], dtype=torch.float64))
    assert float(state) == pytest.approx(exact_level(1.0, 0.75, 2.0), rel=1e-6)
    assert not bool(trip)


def test_a_hard_limit_trips_within_the_step_and_the_plant_stays_where_it_passed(
    make_plant: Any, make_safety: Any, exact_level: Any
) -> None:
    plant = make_plant(safety=make_safety(), signal_inflow={"range": (0.0, 9.0)})
    # 2.9 m rises to 3.0 m in the first substep of 0.5 s under 1.4 m³/s, and would be at 3.4 m after the step
    state, trip = plant.step(torch.full((1, 1), 2.9, dtype=torch.float64), torch.full((1, 1), 1.4, dtype=torch.float64))
    assert bool(trip)
    assert float(state) == pytest.approx(exact_level(2.9, 1.4, 0.5), rel=1e-6)
    again, trip = plant.step(state, torch.zeros((1, 1), dtype=torch.float64))
    assert bool(trip)
    assert torch.equal(again, state)


def test_a_state_on_the_limit_has_not_passed_it(make_plant: Any, make_safety: Any) -> None:
    plant = make_plant(safety=make_safety())
    _, trip = plant.step(torch.full((1, 1), 3.0, dtype=torch.float64), torch.zeros((1, 1), dtype=torch.float64))
    assert not bool(trip)


def test_a_soft_limit_never_trips(make_plant: Any, make_safety: Any) -> None:
    _, trip = make_plant(safety=make_safety()).step(torch.full((1, 1), 2.9, dtype=torch.float64), 0.0 * ONE)
    assert not bool(trip)


def test_a_limit_on_a_computed_signal_trips_too(make_plant: Any, make_safety: Any) -> None:
    limit = {"id": "outflow.high", "signal": "outflow", "high": 0.5, "kind": "hard"}
    plant = make_plant(safety=make_safety(limits=(limit,)))
    _, trip = plant.step(torch.tensor([[2.1], [1.9]], dtype=torch.float64), torch.zeros((2, 1), dtype=torch.float64))
    assert trip.tolist() == [True, False]


def test_a_state_that_becomes_infinite_trips_and_is_never_taken(make_plant: Any) -> None:
    state, trip = make_plant().step(torch.cat((ONE, ONE)), torch.tensor([[torch.inf], [0.5]], dtype=torch.float64))
    assert trip.tolist() == [True, False]
    assert float(state[0]) == 1.0
    assert bool(torch.isfinite(state).all())


def test_a_batch_is_what_a_loop_over_plants_gives() -> None:
    plant = load_plant("cstr_safety")
    generator = torch.Generator().manual_seed(0)
    state = torch.tensor([0.85, 330.0]) + torch.rand((64, 2), generator=generator) * torch.tensor([0.1, 20.0])
    state, action = state.double(), 290.0 + 20.0 * torch.rand((64, 1), generator=generator).double()
    together, trips = plant.step(state, action)
    alone = [plant.step(state[i : i + 1], action[i : i + 1]) for i in range(64)]
    torch.testing.assert_close(together, torch.cat([s for s, _ in alone]), rtol=1e-12, atol=1e-12)
    assert torch.equal(trips, torch.cat([t for _, t in alone]))
    assert 0 < int(trips.sum()) < 64


def test_parameters_and_disturbances_act_row_by_row(make_plant: Any, exact_level: Any) -> None:
    plant = make_plant()
    state, _ = plant.step(
        torch.cat((ONE, ONE)),
        torch.full((2, 1), 0.25, dtype=torch.float64),
        disturbance=torch.tensor([[0.0], [0.5]], dtype=torch.float64),
        parameters=torch.tensor([[2.0, 0.25], [2.0, 0.25]], dtype=torch.float64),
    )
    assert state[:, 0].tolist() == pytest.approx([1.0, exact_level(1.0, 0.75, 2.0)], rel=1e-6)


@given(st.floats(-1.0, 1.0, width=32))
@settings(max_examples=50, deadline=None)
def test_normalised_actions_map_to_the_limits_and_back(normalised: float) -> None:
    plant = SAFETY_MODE
    given_action = torch.tensor([[normalised]], dtype=torch.float64)
    action = plant.to_engineering(given_action)
    assert float(action) == pytest.approx(300.0 + 10.0 * normalised)
    assert float(plant.to_normalised(action)) == pytest.approx(normalised, abs=1e-12)


def test_the_mapping_does_not_clip() -> None:
    assert float(load_plant("cstr").to_engineering(torch.tensor([[3.0]]))) == pytest.approx(298.5 + 3 * 3.5)


def test_without_a_safety_spec_the_actuator_range_is_the_scale(make_plant: Any) -> None:
    assert make_plant().action_low == (0.0,)
    assert make_plant().action_high == (1.0,)


@pytest.mark.parametrize(
    ("state", "action"), [((1,), (1, 1)), ((2, 2), (2, 1)), ((2, 1), (1, 1)), ((2, 1), (2, 2)), ((2, 1), (2,))]
)
def test_a_tensor_of_the_wrong_shape_is_refused_by_name(
    make_plant: Any, state: tuple[int, ...], action: tuple[int, ...]
) -> None:
    with pytest.raises(PlantError, match=r"plant tank: the (state|action) has shape"):
        make_plant().step(torch.zeros(state), torch.zeros(action))


@dataclass(frozen=True)
class Doubling:
    """A discrete-time plant."""

    states: ClassVar[tuple[str, ...]] = ("level",)
    actions: ClassVar[tuple[str, ...]] = ("inflow",)
    disturbances: ClassVar[tuple[str, ...]] = ("rain",)
    output_names: ClassVar[tuple[str, ...]] = ("outflow",)
    parameters: ClassVar[dict[str, str]] = {"area": "m**2", "drain": "m**2/s"}

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        return 2.0 * state + period * action

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        return state


def test_discrete_time_dynamics_advance_once_a_step(make_plant: Any, make_safety: Any) -> None:
    plant = make_plant(dynamics=Doubling(), safety=make_safety())
    state, trip = plant.step(torch.tensor([[0.5], [1.2]]), torch.full((2, 1), 0.5))
    assert state[:, 0].tolist() == pytest.approx([2.0, 3.4])
    assert trip.tolist() == [False, True]


@dataclass(frozen=True)
class Wrong(Doubling):
    """Returns what it should not."""

    kind: str = "shape"

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        return {"shape": state[:, 0], "dtype": state.half(), "device": state.to("meta")}[self.kind]


@pytest.mark.parametrize("kind", ["shape", "dtype", "device"])
def test_dynamics_that_return_something_else_are_told_plant_and_signal(make_plant: Any, kind: str) -> None:
    with pytest.raises(PlantError, match=r"plant tank: advance\(\) of Wrong returned .* level"):
        make_plant(dynamics=Wrong(kind)).step(ONE, ONE)


def test_a_step_can_be_differentiated_and_runs_in_float32() -> None:
    plant = load_plant("cstr")
    action = torch.tensor([[300.0]], requires_grad=True)
    state, _ = plant.step(torch.tensor([[0.8, 330.0]]), action)
    state[0, 1].backward()
    assert action.grad is not None
    assert float(action.grad) > 0.0  # a warmer jacket warms
    assert state.dtype == torch.float32
