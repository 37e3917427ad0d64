"""Broken specs: each fault is told with its line, its YAML path, what was found, what was expected, and a fix."""

# ruff: noqa: E501  # the table reads best with one case a line

from __future__ import annotations

from typing import NamedTuple

import pytest

from fpo_pilot.errors import SpecError, SpecErrors
from fpo_pilot.specs import load_evaluation_spec, load_plant_spec, load_safety_spec, load_training_spec


class Broken(NamedTuple):
    """One edit of one file, and the error that must come of it."""

    what: str
    kind: str
    old: str
    new: str
    line: int
    where: str
    message: str


P, S, T, E = "plant", "safety", "training", "evaluation"
CASES = (
    # the text itself
    Broken("a tab", P, "  area: {", "\tarea: {", 6, "file", "Indent with spaces"),
    Broken("an open bracket", P, "{value: 2, unit: m**2}", "{value: 2, unit: m**2", 7, "file", "close every bracket"),
    Broken("a key twice", P, "  area: {value: 2", "  area: {value: 1}\n  area: {value: 2", 7, "parameters.area", "line 6 too"),
    Broken("not a number", P, "{value: 2, unit", "{value: .nan, unit", 6, "parameters.area.value", "finite number"),
    Broken("a tag", P, "id: boiler", "id: !!python/name:os.system x", 2, "plant.id", "no tags"),
    Broken("a percent sign bare", P, "unit: m,", "unit: %,", 10, "file", "in quotes"),
    Broken("an alias of itself", P, "id: boiler", "id: &x [*x]", 2, "plant.id[0]", "repeats without end"),
    # keys and types
    Broken("an unknown key", P, "horizon: 60", "horizon: 60, horizn: 3", 4, "timing.horizn", "Did you mean `horizon`?"),
    Broken("an unknown key of a variant", P, "kind: uniform, low", "kind: uniform, lw: 1, low", 26, "episode.start.level.lw", "one of kind, low, high"),
    Broken("a missing key", P, "period: 30 s, ", "", 4, "timing.period", "found nothing, expected the key `period`"),
    Broken("a wrong role", P, "role: disturbance", "role: disturbence", 14, "signals.draw.role", "Did you mean `disturbance`?"),
    Broken("an unknown variant", P, "kind: uniform", "kind: unifrom", 26, "episode.start.level.kind", "Did you mean `uniform`?"),
    Broken("a variant without kind", P, "kind: uniform, ", "", 26, "episode.start.level.kind", "one of fixed, uniform, normal"),
    Broken("a text for a number", P, "weight: -1}", "weight: heavy}", 21, "reward[0].weight", "expected a number"),
    Broken("true for a number", P, "weight: -1}", "weight: true}", 21, "reward[0].weight", "found True, expected a number"),
    Broken("half a step", P, "horizon: 60", "horizon: 60.5", 4, "timing.horizon", "a whole number"),
    Broken("no list", P, "range: [0, 40]", "range: 40", 14, "signals.draw.range", "expected a list"),
    Broken("three ends", P, "range: [0, 40]", "range: [0, 40, 50]", 14, "signals.draw.range", "2 entries (there are 3)"),
    Broken("a bad name", P, "  draw: {", "  draw-off: {", 14, "signals.draw-off", "letters, digits and _"),
    Broken("a negative period", P, "30 s", "-30 s", 4, "timing.period", "found -30.0, expected a number above 0"),
    Broken("an old version", P, "schema_version: 1", "schema_version: 0", 1, "schema_version", "expected 1"),
    # units
    Broken("an unknown unit", P, "unit: L/min", "unit: L/mn", 14, "signals.draw.unit", "Did you mean L/min"),
    Broken("a wrong dimension", P, "start: 10 kW", "start: 10 kWh", 11, "signals.heat.start", "kWh cannot be converted to kW"),
    Broken("a rate without time", P, "rate: 6 kW/min", "rate: 6 m/min", 11, "signals.heat.rate", "a rate in kW/step"),
    Broken("a difference for a point", P, "schedule: [{step: 0, value: 60}", "schedule: [{step: 0, value: 60 delta_degC}", 12, "signals.T_sp.schedule[0].value", "is a difference"),
    Broken("a third of a step", P, "at_step: 10", "at_step: 10 s", 24, "disturbances[0].at_step", "0.333333 periods"),
    Broken("a period in metres", P, "30 s", "30 m", 4, "timing.period", "a time in s"),
    # rules of a plant
    Broken("a range upside down", P, "range: [0, 50]", "range: [50, 0]", 11, "signals.heat.range", "low below high"),
    Broken("no start of an action", P, "start: 10 kW, ", "", 11, "signals.heat.start", "value at the start"),
    Broken("a start outside", P, "start: {T: 50", "start: {T: 150", 26, "episode.start.T", "0 to 120 degC"),
    Broken("no start of a state", P, "{T: 50, level", "{level", 26, "episode.start.T", "every state"),
    Broken("a schedule that starts late", P, "{step: 0, value: 60}", "{step: 2, value: 60}", 12, "signals.T_sp.schedule[0].step", "found 2, expected 0"),
    Broken("a schedule out of order", P, "{step: 20, value", "{step: 0, value", 12, "signals.T_sp.schedule[1].step", "a step after 0"),
    Broken("too few steady actions", P, "[{heat: 12}, {heat: 15}]", "[{heat: 12}]", 13, "signals.T_sp.steady_actions", "2 points"),
    Broken("an unknown signal", P, "{signal: level}", "{signal: levle}", 17, "observations[1].signal", "Did you mean `level`?"),
    Broken("two kinds of observation", P, "{signal: level}", "{signal: level, term: progress}", 17, "observations[1]", "exactly one"),
    Broken("no reference", P, "reference: T_sp, scale", "scale", 18, "observations[2].reference", "found nothing, expected one of T_sp"),
    Broken("reward and goals", P, "kpi:", "goals: [{name: g, reach: 'T > 60 degC'}]\nkpi:", 28, "goals", "both `reward` and `goals`"),
    Broken("a goal that is never asked", P, "kpi:", "goals: [{name: g, drive: 'T > 60 degC', within_steps: 61, weight: 0}]\nkpi:", 28, "goals[0].within_steps", "at most the horizon, 60"),
    Broken("minimize without a weight", P, "kpi:", "goals: [{name: g, minimize: heat, weight: 0}]\nkpi:", 28, "goals[0].weight", "write it under `kpi:`"),
    Broken("a reward with a unit", P, "(delta(heat) / 5 kW)**2", "delta(heat)**2", 22, "reward[1].expression", "Divide by a scale"),
    Broken("a name in a reward", P, "(T - T_sp) / 10 K", "(T - T_set) / 10 K", 21, "reward[0].expression", "Did you mean `T_sp`?"),
    Broken("a call", P, "power: heat", "power: open(heat)", 28, "kpi.power", "one of the functions abs"),
    Broken("no unit in a condition", P, "level < 1 cm", "level < 1", 27, "episode.ends_when", "one in m"),
    Broken("a signal named like a function", P, "  draw: {", "  delta: {unit: K, range: [0, 1], role: measurement}\n  draw: {", 14, "signals.delta", "a word of the expression language"),
    Broken("a parameter named like a signal", P, "  area: {", "  draw: {", 6, "parameters.draw", "no signal has"),
    Broken("a name unlike its folder", P, "id: boiler", "id: kettle", 2, "plant.id", "boiler, the name of its folder"),
    Broken("one scale for several units", P, "{term: previous_action}", "{term: previous_action, scale: [0 kW, 1]}", 19, "observations[3].scale[0]", "add `of:`"),
    Broken("a disturbance of nothing", P, "channel: draw", "channel: drew", 24, "disturbances[0].channel", "Did you mean `draw`?"),
    Broken("a missing dynamics file", P, "file: boiler.py", "file: boyler.py", 3, "dynamics.file", "Did you mean `boiler.py`?"),
    Broken("a dynamics file far away", P, "file: boiler.py", "file: ../../../x.py", 3, "dynamics.file", "beside the spec"),
    # rules of a safety spec
    Broken("another plant", S, "plant: boiler", "plant: cooler", 2, "plant", "expected boiler"),
    Broken("an action without limits", S, "  heat: {low", "  heap: {low", 18, "actions.heat", "limits for every action"),
    Broken("a limit outside", S, "signal: T, high: 100,", "signal: T, high: 130,", 15, "limits[0].high", "0 to 120 degC"),
    Broken("a limit without a bound", S, "low: 20 cm, ", "", 17, "limits[2]", "`low`, `high` or both"),
    Broken("a soft limit outside the hard one", S, "363.15 K", "383.15 K", 16, "limits[1].high", "below the hard limit T-trip, 100"),
    Broken("an unknown hazard", S, "{id: T-trip, signal: T, high: 100, kind: hard, hazard: H1}", "{id: T-trip, signal: T, high: 100, kind: hard, hazard: H2}", 15, "limits[0].hazard", "hazard log (H1)"),
    Broken("a fallback outside", S, "fallback: 0", "fallback: 45", 19, "actions.heat.fallback", "0 to 40 kW"),
    Broken("a rate beyond the actuator", S, "rate: 2 kW/step", "rate: 20", 19, "actions.heat.rate", "actuator's own rate, 3"),
    Broken("an interlock that cannot rest", S, "T < 85 degC", "T < 99 degC", 21, "interlocks[0].reset_when", "can hold while"),
    Broken("a vote that cannot be won", S, 'trip_when: "T > 95 degC"', 'vote: {least: 3, of: [T > 95 degC, T > 96 degC]}', 21, "interlocks[0].vote.least", "at most 2"),
    Broken("a vote and a condition", S, 'trip_when: "T > 95 degC"', 'trip_when: "T > 95 degC", vote: {least: 1, of: [T > 95 degC, T > 96 degC]}', 21, "interlocks[0].trip_when", "`trip_when` or `vote`"),
    Broken("an interlock that nothing trips", S, 'trip_when: "T > 95 degC", ', "", 21, "interlocks[0].trip_when", "found nothing"),
    Broken("a vote beside the reset", S, 'trip_when: "T > 95 degC"', 'vote: {least: 1, of: [T > 95 degC, T > 80 degC]}', 21, "interlocks[0].reset_when", "can hold while"),
    Broken("a vote on a word", S, 'trip_when: "T > 95 degC"', 'vote: {least: 1, of: [T > 95 degC, TT > 95 degC]}', 21, "interlocks[0].vote.of[1]", "Did you mean"),
    Broken("one condition twice", S, 'trip_when: "T > 95 degC"', 'vote: {least: 2, of: [T > 95 degC, T > 95 degC]}', 21, "interlocks[0].vote.of[1]", "each name once"),
    Broken("an interlock that looks at the model", S, "T > 95 degC", "draw > 9 L/min", 21, "interlocks[0].trip_when", "not measured"),
    Broken("an interlock beyond the limits", S, "set: {heat: 0}", "set: {heat: 44}", 21, "interlocks[0].set.heat", "0 to 40"),
    Broken("an always stale sensor", S, "2 min", "2 s", 23, "sensors.T.stale_after", "control period, 30 s"),
    Broken("a loop on nothing", S, "measurement: T", "measurement: TT", 26, "incumbent.loops[0].measurement", "(T, level)"),
    Broken("no loop", S, "[{action: heat, measurement: T, reference: T_sp, gain: 500 W/K, integral_time: 5 min, bias: 10}]", "[]", 26, "incumbent.loops", "nothing for heat"),
    Broken("a gain of another kind", S, "500 W/K", "500 W", 26, "incumbent.loops[0].gain", "W cannot be converted"),
    Broken("authority that falls", S, "[0.1, 30 %]", "[0.3, 10 %]", 29, "stages[1].authority[1]", "above 0.3"),
    Broken("stages out of order", S, "name: full", "name: shadow", 30, "stages[2].name", "each name once"),
    Broken("an undecidable gate", S, "range: [-5, 5]", "range: [5, -5]", 30, "stages[2].gates[0].range", "low below high"),
    # training and evaluation
    Broken("an algorithm twice", T, "algorithm: gaussian_ppo, clip", "algorithm: fpo, clip", 4, "algorithms[1].algorithm", "each name once"),
    Broken("an unknown algorithm", T, "algorithm: gaussian_ppo", "algorithm: gaussian", 4, "algorithms[1].algorithm", "gaussian_ppo"),
    Broken("a setting of the other algorithm", T, "gaussian_ppo, clip: 0.1", "gaussian_ppo, flow_steps: 3", 4, "algorithms[1].flow_steps", "an unknown key"),
    Broken("steps for no update", T, "total_steps: 20000", "total_steps: 200", 3, "algorithms[0].total_steps", "at least"),
    Broken("a parameter of nothing", E, "area: 1.5", "aria: 1.5", 5, "scenarios[1].parameters.aria", "Did you mean `area`?"),
    Broken("a fault after the end", E, "from_step: 10 step, to_step: 10 min", "from_step: 70", 6, "scenarios[2].faults[0].from_step", "before the horizon, 60"),
    Broken("more than all", E, "50 %", "150 %", 7, "noise_scales[1]", "found 1.5, expected a number of at most 1"),
)  # fmt: skip


