"""Coverage: what uses each signal, what is unused, and what nothing covers."""

from __future__ import annotations

from fpo_pilot.specs import load_plant_spec, load_safety_spec
from fpo_pilot.specs.coverage import Coverage, Use, coverage


def covered(with_safety: bool = True) -> Coverage:
    plant = load_plant_spec("boiler")
    return coverage(plant, load_safety_spec("boiler", plant) if with_safety else None)


def gaps(report: Coverage) -> list[str]:
    return [gap.subject for gap in report.not_covered]


def test_a_signal_lists_everything_that_names_it(project) -> None:
    signal = {view.name: view for view in covered().signals}["T"]
    assert (signal.unit, signal.range, signal.tag, signal.role) == ("degC", (0.0, 120.0), "B1.TI01.PV", "state")
    assert signal.named("observation") == ("signal[0]", "setpoint_error[2]")
    assert signal.named("reward") == ("quality",)
    assert signal.named("limit") == ("T-trip", "T-alarm")
    assert Use("interlock", "hot", "H1") in signal.uses
    assert signal.named("controller") == ("pi(heat)",)
    assert signal.named("sensor") == ("sensors.T",)
    assert [(limit.kind, limit.high) for limit in signal.limits] == [("hard", 100.0), ("soft", 90.0)]


def test_an_action_has_its_limits_and_is_seen_by_previous_action(project) -> None:
    heat = {view.name: view for view in covered().signals}["heat"]
    assert heat.named("observation") == ("previous_action[3]",)
    assert (heat.limits[0].low, heat.limits[0].high, heat.limits[0].rate) == (0.0, 40.0, 2.0)
    assert heat.named("kpi") == ("power",)


def test_a_disturbance_is_used_by_what_drives_it(project) -> None:
    draw = {view.name: view for view in covered().signals}["draw"]
    assert draw.named("disturbance") == ("step[0]",)


def test_a_sound_project_has_no_gap(project) -> None:
    report = covered()
    assert report.unused == ()
    assert report.not_covered == ()


def test_a_signal_that_nothing_names_is_unused(project) -> None:
    project.edit("plant", "  draw: {", "  spare: {unit: K, range: [0, 1], role: measurement}\n  draw: {")
    report = covered()
    assert [gap.subject for gap in report.unused] == ["signals.spare"]
    assert "signals.spare" in gaps(report)  # not observed, too


def test_a_state_without_hard_limit_or_observation_is_a_gap(project) -> None:
    project.edit("safety", "  - {id: level-dry, signal: level, low: 20 cm, kind: hard, hazard: H1}\n", "")
    project.edit("plant", "  - {signal: level}\n", "")
    messages = [gap.message for gap in covered().not_covered if gap.subject == "signals.level"]
    assert messages == [
        "the state level is in no observation: the policy cannot see it",
        "the state level has no hard limit",
    ]


def test_an_action_without_rate_is_a_gap(project) -> None:
    project.edit("safety", "rate: 2 kW/step, ", "")
    project.edit("plant", ", rate: 6 kW/min", "")  # an actuator with a rate of its own needs one in the safety spec
    assert gaps(covered()) == ["actions.heat"]


MODEL = """\
uncertainty: {states: {T: 1 K, level: 1 cm}}
shields:
  - {kind: integrity}
  - {kind: interlock}
  - {kind: predictive, horizon: 20, terminal_set: {T: {high: 60}, level: {low: 0.5}}}
  - {kind: box_rate}
stages:
"""


def test_a_reading_that_an_interlock_acts_on_may_stop_without_notice_where_nothing_says_so(project) -> None:
    project.edit("safety", "stale_after: 2 min, frozen_after: 10", "frozen_after: 10")
    (gap,) = covered().not_covered
    assert gap.subject == "sensors.T.stale_after"
    assert gap.message == "interlock hot acts on T, and no `stale_after` says when its reading is too old"
    project.edit("safety", "  T: {range: [0, 110], frozen_after: 10}\n", "  T: {range: [0, 110]}\n")
    assert gaps(covered()) == ["sensors.T.stale_after", "sensors.T.frozen_after"]
    project.edit("safety", "sensors:\n  T: {range: [0, 110]}\n", "")  # no check of the sensor at all
    assert gaps(covered()) == ["sensors.T.stale_after", "sensors.T.frozen_after"]


def test_a_range_wider_than_the_instrument_and_no_integrity_layer_are_gaps(project) -> None:
    project.edit("safety", "range: [0, 110], stale", "range: [0, 121], stale")
    (gap,) = covered().not_covered
    assert gap.subject == "sensors.T.range"
    assert gap.message == "the range is wider than that of T, 0 to 120: readings beyond are believed"
    project.edit("safety", "range: [0, 121], stale", "range: [0, 120], stale")
    project.edit("safety", "stages:\n", "shields: [{kind: interlock}, {kind: box_rate}]\nstages:\n")
    (gap,) = covered().not_covered
    assert gap.subject == "shields"
    assert gap.message == "interlock hot acts on T, and no integrity layer notices a reading that is none"


def test_a_shield_that_knows_a_model_reads_every_state(project) -> None:
    project.edit("safety", "stages:\n", MODEL)
    report = covered()
    assert gaps(report) == ["sensors.level.stale_after", "sensors.level.frozen_after"]
    assert report.not_covered[0].message.startswith("the predictive shield acts on level, and no")


def test_a_barrier_whose_model_error_is_left_out_takes_it_for_nothing(project) -> None:
    project.edit("safety", "sensors:\n", "sensors:\n  level: {stale_after: 2 min, frozen_after: 10}\n")
    predictive = "predictive, horizon: 20, terminal_set: {T: {high: 60}, level: {low: 0.5}}"
    project.edit("safety", "stages:\n", MODEL.replace(predictive, "barrier, model_error: {T: 0.5 K}"))
    (gap,) = covered().not_covered
    assert gap.subject == "shields[2].model_error.level"
    assert (
        gap.message
        == "the barrier takes its prediction of level for exact: no `model_error` says how far off it may be"
    )


def test_a_hazard_that_nothing_guards_against_is_a_gap(project) -> None:
    text = project.path("safety").read_text(encoding="utf-8")
    project.write("safety", text.replace(", hazard: H1", ""))
    assert gaps(covered()) == [
        "hazards.H1",
        "limits.T-trip",
        "limits.T-alarm",
        "limits.level-dry",
        "interlocks.hot",
    ]


def test_without_a_safety_spec_that_is_the_gap(project) -> None:
    assert gaps(covered(with_safety=False)) == ["safety"]


def test_a_plant_without_stages_cannot_be_rolled_out(project) -> None:
    text = project.path("safety").read_text(encoding="utf-8")
    project.write("safety", text[: text.index("stages:")])
    assert gaps(covered()) == ["stages"]


def test_a_goal_that_names_no_known_hazard_is_a_gap(project) -> None:
    text = project.path("plant").read_text(encoding="utf-8")
    goals = 'goals:\n  - {name: hot, avoid: "T > 95 degC", hazard: H9}\n'
    project.write("plant", text[: text.index("reward:")] + goals + text[text.index("disturbances:") :])
    assert gaps(covered()) == ["goals.hot"]
