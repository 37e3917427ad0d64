"""``fpo-pilot ope`` from end to end: a log of the incumbent with random moves, a policy, the record, and what is refused."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch

from fpo_pilot.commands.ingest import run_ingest
from fpo_pilot.learn import train
from fpo_pilot.logs.writing import TRAINING, writing
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs import load_training_spec
from tests.test_cli import call

MAP = """\
schema_version: 1
plant: cstr
time: {column: time}
signals: {Ca: {column: Ca}, T: {column: T}, Tc: {column: Tc}, Ca_sp: {column: Ca_sp}}
episodes: {column: batch}
behavior_density: known
log_density: density
density_of: normalised
"""
EPISODES, MOVE = 24, 0.2


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    plant = load_plant("cstr")
    simulation, controller = Simulation(plant, EPISODES, seed=0, autoreset=False), incumbent_controller(plant)
    controller.reset(EPISODES)
    generator, rows = torch.Generator().manual_seed(0), []
    for step in range(plant.horizon + 1):
        seen = {"Ca": simulation.measurement[:, 0].numpy(), "T": simulation.measurement[:, 1].numpy()}
        seen["Ca_sp"] = simulation.reference[:, 0].numpy()
        noise = torch.randn((EPISODES, 1), generator=generator, dtype=torch.float64)
        asked = plant.to_normalised(controller.act(simulation.signals(), simulation.applied)) + MOVE * noise
        seen["density"] = (-0.5 * noise[:, 0] ** 2 - math.log(MOVE * math.sqrt(2 * math.pi))).numpy()
        seen["Tc"] = simulation.step(plant.to_engineering(asked)).applied[:, 0].numpy()
        start = pd.Timestamp("2026-01-01") + pd.to_timedelta(range(EPISODES), unit="D")
        rows.append(pd.DataFrame({**seen, "batch": range(EPISODES), "time": start + pd.Timedelta(seconds=26 * step)}))
    frame = pd.concat(rows).sort_values(["batch", "time"])
    frame.to_parquet(folder / "export.parquet", index=False)
    (folder / "map.yaml").write_text(MAP, encoding="utf-8")
    run_ingest([folder / "export.parquet"], "cstr", folder / "map.yaml", out=folder / "run", as_json=False)
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    spec = load_training_spec("cstr", "fpo").model_copy(
        update={"num_envs": 4, "rollout_steps": 5, "evaluation_episodes": 1}
    )
    with writing(folder, "train", TRAINING):
        train(load_plant("cstr"), spec, folder, seed=0, total_steps=40)
    return folder


def test_a_policy_that_learned_nothing_is_not_let_through_and_the_record_is_in_the_ledger(
    log, run, monkeypatch, capfd
) -> None:
    code, out, _ = call(monkeypatch, capfd, "ope", str(run), "--log", str(log))
    record = json.loads((run / "offpolicy.json").read_text())
    assert code == 1
    assert record["answer"]["result"] in ("veto", "no answer")
    assert record["episodes"] == EPISODES
    assert record["rows"] == 60 * EPISODES
    assert record["behavior_density"] == "known"
    assert record["seed"] == 0
    again = shlex.split(record["command"])
    assert again[:5] == ["fpo-pilot", "ope", str(run), "--log", str(log)]
    assert again[5:8] == ["--arms", "incumbent", "--margin"]
    assert again[-2:] == ["--seed", "0"]
    assert record["logged_low"] <= record["logged_return"] <= record["logged_high"] < 0.0
    assert {one["method"] for one in record["estimates"]} == {"FQE", "SN-PDIS", "WDR", "kernel-WDR"}
    assert all(one["valid"] or one["reason"] for one in record["estimates"])
    assert "answer: " in out
    assert call(monkeypatch, capfd, "verify", str(run))[0] == 0
    code, out, _ = call(monkeypatch, capfd, "ope", str(run), "--log", str(log), "--json")
    assert json.loads(out)["log_root"] == record["log_root"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--arms", " , "), "--arms: found none"),
        (
            ("--arms", "flow"),
            "found no row of flow in the nominal scenario (there are incumbent), expected some. Name others in --arms.",
        ),
    ],
)
def test_arms_that_are_not_there_are_refused(log, run, monkeypatch, capfd, words, message) -> None:
    code, _, err = call(monkeypatch, capfd, "ope", str(run), "--log", str(log), *words)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("margin", ["nan", "inf"])
def test_a_margin_by_which_nothing_is_ever_worse_is_refused(log, run, monkeypatch, capfd, margin) -> None:
    code, _, err = call(monkeypatch, capfd, "ope", str(run), "--log", str(log), "--margin", margin)
    assert code == 2
    assert "--margin" in err