def load(kind: str) -> object:
    if kind == "training":
        return load_training_spec("boiler")
    plant = load_plant_spec("boiler")
    return {"safety": lambda: load_safety_spec("boiler", plant), "evaluation": lambda: load_evaluation_spec(plant)}.get(
        kind, lambda: plant
    )()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.what}")
def test_a_broken_spec_says_where_and_what_and_how(project, case: Broken) -> None:
    file = project.edit(case.kind, case.old, case.new)
    with pytest.raises(SpecErrors) as raised:
        load(case.kind)
    errors = [error for error in raised.value.errors if error.where == case.where]
    assert errors, f"no error at {case.where}; there are:\n{raised.value}"
    assert errors[0].line == case.line
    assert errors[0].file == file
    assert case.message in str(errors[0])
    assert str(errors[0]).startswith(f"{file}:{case.line}: {case.where}: found ")
    assert errors[0].expected
    assert errors[0].fix.endswith((".", "?"))


@pytest.mark.parametrize("case", [c for c in CASES if c.what not in {"an action without limits", "stages out of order"}],
                         ids=lambda case: f"{case.kind}: {case.what}")  # fmt: skip
def test_one_fault_gives_one_error(project, case: Broken) -> None:
    project.edit(case.kind, case.old, case.new)
    with pytest.raises(SpecErrors) as raised:
        load(case.kind)
    allowed = {"an unknown key of a variant": 1, "a bad name": 2, "a disturbance of nothing": 1}
    assert len(raised.value.errors) <= allowed.get(case.what, 1), str(raised.value)


