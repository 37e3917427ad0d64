"""Safety specs that are sound word by word and that no shield could keep: each is refused with its line and its fix."""

from __future__ import annotations

import pytest

from fpo_pilot.errors import SpecError, SpecErrors
from fpo_pilot.specs import SafetySpec, load_plant_spec, load_safety_spec, spec_hash
from fpo_pilot.specs.safety import Interlock

LOOKS_AHEAD = """\
uncertainty: {states: {T: 1 K, level: 1 cm}}
shields:
  - {kind: integrity}
  - {kind: interlock}
  - {kind: predictive, horizon: 20, terminal_set: {T: {high: 60}, level: {low: 0.5}}}
  - {kind: box_rate}
stages:
"""
INTERLOCK = '  - {id: hot, trip_when: "T > 95 degC", reset_when: "T < 85 degC", set: {heat: 0}, hazard: H1}\n'
LOW = '  - {id: dry, trip_when: "level < 30 cm", reset_when: "level > 40 cm", set: {heat: 5}, hazard: H1}\n'


def load() -> SafetySpec:
    found = load_safety_spec("boiler", load_plant_spec("boiler"))
    assert found is not None
    return found


def refused(project, where: str, message: str) -> SpecError:
    with pytest.raises(SpecErrors) as raised:
        load()
    assert [error.where for error in raised.value.errors] == [where], str(raised.value)
    (error,) = raised.value.errors
    assert message in str(error)
    assert error.file == project.path("safety")
    return error


def test_an_action_whose_actuator_has_a_rate_needs_one_no_faster(project) -> None:
    project.edit("safety", "rate: 2 kW/step, ", "")
    error = refused(project, "actions.heat.rate", "found nothing, expected at most the actuator's own rate, 3 kW/step")
    assert error.line == 19
    project.edit("plant", ", rate: 6 kW/min", "")
    assert load().actions["heat"].rate is None  # an actuator that moves at once may be told to


@pytest.mark.parametrize(("side", "bound", "line"), [("high", "high: 35", 19), ("low", "low: 1", 19)])
def test_the_box_of_an_action_lies_within_the_hard_limits_on_it(project, side: str, bound: str, line: int) -> None:
    project.edit(
        "safety", "actions:\n", f"  - {{id: heat-hard, signal: heat, {bound}, kind: hard, hazard: H1}}\nactions:\n"
    )
    error = refused(project, f"actions.heat.{side}", "within the hard limit heat-hard")
    assert error.line == line + 1
    project.edit("safety", "kind: hard, hazard: H1}\nactions", "kind: soft, hazard: H1}\nactions")
    load()  # an alarm inside the box warns


@pytest.mark.parametrize(
    ("trip", "reset"),
    [
        ("T > 100 degC", "T < 85 degC"),  # at the limit itself
        ("T >= 100 degC", "T < 85 degC"),
        ("T >= 110 degC", "T < 85 degC"),
        ("level < 10 cm", "level > 30 cm"),
        ("T > 110 degC or level < 15 cm", "T < 85 degC and level > 30 cm"),
        ("T > 110 degC and level < 60 cm", "T < 85 degC"),
    ],
)
def test_an_interlock_that_trips_beyond_the_limit_it_guards_is_refused(project, trip: str, reset: str) -> None:
    project.edit("safety", '"T > 95 degC", reset_when: "T < 85 degC"', f'"{trip}", reset_when: "{reset}"')
    error = refused(project, "interlocks[0].trip_when", "before the hard limit")
    assert error.line == 21


@pytest.mark.parametrize(
    "trip",
    [
        "T > 110 degC or level < 30 cm",
        "level < 30 cm or T > 110 degC",
        "T > 99.9 degC",
        "abs(T - 50 degC) > 70 delta_degC",
    ],
)
def test_an_interlock_that_can_trip_in_time_or_that_is_not_understood_is_taken(project, trip: str) -> None:
    project.edit(
        "safety", '"T > 95 degC", reset_when: "T < 85 degC"', f'"{trip}", reset_when: "T < 85 degC and level > 40 cm"'
    )
    load()


def test_each_condition_of_a_vote_lies_before_the_limit(project) -> None:
    project.edit("safety", 'trip_when: "T > 95 degC"', "vote: {least: 1, of: [T > 95 degC, T > 101 degC]}")
    refused(project, "interlocks[0].vote.of[1]", "before the hard limit T-trip, 100")


def test_an_interlock_cannot_read_a_set_point(project) -> None:
    project.edit("safety", '"T > 95 degC"', '"T_sp > 95 degC"')
    refused(
        project, "interlocks[0].trip_when", "'T_sp', which is not measured, expected measured signals and actions ("
    )


def test_two_interlocks_that_set_one_action_differently_need_a_winner(project) -> None:
    project.edit("safety", INTERLOCK, INTERLOCK + LOW)
    error = refused(project, "interlocks[1].set.heat", "expected 0, to which hot sets it, or a declared winner")
    assert error.line == 22
    project.edit("safety", "hazard: H1}\n" + LOW, "hazard: H1, over: [dry]}\n" + LOW)
    assert load().interlocks[0].over == ("dry",)
    project.edit("safety", "heat: 5}", "heat: 0}")
    load()  # alike: nothing to win


def test_the_winner_of_two_interlocks_stands_first(project) -> None:
    project.edit("safety", INTERLOCK, INTERLOCK + LOW.replace("hazard: H1}", "hazard: H1, over: [hot]}"))
    refused(project, "interlocks[1].over[0]", "'hot', which stands before dry")


@pytest.mark.parametrize(("name", "message"), [("hott", "Did you mean `hot`?"), ("hot", "another interlock")])
def test_a_winner_is_over_another_interlock(project, name: str, message: str) -> None:
    project.edit("safety", "hazard: H1}\nsensors", f"hazard: H1, over: [{name}]}}\nsensors")
    refused(project, "interlocks[0].over[0]", message)


def test_where_a_shield_looks_ahead_an_interlock_goes_where_the_backup_goes(project) -> None:
    project.edit("safety", "stages:\n", LOOKS_AHEAD)
    load()
    project.edit("safety", "set: {heat: 0}", "set: {heat: 1}")
    refused(project, "interlocks[0].set.heat", "expected the action's fallback, 0")


@pytest.mark.parametrize("fault", ["lag: 20 s", "stiction: 0.1", "dead_band: 0.1"])
@pytest.mark.parametrize("kind", ["predictive", "barrier"])
def test_a_shield_with_a_model_knows_no_actuator_that_does_not_go_where_it_is_sent(
    project, fault: str, kind: str
) -> None:
    project.edit("plant", "role: action, start", f"role: action, actuator: {{{fault}}}, start")
    load()
    text = LOOKS_AHEAD
    if kind == "barrier":
        text = text.replace("predictive, horizon: 20, terminal_set: {T: {high: 60}, level: {low: 0.5}}", "barrier")
    project.edit("safety", "stages:\n", text)
    error = refused(
        project, "shields[2].kind", f"{fault.split(':')[0]} of heat, expected actuators that go where they are sent"
    )
    assert error.line == 31


def test_a_field_that_only_confirms_the_order_of_the_file_is_no_part_of_the_identity() -> None:
    first = {"id": "A", "trip_when": "T >= 400 K", "reset_when": "T < 390 K", "set": {"Tc": 290.0}}
    plain, confirmed = Interlock.model_validate(first), Interlock.model_validate(first | {"over": ["B"]})
    assert spec_hash(plain) == spec_hash(confirmed)
    assert spec_hash(plain) != spec_hash(Interlock.model_validate(first | {"samples": 2}))
