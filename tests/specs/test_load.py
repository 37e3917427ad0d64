"""Loading sound specs: numbers arrive in engineering units, times in seconds, and nothing is executed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fpo_pilot.errors import SpecError, SpecErrors
from fpo_pilot.specs import (
    FpoSpec,
    GaussianPpoSpec,
    load_evaluation_spec,
    load_plant_spec,
    load_safety_spec,
    load_training_spec,
    spec_hash,
)
from fpo_pilot.specs.plant import Fixed, PlantSpec, Uniform
from fpo_pilot.specs.safety import PiController, SafetySpec


def load_safety(plant: str = "boiler") -> SafetySpec:
    safety = load_safety_spec(plant, load_plant_spec(plant))
    assert safety is not None
    return safety


def test_every_number_of_a_plant_arrives_in_the_unit_of_its_signal(project) -> None:
    plant = load_plant_spec("boiler")
    assert plant.timing.period == 30.0
    assert plant.signals["level"].range == (0.0, 2.0)  # 200 cm
    assert plant.signals["heat"].rate == 3.0  # 6 kW/min in half a minute
    assert plant.signals["heat"].start == 10.0
    assert plant.signals["T_sp"].schedule[1].value == 70.0  # 343.15 K
    assert plant.observations[2].scale == (-10.0, 10.0)  # a difference of 10 K is one of 10 °C
    assert plant.disturbances[0].size == 5.0  # 0.3 m³/h
    assert plant.episode.start == {"T": Fixed(value=50.0), "level": Uniform(low=0.9, high=1.1)}


def test_a_spread_in_kelvin_of_a_celsius_signal_is_not_shifted(project) -> None:
    noise = load_plant_spec("boiler").signals["T"].sensor.noise
    assert noise is not None
    assert noise.std == 0.3


@pytest.mark.parametrize(
    ("range_text", "std_text", "low", "std"),
    [("[25 degC, 400]", "0.3 degC", 298.15, 0.3), ("[32 degF, 400 K]", "1.8 delta_degF", 273.15, 1.0)],
)
def test_a_range_is_made_of_points_and_a_noise_of_differences(project, range_text, std_text, low, std) -> None:
    project.edit(
        "plant",
        "[0, 120], role: state, sensor: {noise: {std: 0.3 K}}",
        f"{range_text}, role: state, sensor: {{noise: {{std: {std_text}}}}}",
    )
    project.edit("plant", "T: {tag: B1.TI01.PV, unit: degC", "T: {tag: B1.TI01.PV, unit: K")
    project.edit("plant", "T_sp: {unit: degC, range: [0, 120]", "T_sp: {unit: K, range: [0, 420]")
    project.edit("plant", "start: {T: 50", "start: {T: 50 degC")
    signal = load_plant_spec("boiler").signals["T"]
    assert signal.range[0] == pytest.approx(low, abs=1e-12)
    assert signal.sensor.noise is not None
    assert signal.sensor.noise.std == pytest.approx(std, abs=1e-12)


def test_a_parameter_may_carry_its_unit_in_its_value(project) -> None:
    loss = load_plant_spec("boiler").parameters["loss"]
    assert (loss.value, loss.unit) == (90.0, "W/K")
    assert loss.uncertainty is not None
    assert loss.uncertainty.half_width == 0.05


def test_an_absolute_uncertainty_is_in_the_unit_of_its_parameter(project) -> None:
    project.edit(
        "plant",
        "{value: 2, unit: m**2}",
        "{value: 2, unit: m**2, uncertainty: {kind: absolute, half_width: 500 cm**2}}",
    )
    uncertainty = load_plant_spec("boiler").parameters["area"].uncertainty
    assert uncertainty is not None
    assert uncertainty.half_width == 0.05


@pytest.mark.parametrize("text", ["20", "20 step", "10 min", "600 s"])
def test_a_number_of_steps_may_be_given_as_a_time(project, text: str) -> None:
    project.edit("plant", "{step: 20, value", f"{{step: {text}, value")
    assert load_plant_spec("boiler").signals["T_sp"].schedule[1].step == 20


def test_every_number_of_a_safety_spec_is_converted(project) -> None:
    safety = load_safety()
    assert [limit.high for limit in safety.limits] == [100.0, 90.0, None]
    assert safety.limits[2].low == 0.2
    assert safety.actions["heat"].rate == 2.0
    assert safety.sensors["T"].stale_after == 120.0
    assert safety.stages[0].gates[0].limit_rate == 0.2  # type: ignore[union-attr]
    assert safety.stages[1].authority == (0.1, 0.3)
    assert isinstance(safety.incumbent, PiController)
    assert safety.incumbent.loops[0].gain == 0.5  # 500 W/K in kW per °C
    assert safety.incumbent.loops[0].integral_time == 300.0


def test_a_goal_is_scaled_in_the_unit_of_its_margin(project) -> None:
    text = project.path("plant").read_text()
    start, end = text.index("reward:"), text.index("disturbances:")
    goals = (
        'goals:\n  - {name: hot, avoid: "T > 95 degC", scale: 5 K}\n  - {name: low, minimize: level, scale: 50 cm}\n'
    )
    project.write("plant", text[:start] + goals + text[end:])
    assert [goal.scale for goal in load_plant_spec("boiler").goals] == [5.0, 0.5]


def test_training_takes_the_entry_of_the_algorithm_and_defaults_for_the_rest(project) -> None:
    flow, gaussian = load_training_spec("boiler"), load_training_spec("boiler", "gaussian_ppo")
    assert isinstance(flow, FpoSpec)
    assert isinstance(gaussian, GaussianPpoSpec)
    assert (flow.total_steps, flow.actor.width, flow.actor.depth) == (20000, 32, 3)
    assert gaussian.clip == 0.1


def test_without_files_training_and_evaluation_are_the_defaults(project) -> None:
    for kind in ("training", "evaluation", "safety"):
        project.path(kind).unlink()
    assert load_training_spec("boiler") == FpoSpec()
    assert load_training_spec("boiler", "gaussian_ppo") == GaussianPpoSpec()
    assert load_evaluation_spec("boiler").episodes == 32
    assert load_safety_spec("boiler", load_plant_spec("boiler")) is None


def test_an_evaluation_is_converted_with_the_units_of_the_plant(project) -> None:
    evaluation = load_evaluation_spec(load_plant_spec("boiler"))
    assert evaluation.scenarios[1].start["T"] == Fixed(value=20.0)
    fault = evaluation.scenarios[2].faults[0]
    assert (fault.value, fault.from_step, fault.to_step) == (2.0, 10, 20)
    assert evaluation.noise_scales == (0.0, 0.5, 1.0)


def test_a_spec_cannot_be_changed_after_loading(project) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_plant_spec("boiler").timing.period = 1.0  # type: ignore[misc]


def test_loading_never_runs_the_dynamics(project) -> None:
    load_plant_spec("boiler")  # boiler.py raises when it is run


def test_a_dump_of_a_spec_can_be_read_again(project) -> None:
    plant, safety = load_plant_spec("boiler"), load_safety()
    assert PlantSpec.model_validate(plant.model_dump(mode="json", by_alias=True)) == plant
    assert SafetySpec.model_validate_json(safety.model_dump_json(by_alias=True)) == safety


def test_the_hash_is_of_what_a_spec_says_not_of_how_it_is_written(project) -> None:
    before = spec_hash(load_plant_spec("boiler"))
    project.edit(
        "plant", "level: {kind: uniform, low: 0.9, high: 110 cm}", "level: {high: 1.1, low: 900 mm, kind: uniform}"
    )
    project.edit("plant", "kpi: {power: heat}", "kpi: {power: heat}  # a comment")
    project.edit("plant", "size: 0.3 m3/h", "size: 5 L/min")
    assert spec_hash(load_plant_spec("boiler")) == before
    project.edit("plant", "size: 5 L/min", "size: 6 L/min")
    assert spec_hash(load_plant_spec("boiler")) != before


def test_the_hash_is_the_same_on_every_machine() -> None:
    assert spec_hash(GaussianPpoSpec(clip=0.25)) == spec_hash(GaussianPpoSpec.model_validate({"clip": "0.25"}))
    assert spec_hash(FpoSpec()) != spec_hash(GaussianPpoSpec())
    assert len(spec_hash(FpoSpec())) == 64


def test_a_plant_is_found_by_name_folder_and_file(project, tmp_path: Path) -> None:
    by_name = load_plant_spec("boiler")
    assert load_plant_spec(project.path("plant").parent) == by_name
    assert load_plant_spec(str(project.path("plant"))) == by_name


def test_a_safety_file_can_be_given_by_its_own_path(project) -> None:
    plant = load_plant_spec("boiler")
    assert load_safety_spec(project.path("safety"), plant) == load_safety()


def test_an_unknown_plant_lists_those_there_are_and_suggests_one(project) -> None:
    with pytest.raises(SpecError, match=r"no plant 'boilr'.*boiler.*Did you mean boiler\?"):
        load_plant_spec("boilr")


def test_an_unknown_algorithm_lists_those_there_are(project) -> None:
    with pytest.raises(SpecError, match="expected one of fpo, fpo_plus_plus, dppo, gaussian_ppo, flow_q"):
        load_training_spec("boiler", "sac")  # type: ignore[arg-type]


def test_a_project_hides_the_shipped_plant_of_the_same_name_and_sees_the_others(project) -> None:
    from fpo_pilot.specs import list_plants

    assert list_plants()["boiler"] == project.root / "envs/boiler/plant.yaml"


def test_a_number_that_overflows_is_not_a_number(project) -> None:
    project.edit("plant", "weight: -0.1", "weight: -1e400")
    with pytest.raises(SpecErrors, match="finite number"):
        load_plant_spec("boiler")
    assert math.isinf(float("1e400"))


def test_goals_of_weight_zero_stand_beside_a_reward_but_not_in_its_place(project) -> None:
    file = Path("envs") / "boiler" / "plant.yaml"  # of the project one stands in
    text = file.read_text("utf-8")
    goal = "goals: [{name: warm, drive: 'T > 50 degC', within_steps: 20, weight: 0}]\n"
    file.write_text(text + goal, "utf-8")
    assert [(g.name, g.weight) for g in load_plant_spec("boiler").goals] == [("warm", 0.0)]
    begin, end = text.index("reward:"), text.index("disturbances:")
    file.write_text(text[:begin] + text[end:] + goal, "utf-8")
    with pytest.raises(SpecErrors, match="found only goals of weight 0, expected `reward` or `goals`"):
        load_plant_spec("boiler")