def test_all_faults_of_a_file_are_told_at_once_in_the_order_of_lines(project) -> None:
    project.edit("plant", "30 s", "30 m")  # a unit
    project.edit("plant", "role: disturbance, start: 5", "role: disturbance, start: 5, colour: red")  # a key
    project.edit("plant", "{signal: level}", "{signal: levle}")  # a rule
    project.edit("plant", "weight: -1}", "weight: heavy}")  # a type
    project.edit("plant", "(delta(heat) / 5 kW)**2", "delta(heat)**2")  # an expression, in the entry after it
    with pytest.raises(SpecErrors) as raised:
        load_plant_spec("boiler")
    assert [(error.line, error.where) for error in raised.value.errors] == [
        (4, "timing.period"),
        (14, "signals.draw.colour"),
        (17, "observations[1].signal"),
        (21, "reward[0].weight"),
        (22, "reward[1].expression"),
    ]
    assert str(raised.value).count("\n") == len(raised.value.errors) - 1


def test_a_missing_section_does_not_hide_the_other_faults(project) -> None:
    project.edit("safety", "incumbent:\n  kind: pi\n", "incumbant:\n  kind: pi\n")
    project.edit("safety", "rate: 2 kW/step", "rate: 2 kg")
    with pytest.raises(SpecErrors) as raised:
        load("safety")
    assert [error.where for error in raised.value.errors] == ["incumbent", "actions.heat.rate", "incumbant"]


