"""Plants are loaded by path, and told apart when they do not fit their spec."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fpo_pilot.errors import FpoPilotError, PlantError
from fpo_pilot.plants.load import dynamics_file, load_dynamics, load_plant
from fpo_pilot.specs.content import shipped_root

Edit = Callable[[str, str], Path]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a copy of cstr."""
    folder = tmp_path / "mine" / "envs" / "cstr"
    folder.mkdir(parents=True)
    (tmp_path / "mine" / "safety").mkdir()
    for name in ("plant.yaml", "cstr.py"):
        shutil.copyfile(shipped_root() / "envs" / "cstr" / name, folder / name)
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize("name", ["cstr", "cstr_safety", "quad_tank", "quad_tank_minus", "quad_tank_plus"])
def test_every_shipped_plant_loads(name: str) -> None:
    plant = load_plant(name)
    assert plant.name == name
    assert plant.safety is not None
    assert plant.dynamics_file is not None
    assert plant.dynamics_file.is_file()


def test_a_plant_is_found_by_name_file_and_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for given in ("cstr", project, project / "plant.yaml"):
        assert load_plant(given).dynamics_file == project / "cstr.py"


def test_parameters_arrive_in_the_unit_of_the_code(project: Path) -> None:
    edit(project / "plant.yaml", "flow: {value: 100, unit: L/min", "flow: {value: 6, unit: m**3/h")
    edit(
        project / "plant.yaml",
        "feed_temperature: {value: 350, unit: K}",
        "feed_temperature: {value: 76.85, unit: degC}",
    )
    plant = load_plant(project)
    values = dict(zip(plant.parameter_names, plant.nominal_parameters(), strict=True))
    assert values["flow"] == pytest.approx(100.0)
    assert values["feed_temperature"] == pytest.approx(350.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class: Cstr", "class: Reactor", r"no class 'Reactor' in cstr.py, expected one of Cstr"),
        ("flow: {value: 100, unit: L/min", "flow: {value: 100, unit: L", "parameters.flow is in L, expected .* L/min"),
        ("  volume: {value: 100, unit: L}\n", "", "lack volume"),
        ("  volume: {value", "  spare: {value: 1, unit: L}\n  volume: {value", "have spare too many"),
        ("role: action\n    start: 300 K", "role: action\n    start: 27 degC", None),
    ],
)
def test_a_spec_that_does_not_fit_the_class_is_told(project: Path, old: str, new: str, message: str | None) -> None:
    edit(project / "plant.yaml", old, new)
    if message is None:
        assert load_plant(project).action_start[0] == pytest.approx(300.15)
        return
    with pytest.raises(PlantError, match=message):
        load_plant(project)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('("Ca", "T")', '("T", "Ca")', "expected \\(T, Ca\\).*same order"),
        ('("Tc",)', '("Tj",)', "signals of role action are \\(Tc\\), expected \\(Tj\\)"),
        ('time_unit: ClassVar[str] = "min"', 'time_unit: ClassVar[str] = "fortnight"', "expected one of s, min, h"),
        ('"T": "K", "Tc"', '"T": "degC", "Tc"', "signals.T.unit is K, expected degC"),
        ("    def derivative", "    def derivate", "neither `derivative`"),
        ("    actions: ClassVar", "    inputs: ClassVar", "has no `actions`"),
    ],
)
def test_a_class_that_does_not_fit_the_spec_is_told(project: Path, old: str, new: str, message: str) -> None:
    edit(project / "cstr.py", old, new)
    with pytest.raises(PlantError, match=message):
        load_plant(project)


def test_a_file_that_does_not_run_is_told_with_its_line(project: Path) -> None:
    (project / "cstr.py").write_text("x = 1\ny = x / 0\n", "utf-8")
    with pytest.raises(PlantError, match=r"cstr\.py:2: found ZeroDivisionError"):
        load_plant(project)
    (project / "cstr.py").write_text("x = 1\nclass Cstr(:\n", "utf-8")
    with pytest.raises(PlantError, match=r"cstr\.py:2: found SyntaxError"):
        load_plant(project)


def test_code_outside_the_project_is_refused(project: Path, tmp_path: Path) -> None:
    shutil.copyfile(project / "cstr.py", tmp_path / "cstr.py")
    edit(project / "plant.yaml", "file: cstr.py", "file: ../../../cstr.py")
    with pytest.raises(FpoPilotError, match=r"dynamics\.file"):
        load_plant(project)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match=r"found no file .*nothing\.py"):
        load_dynamics(tmp_path / "nothing.py", "Cstr")


def test_two_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "same.py").write_text(f"class Same:\n    number = {number}\n", "utf-8")
    assert [load_dynamics(tmp_path / str(n) / "same.py", "Same").number for n in (1, 2)] == [1, 2]


def test_what_runs_is_what_stands_in_the_file_and_no_cache_is_left(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    for number in (1, 2):  # of one length and within one second, which a cached compilation would not notice
        file.write_text(f"class Plain:\n    number = {number}\n", "utf-8")
        assert load_dynamics(file, "Plain").number == number
    assert [path.name for path in tmp_path.iterdir()] == ["plain.py"]


def test_a_path_out_of_the_project_is_refused_again_before_anything_runs(project: Path) -> None:
    spec = load_plant(project).spec
    outside = spec.model_copy(update={"dynamics": spec.dynamics.model_copy(update={"file": "../../../evil.py"})})
    with pytest.raises(PlantError, match="outside the project"):
        dynamics_file(project / "plant.yaml", outside)
    beside = spec.model_copy(update={"dynamics": spec.dynamics.model_copy(update={"file": "../other/other.py"})})
    assert dynamics_file(project / "plant.yaml", beside) == project.parent / "other" / "other.py"
