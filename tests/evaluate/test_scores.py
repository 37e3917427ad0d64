"""Scores beside a plant: they carry what they were measured on, and say when that has changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fpo_pilot.errors import SpecError
from fpo_pilot.evaluate.scores import Score, Scores, plant_hashes, read_scores, write_scores
from fpo_pilot.plants.plant import Plant


def scores_of(plant: Plant) -> Scores:
    hold = Score(mean=-95.79, low=-95.79, high=-95.79)
    return Scores(plant=plant.name, steps=1000, episodes=8, hashes=plant_hashes(plant), scores={"hold": hold})


def test_scores_are_read_as_they_were_written_and_are_of_this_plant(reactor: Plant, tmp_path: Path) -> None:
    plant_yaml = tmp_path / "plant.yaml"
    assert read_scores(plant_yaml) is None
    written = scores_of(reactor)
    assert write_scores(plant_yaml, written) == tmp_path / "scores.json"
    assert read_scores(plant_yaml) == written
    assert written.stale(reactor) == ()


def test_what_has_changed_since_is_named(reactor: Plant, full_reactor: Plant, tmp_path: Path) -> None:
    scores = scores_of(reactor)
    assert scores.stale(full_reactor) == ("plant",)  # another horizon
    assert scores.stale(replace(reactor, safety=None)) == ("safety",)
    other = tmp_path / "other.py"
    other.write_text("# another model\n", "utf-8")
    assert scores.stale(replace(reactor, dynamics_file=other)) == ("dynamics",)


def test_a_file_that_no_study_wrote_is_told_with_its_place(reactor: Plant, tmp_path: Path) -> None:
    file = write_scores(tmp_path / "plant.yaml", scores_of(reactor))
    data = json.loads(file.read_text("utf-8"))
    data["scores"]["hold"]["mean"] = "good"
    file.write_text(json.dumps(data), "utf-8")
    with pytest.raises(SpecError, match=r"scores\.json: scores\.hold\.mean: found 'good'.*Delete the file"):
        read_scores(tmp_path / "plant.yaml")
