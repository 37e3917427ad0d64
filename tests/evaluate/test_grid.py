"""Scenarios of a campaign are made from the specs: their names are stable, their counts known, and all of them are sound."""

from __future__ import annotations

import pytest

from fpo_pilot.errors import PolicyError
from fpo_pilot.evaluate.grid import KINDS, grid_scenarios, with_grid
from fpo_pilot.specs import EvaluationSpec, Scenario, load_plant_spec, load_safety_spec
from fpo_pilot.specs.evaluation_rules import evaluation_findings
from fpo_pilot.specs.plant import DisturbanceSpec

LATE = load_plant_spec("cstr_late")
SAFETY = load_safety_spec("cstr_late", LATE)


def names(kind: str, plant=LATE, safety=SAFETY) -> list[str]:
    return [one.name for one in grid_scenarios(plant, safety, (kind,))]


def test_corners_are_the_ends_of_the_declared_set_in_the_order_of_its_parameters() -> None:
    found = {one.name: one.parameters for one in grid_scenarios(LATE, None, ("corners",))}
    assert list(found) == ["corner_low_low", "corner_low_high", "corner_high_low", "corner_high_high"]
    # 5 % of 7.2e10 per minute and of 5e4 J/min/K
    assert found["corner_low_high"] == {"rate_constant": pytest.approx(6.84e10), "heat_transfer": pytest.approx(5.25e4)}


def test_the_uncertainty_set_of_the_safety_spec_goes_before_that_of_the_plant() -> None:
    assert SAFETY is not None
    own = LATE.parameters["rate_constant"].uncertainty
    narrow = SAFETY.uncertainty.model_copy(update={"parameters": {"feed_temperature": own}})
    found = grid_scenarios(LATE, SAFETY.model_copy(update={"uncertainty": narrow}), ("corners",))
    assert [(one.name, one.parameters) for one in found] == [
        ("corner_low", {"feed_temperature": pytest.approx(332.5)}),
        ("corner_high", {"feed_temperature": pytest.approx(367.5)}),
    ]


def test_more_corners_than_anybody_runs_are_refused() -> None:
    uncertain = LATE.parameters["rate_constant"]
    many = LATE.model_copy(update={"parameters": {f"p{index}": uncertain for index in range(7)}})
    with pytest.raises(PolicyError, match="7 uncertain parameters with 128 corners, expected 64"):
        grid_scenarios(many, None, ("corners",))


def test_each_sensor_and_actuator_fails_in_every_way_after_a_third_of_the_episode() -> None:
    found = grid_scenarios(LATE, SAFETY, ("faults",))
    kinds = ("nan", "range", "stale", "stuck", "bias_low", "bias_high", "drift_low", "drift_high", "noise")
    sensors = [f"{signal}_{kind}" for signal in ("Ca", "T") for kind in kinds]
    assert [one.name for one in found] == [*sensors, "Tc_stuck", "Tc_slow", "Tc_offset_low", "Tc_offset_high"]
    assert {fault.from_step for one in found for fault in (*one.faults, *one.actuator_faults)} == {20}
    by_name = {one.name: one for one in found}
    assert by_name["T_bias_high"].faults[0].value == pytest.approx(0.03 * 140.0)  # of 280 to 420 K


def test_noise_has_levels_where_there_is_noise() -> None:
    assert [(one.name, one.noise_factor) for one in grid_scenarios(LATE, SAFETY, ("noise",))] == [
        ("noise_0", 0.0),
        ("noise_2", 2.0),
        ("noise_4", 4.0),
    ]
    assert names("noise", load_plant_spec("quad_tank"), None) == []


def test_each_declared_disturbance_comes_alone_and_for_certain_and_none_at_all() -> None:
    assert names("disturbances") == []
    step = DisturbanceSpec(channel="feed_temperature", kind="step", size=5.0, probability=0.2)
    found = grid_scenarios(LATE.model_copy(update={"disturbances": (step, step)}), SAFETY, ("disturbances",))
    assert [one.name for one in found] == [
        "no_disturbances",
        "only_feed_temperature_step",
        "only_feed_temperature_step_2",
    ]
    assert found[0].disturbances == ()
    assert [one.probability for one in found[2].disturbances or ()] == [1.0]


@pytest.mark.parametrize("name", ["cstr", "quad_tank", "web_line", "cstr_late"])
def test_every_scenario_of_a_grid_is_one_that_could_have_been_written(name: str) -> None:
    plant = load_plant_spec(name)
    scenarios = grid_scenarios(plant, load_safety_spec(name, plant), tuple(KINDS))
    assert len({one.name for one in scenarios}) == len(scenarios) > 10
    written = EvaluationSpec.model_validate({"scenarios": [one.model_dump() for one in scenarios]})
    assert list(evaluation_findings(written, plant)) == []


def test_hand_written_scenarios_come_first_and_a_name_that_is_taken_is_refused() -> None:
    own, made = Scenario(name="mine", noise_factor=3.0), Scenario(name="noise_2", noise_factor=2.0)
    assert [one.name for one in with_grid((own, made), (made,))] == ["mine", "noise_2"]
    with pytest.raises(PolicyError, match=r"another scenario .noise_2. in evaluate\.yaml"):
        with_grid((Scenario(name="noise_2", noise_factor=2.5),), (made,))
    with pytest.raises(PolicyError, match="found 'corner', expected some of corners, noise, faults, disturbances"):
        grid_scenarios(LATE, SAFETY, ("corner",))
