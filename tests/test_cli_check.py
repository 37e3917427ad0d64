"""``fpo-pilot check --deep``: a table and a document of questions, and 1 where an answer is no."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import fpo_pilot
from fpo_pilot import cli
from fpo_pilot.certification.record import read_record, write_record
from fpo_pilot.certification.validate import binding_of
from fpo_pilot.plants.load import load_plant
from fpo_pilot.specs import content


def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fpo-pilot", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capfd.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, captured.out, captured.err


def test_a_sound_plant_is_told_with_what_was_found_and_expected(monkeypatch, capfd) -> None:
    code, out, err = call(monkeypatch, capfd, "check", "--plant", "grid_world", "--deep", "--steps", "4", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["steps"] == 4
    answers = {answer["name"]: answer for answer in told["plants"]["grid_world"]}
    assert len(answers) == 18
    types = answers["float32 gives the trajectory of float64"]
    assert types["passed"]
    assert types["expected"] == "at most 0.0001 of the range"
    code, out, _ = call(monkeypatch, capfd, "check", "grid_world", "--deep", "--steps", "4")
    assert code == 0
    assert "at most 0.0001 of the range" in out
    assert "FAIL" not in out


def test_a_plant_that_fails_is_named_with_its_question_and_the_exit_code_is_one(monkeypatch, capfd, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, capfd, "init", "mine", "--from", "cstr")[0] == 0
    monkeypatch.chdir(tmp_path / "mine")
    file = Path("envs/cstr/plant.yaml")
    file.write_text(file.read_text("utf-8").replace("range: [0, 1]", "range: [0, 0.801]", 1), "utf-8")
    code, out, _ = call(monkeypatch, capfd, "check", "--deep", "--steps", "5")  # all of the project: this one
    assert code == 1
    assert "cstr: FAILED: no state leaves its range without a trip. Correct the plant" in out
    assert "without a trip" in out


def test_all_means_those_that_ship_too(monkeypatch, capfd, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, capfd, "init", "mine", "--from", "cstr")
    monkeypatch.chdir(tmp_path / "mine")
    code, out, _ = call(monkeypatch, capfd, "check", "--all", "--json")
    assert code == 0
    assert {one["plant"] for one in json.loads(out)} == set(content.list_plants())


def test_a_certificate_is_told_and_a_changed_spec_makes_it_stale(monkeypatch, capfd, tmp_path) -> None:
    root = content.shipped_root()
    for part in ("envs/cstr_late", "envs/cstr", "safety/certificates"):
        shutil.copytree(root / part, tmp_path / part)
    shutil.copy(root / "safety/cstr_late.yaml", tmp_path / "safety/cstr_late.yaml")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "safety/certificates/cstr_late.json"
    record = read_record(path)  # bound to the shields as they are now, whenever it was made
    now = {"binding": binding_of(load_plant("cstr_late")), "fpo_pilot_version": fpo_pilot.__version__}
    write_record(path, record.model_copy(update=now))
    assert "certificate: valid for these specs" in call(monkeypatch, capfd, "check", "--plant", "cstr_late")[1]
    file = tmp_path / "safety/cstr_late.yaml"
    text = file.read_text("utf-8")
    assert "high: 350" in text
    file.write_text(text.replace("high: 350", "high: 351", 1), "utf-8")
    assert "certificate: STALE" in call(monkeypatch, capfd, "check", "--plant", "cstr_late")[1]
    path.write_text(path.read_text("utf-8").replace('"verdict":"certified"', '"verdict":"refused"'), "utf-8")
    assert "certificate: ALTERED" in call(monkeypatch, capfd, "check", "--plant", "cstr_late")[1]
    shutil.rmtree(tmp_path / "safety/certificates")
    code, out, _ = call(monkeypatch, capfd, "check", "--plant", "cstr_late", "--json")
    assert (code, json.loads(out)[0]["certificate"]) == (0, "absent")
