"""Where specs are found: first in the project one stands in, then in the content that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpo_pilot.errors import SpecError
from fpo_pilot.specs import content


def test_the_project_is_found_from_any_folder_in_it(project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root / "envs/boiler")
    assert content.project_root() == project.root
    assert content.find_plant("boiler") == project.path("plant")


def test_a_folder_with_envs_alone_is_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "envs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert content.project_root() is None
    (tmp_path / "fpo-pilot.toml").touch()
    assert content.project_root() == tmp_path


def test_the_safety_spec_is_found_by_the_folder_of_its_plant(project) -> None:
    assert content.find_safety(project.path("plant")) == project.path("safety")
    project.path("safety").unlink()
    assert content.find_safety(project.path("plant")) is None


def test_a_plant_outside_envs_has_no_safety_spec(project, tmp_path: Path) -> None:
    lone = tmp_path / "boiler"
    lone.mkdir()
    (lone / "plant.yaml").write_text("x: 1")
    assert content.find_plant(lone) == lone / "plant.yaml"
    assert content.find_safety(lone / "plant.yaml") is None


def test_a_path_that_is_not_there_says_what_there_is(project) -> None:
    with pytest.raises(SpecError, match="boiler") as raised:
        content.find_plant(Path("nowhere/plant.yaml"))
    assert "as NAME/plant.yaml" in raised.value.fix


def test_the_texts_of_reports_ship_unless_the_project_brings_its_own(project) -> None:
    assert content.find_text_folder() == content.shipped_root() / "reports"
    (project.root / "reports/text").mkdir(parents=True)
    assert content.find_text_folder() == project.root / "reports"


def test_a_plant_of_the_project_hides_the_shipped_one(project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    for name in ("boiler", "other"):
        (shipped / "envs" / name).mkdir(parents=True)
        (shipped / "envs" / name / "plant.yaml").touch()
    monkeypatch.setattr(content, "shipped_root", lambda: shipped)
    plants = content.list_plants()
    assert plants["boiler"] == project.path("plant")
    assert plants["other"] == shipped / "envs/other/plant.yaml"
    assert list(plants) == ["boiler", "other"]
