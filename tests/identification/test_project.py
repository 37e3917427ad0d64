"""What identify writes is a plant like any other: it loads, conforms, and tells its errors in both languages."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fpo_pilot import cli, load_plant
from fpo_pilot.identification import residual
from fpo_pilot.plants.check import check_plant
from fpo_pilot.specs import load_evaluation_spec
from fpo_pilot.specs.content import shipped_root

PLANT = """
schema_version: 1
plant:
  id: mixer
  title: {en: Mixer, ja: 混合槽}
timing: {period: 10 s, horizon: 60}
signals:
  T: {label: {en: Temperature, ja: 温度}, unit: degC, range: [0, 100], role: measurement, sensor: {bias: 0.5, noise: {std: 0.1}}}
  level: {unit: "%", range: [0, 100], role: state}
  hidden: {unit: "1", range: [0, 1], role: state, measured: false}
  rain: {unit: "1", range: [0, 1], role: disturbance, start: 0.0}
  steam: {unit: kg/h, range: [0, 10], role: action, start: 5}
  feed: {unit: kg/h, range: [0, 10], role: action, start: 5}
parameters:
  volume: {value: 1, unit: L, uncertainty: {half_width: 0.1}}
observations: [{signal: T, scale: [0, 100]}, {signal: level}]
reward:
  - {name: warm, expression: "abs(level - 50 [%]) / 1 [%]", weight: -1}
disturbances: [{channel: rain, kind: step, size: 0.1}]
episode:
  start: {level: 50, hidden: 0.5}
  randomize_parameters: true
"""
EVALUATION = """
schema_version: 1
scenarios:
  - {name: nominal}
  - {name: small, parameters: {volume: 2}}
  - {name: wet, disturbances: [{channel: rain, kind: step, size: 0.5}]}
  - {name: blind, faults: [{signal: T, kind: stuck}]}