def test_an_empty_file_a_list_and_a_missing_reading_right_are_told(project) -> None:
    for text, message in (
        ("", "an empty file"),
        ("# nothing\n", "an empty file"),
        ("- 1\n", "a list"),
        ("word\n", "a single value"),
    ):
        project.write("plant", text)
        with pytest.raises(SpecErrors, match=message):
            load_plant_spec("boiler")


def test_a_file_that_is_not_utf_8_names_the_line_and_the_byte(project) -> None:
    project.path("plant").write_bytes(b"schema_version: 1\n# \x83{\x83C\x83\x89\n")
    with pytest.raises(SpecErrors, match=r"plant\.yaml:2: file: found the byte 0x83, expected text in UTF-8"):
        load_plant_spec("boiler")


def test_a_byte_order_mark_does_no_harm(project) -> None:
    text = project.path("plant").read_text(encoding="utf-8")
    project.path("plant").write_text("\ufeff" + text, encoding="utf-8")
    assert load_plant_spec("boiler").plant.id == "boiler"


def test_a_bomb_of_aliases_is_refused(project) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    project.write("plant", "\n".join(lines))
    with pytest.raises(SpecErrors) as raised:
        load_plant_spec("boiler")
    assert "repeats without end" in str(raised.value)


def test_brackets_without_end_are_refused(project) -> None:
    project.write("plant", "a: " + "[" * 5000)
    with pytest.raises(SpecErrors):
        load_plant_spec("boiler")


def test_errors_of_a_spec_are_spec_errors_and_value_errors(project) -> None:
    project.edit("plant", "30 s", "30 m")
    with pytest.raises(ValueError, match=r"timing\.period") as raised:
        load_plant_spec("boiler")
    assert isinstance(raised.value, SpecErrors)
    assert all(isinstance(error, SpecError) for error in raised.value.errors)