"""


def mixer_log(episodes: int = 30, *, still: bool = False) -> pd.DataFrame:
    """Return a flat log of a mixer of second order: what is hidden shows in the past of T."""
    random, rows = np.random.default_rng(0), []
    for episode in range(episodes):
        temperature, heat, level = 40.0 + random.uniform(-5, 5), 0.0, 50.0
        for step in range(45):
            steam, feed = random.uniform(2, 8, size=2)
            feed = 5.0 if still else feed
            seen = temperature + 0.05 * random.normal(), level + 0.05 * random.normal()
            rows.append((episode, step, *seen, steam, feed))
            temperature += 0.1 * (40.0 + heat - temperature)
            heat += 0.5 * (8.0 * (steam - 5.0) - heat)
            level += 0.2 * (50.0 - level) + (feed - 5.0)
    return pd.DataFrame(rows, columns=["episode", "step", "T", "level", "steam", "feed"])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a plant.yaml that has no model, and a log."""
    monkeypatch.setattr(residual, "ITERATIONS", 50)
    folder = tmp_path / "envs" / "mixer"
    folder.mkdir(parents=True)
    (tmp_path / "safety").mkdir()
    (folder / "plant.yaml").write_text(PLANT, "utf-8")
    (folder / "evaluate.yaml").write_text(EVALUATION, "utf-8")
    mixer_log().to_csv(tmp_path / "log.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fpo-pilot", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capfd.readouterr()
    code = left.value.code
    assert isinstance(code, int)
    return code, captured.out, captured.err


def test_a_plant_is_made_from_a_log_and_a_plant_yaml_alone(project, monkeypatch, capfd) -> None:
    code, out, err = call(monkeypatch, capfd, "identify", "log.csv", "--plant", "mixer", "--json")
    assert code == 0, out + err
    told = json.loads(out)
    assert told["good_enough"]
    assert told["model"]["order"] >= 2
    folder = project / "envs" / "mixer_identified"
    plant = load_plant("mixer_identified")
    assert [result for result in check_plant(plant) if not result.passed] == []
    assert plant.measured_names == ("T", "level")
    assert plant.state_names[:4] == ("T", "level", "T_change_1", "level_change_1")
    assert plant.spec.signals["T_change_1"].unit == "delta_degC"
    assert plant.spec.signals["T"].sensor.bias == 0.0
    assert plant.spec.signals["T"].sensor.noise.std == 0.1
    assert "hidden" not in plant.spec.signals
    assert plant.spec.disturbances == ()
    assert {file.name for file in plant.source_files} == {"mixer_identified.py", "mixer_identified.safetensors"}
    start = plant.spec.episode.start["T"]
    assert (start.kind, 34.5 < start.low < 36.0, 44.0 < start.high < 45.5) == ("uniform", True, True)
    assert [s.name for s in load_evaluation_spec("mixer_identified").scenarios] == ["nominal", "blind"]
    for language, words in (("README.md", "good enough to train on"), ("README.ja.md", "学習に使えます")):
        text = (folder / language).read_text("utf-8")
        assert words in text
        assert "small, wet" in text
        assert "| T | degC |" in text
    assert "温度 T" in (folder / "prediction.ja.svg").read_text("utf-8")
    assert call(monkeypatch, capfd, "check", "mixer_identified")[0] == 0


def test_the_hash_of_the_plant_changes_with_its_weights(project, monkeypatch, capfd) -> None:
    hashes = []
    for seed in ("0", "1"):
        out = f"envs/seed_{seed}"
        words = ("identify", "log.csv", "--plant", "mixer", "--model", "linear", "--seed", seed, "--out", out)
        assert call(monkeypatch, capfd, *words)[0] == 0
        file = project / out / f"seed_{seed}.safetensors"
        shutil.move(file, project / out / "same.safetensors")
        code = (project / out / f"seed_{seed}.py").read_text("utf-8")
        code = code.replace(
            'Path(__file__).with_suffix(".safetensors")', 'Path(__file__).with_name("same.safetensors")'
        )
        (project / out / f"seed_{seed}.py").write_text(code, "utf-8")
        hashes.append(load_plant(f"seed_{seed}").dynamics_hash)
    assert hashes[0] != hashes[1]


def test_the_answer_no_is_exit_code_1_with_the_action_by_name(project, monkeypatch, capfd) -> None:
    mixer_log(still=True).to_csv("log.csv", index=False)
    code, out, _ = call(monkeypatch, capfd, "identify", "log.csv", "--plant", "mixer", "--model", "linear")
    assert code == 1
    assert "not good enough: feed hardly moved" in out.replace("\n", " ")
    assert "NOT good enough to train on" in out
    text = (project / "envs" / "mixer_identified" / "README.ja.md").read_text("utf-8")
    assert "学習には使えません" in text
    assert "feed がほとんど動いていません" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("log.csv", "--plant", "mixer", "--model", "forest"),
            "--model: found 'forest', expected one of linear, neural",
        ),
        (("log.csv", "--plant", "mixer", "--out", "mixer_2"), "--out: found 'mixer_2', expected envs/NAME"),
        (("log.csv", "--plant", "mixer", "--out", "envs/mixer"), "something is there already"),
        (("nothing.csv", "--plant", "mixer"), "nothing.csv: found no file"),
        (("log.csv", "--plant", "blender"), "no plant 'blender'"),
        (
            ("log.csv", "--plant", "rewarded"),
            "signals.hidden: found a signal that is not measured, and that reward warm needs",
        ),
    ],
)
def test_bad_input_is_exit_code_2_and_writes_nothing(project, monkeypatch, capfd, words, message) -> None:
    folder = project / "envs" / "rewarded"
    folder.mkdir()
    text = (project / "envs" / "mixer" / "plant.yaml").read_text("utf-8").replace("id: mixer", "id: rewarded")
    (folder / "plant.yaml").write_text(text.replace("abs(level - 50 [%]) / 1 [%]", "hidden / 1 [1]"), "utf-8")
    before = sorted(project.rglob("*"))
    code, _, err = call(monkeypatch, capfd, "identify", *words)
    assert (code, message in err) == (2, True), err
    assert sorted(project.rglob("*")) == before


def test_a_shipped_plant_keeps_its_limits_and_its_training(project, monkeypatch, capfd) -> None:
    """Rows of noise are no plant, but what is written must load all the same, with the limits of the shipped one."""
    random = np.random.default_rng(0)
    episode, step = np.divmod(np.arange(40 * 30), 30)
    log = pd.DataFrame({"episode": episode, "step": step, "Ca": random.uniform(0.8, 0.9, 1200)})
    log = log.assign(T=random.uniform(320, 330, 1200), Tc=random.uniform(295, 302, 1200))
    log.to_parquet("noise.parquet", index=False)
    words = ("identify", "noise.parquet", "--plant", "cstr", "--model", "linear")
    assert call(monkeypatch, capfd, *words)[0] == 1
    made, shipped = load_plant("cstr_identified"), load_plant("cstr")
    assert made.limits == shipped.limits
    assert (made.action_low, made.action_high) == (shipped.action_low, shipped.action_high)
    assert made.safety.plant == "cstr_identified"
    assert made.safety.incumbent == shipped.safety.incumbent
    training = "train.yaml"
    source = shipped_root() / "envs" / "cstr" / training
    assert (project / "envs" / "cstr_identified" / training).read_bytes() == source.read_bytes()
