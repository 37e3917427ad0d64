"""``fpo-pilot export``: the graph says what the policy says, keeps the box, and answers a broken reading with no number."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fpo_pilot.evaluate.arms import weights_hash
from fpo_pilot.evidence.evaluation import ChosenDeployment
from fpo_pilot.learn import Deployment, build_policy, load_policy, train
from fpo_pilot.learn import graph as graphs
from fpo_pilot.learn.graph import DeployedGraph, check_parity, open_session, write_graph
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.logs.writing import TRAINING, writing
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs import load_training_spec
from tests.test_cli import call

PLANT = "cstr_safety"


@pytest.fixture(scope="module")
def plant() -> Plant:
    return load_plant(PLANT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, plant: Plant) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    spec = load_training_spec(PLANT, "fpo").model_copy(
        update={"num_envs": 4, "rollout_steps": 5, "evaluation_episodes": 1}
    )
    with writing(folder, "train", TRAINING):
        train(plant, spec, folder, seed=0, total_steps=40)
    return folder


def policy_of(plant: Plant, algorithm: str, mirror: Mirror | None = None, **settings: Any):
    """Make a policy whose actions differ much between observations, and reach beyond the box."""
    spec = load_training_spec(PLANT, algorithm).model_copy(update=settings)
    size = len(plant_entries(plant))
    policy = build_policy(
        spec, size, len(plant.action_names), generator=torch.Generator().manual_seed(3), mirror=mirror
    )
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            weight.mul_(1.5 if "network" in name else 1.0)
        policy.normaliser.merge(0.5 * torch.randn(64, size, generator=torch.Generator().manual_seed(4)))
    return policy.eval().requires_grad_(False)


def plant_entries(plant: Plant) -> list[str]:
    from fpo_pilot.plants.observations import entry_scales

    return [name for name, _, _ in entry_scales(plant)]


CASES = {
    "fpo euler": ("fpo", Deployment(), {}),
    "fpo rk4": ("fpo", Deployment(method="rk4", steps=3), {}),
    "fpo midpoint": ("fpo", Deployment(method="midpoint", steps=4), {}),
    "fpo heun": ("fpo", Deployment(method="heun", steps=4), {}),
    "fpo squash": ("fpo", Deployment(), {"squash": True}),
    "fpo noise": ("fpo", Deployment(noise_scale=0.5, candidates=3), {}),
    "dppo": ("dppo", Deployment(), {}),
    "dppo frozen, noise": ("dppo", Deployment(noise_scale=1.0), {"tuned_steps": 4}),
    "flow_q noise": ("flow_q", Deployment(noise_scale=1.0), {}),
    "gaussian": ("gaussian_ppo", Deployment(), {}),
    "gaussian noise": ("gaussian_ppo", Deployment(noise_scale=1.0), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_graph_says_what_the_deployed_policy_says(case: str, plant: Plant) -> None:
    algorithm, deployment, settings = CASES[case]
    policy = policy_of(plant, algorithm, **settings)
    content = write_graph(DeployedGraph(policy, deployment, plant), {}, noise_input=deployment.noise_scale > 0.0)
    assert check_parity(content, policy, deployment, plant).holds
    other = policy_of(plant, algorithm, **settings)
    with torch.no_grad():
        next(other.network.parameters()).mul_(1.01)
    assert not check_parity(content, other, deployment, plant).holds, "parity must notice other weights"


@pytest.mark.parametrize("algorithm", ["fpo", "gaussian_ppo"])
def test_a_mirrored_policy_is_exported_with_its_mirror(algorithm: str, plant: Plant) -> None:
    size = len(plant_entries(plant))
    mirror = Mirror(tuple((-1.0, 1.0)[i % 2] for i in range(size)), (-1.0,))
    policy = policy_of(plant, algorithm, mirror)
    content = write_graph(DeployedGraph(policy, Deployment(), plant), {}, noise_input=False)
    assert check_parity(content, policy, Deployment(), plant).holds


@pytest.mark.parametrize("algorithm", ["fpo", "dppo", "gaussian_ppo"])
def test_the_box_is_kept_and_what_is_not_finite_gives_no_number(algorithm: str, plant: Plant) -> None:
    policy = policy_of(plant, algorithm)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(3.0)
    session = open_session(write_graph(DeployedGraph(policy, Deployment(), plant), {}, noise_input=False))
    size = len(plant_entries(plant))
    absurd = np.random.default_rng(0).choice([-1e38, -1e6, 0.0, 1e6, 1e38], (200, size)).astype(np.float32)
    action = session.run(None, {"observation": absurd})[0].astype(np.float64)
    low, high = np.array(plant.action_low), np.array(plant.action_high)
    assert np.isfinite(action).all()
    assert ((action >= low) & (action <= high)).all()
    assert ((action - low < 1e-3) | (high - action < 1e-3)).any(), "the case must reach the box"
    for rows in (1, 7):  # a runtime may take another path for rows side by side
        for value in (np.nan, np.inf, -np.inf):
            for entry in range(size):
                seen = np.zeros((rows, size), np.float32)
                seen[-1, entry] = value
                answer = session.run(None, {"observation": seen})[0]
                assert answer.shape == (rows, len(low))
                assert np.isnan(answer[-1]).all()
                assert np.isfinite(answer[:-1]).all()


def test_a_noise_that_is_not_finite_gives_no_number(plant: Plant) -> None:
    policy = policy_of(plant, "fpo")
    session = open_session(write_graph(DeployedGraph(policy, Deployment(noise_scale=1.0), plant), {}, noise_input=True))
    seen = np.zeros((2, len(plant_entries(plant))), np.float32)
    answer = session.run(None, {"observation": seen, "noise": np.array([[np.inf], [0.5]], np.float32)})[0]
    assert np.isnan(answer[0]).all()
    assert np.isfinite(answer[1]).all()


def test_a_box_that_float32_cannot_say_is_rounded_inward(plant: Plant) -> None:
    limits = plant.safety.actions
    awkward = {name: one.model_copy(update={"low": 290.3, "high": 310.1}) for name, one in limits.items()}
    tight = replace(plant, safety=plant.safety.model_copy(update={"actions": awkward}), _constants={})
    graph = DeployedGraph(policy_of(plant, "fpo"), Deployment(), tight)
    assert float(graph.low) >= 290.3
    assert float(graph.high) <= 310.1
    assert float(np.float32(290.3)) < 290.3, "the case must need it"
    assert float(np.float32(310.1)) > 310.1, "the case must need it"


def export(monkeypatch, capfd, run: Path, file: Path, *words: str) -> tuple[int, str, str]:
    return call(monkeypatch, capfd, "export", str(run), "--onnx", str(file), *words)


def test_the_command_writes_a_file_that_says_what_it_is(run, plant, monkeypatch, capfd, tmp_path) -> None:
    file = tmp_path / "sub" / "policy.onnx"
    code, out, err = export(monkeypatch, capfd, run, file, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["parity"]["holds"]
    assert told["parity"]["rows"] == 256
    assert "no interlock" in err
    assert [path.name for path in file.parent.iterdir()] == ["policy.onnx"]
    model = onnx.load(file)
    facts = {one.key: one.value for one in model.metadata_props}
    assert facts == told["metadata"]
    manifest = json.loads((run / "manifest.json").read_text())
    for name in ("model", "plant", "safety", "training"):
        assert facts[f"{name}_sha256"] == manifest["hashes"][name]
    assert "Only the box" in facts["warning"]
    assert facts["warning"] == model.doc_string
    assert facts["authority"] == "none"
    assert facts["deployment"] == "noise 0"
    assert facts["evaluation_verdict"] == "none"
    observation, action = json.loads(facts["observation"]), json.loads(facts["action"])
    assert [one["name"] for one in observation] == plant_entries(plant)
    assert observation[0]["unit"] == plant.spec.signals[observation[0]["name"]].unit
    assert [(one["name"], one["low"], one["high"]) for one in action] == list(
        zip(plant.action_names, plant.action_low, plant.action_high, strict=True)
    )
    session = open_session(file.read_bytes())
    assert [one.name for one in session.get_inputs()] == ["observation"]
    for rows in (1, 7):
        seen = np.zeros((rows, len(observation)), np.float32)
        assert session.run(None, {"observation": seen})[0].shape == (rows, 1)
    before = file.read_bytes()
    code, _, err = export(monkeypatch, capfd, run, file)
    assert code == 2
    assert "--force" in err
    assert export(monkeypatch, capfd, run, file, "--force", "--noise-input")[0] == 0
    assert file.read_bytes() != before
    assert [one.name for one in open_session(file.read_bytes()).get_inputs()] == ["observation", "noise"]


def test_a_graph_that_differs_from_the_policy_is_not_left(run, monkeypatch, capfd, tmp_path) -> None:
    monkeypatch.setattr(graphs, "_inward", lambda bound, inside: np.full_like(bound, bound.mean() - 5.0, np.float32))
    code, out, err = export(monkeypatch, capfd, run, tmp_path / "policy.onnx")
    assert code == 1, err
    assert "NOT written" in out
    assert list(tmp_path.iterdir()) == []


def evaluated(run: Path, folder: Path, **settings: Any) -> Path:
    """Copy a run, with an evaluation that chose a deployment."""
    shutil.copytree(run, folder)
    chosen = Deployment(**settings)
    record = ChosenDeployment(
        arm="fpo",
        label=chosen.label,
        noise_scale=chosen.noise_scale,
        method=chosen.method,
        steps=chosen.steps,
        chosen_from=(),
        seed=0,
        reason="",
    )
    document = {
        "plant": PLANT,
        "command": "",
        "seed": 0,
        "episodes": 0,
        "scenarios": [],
        "confidence": 0.95,
        "deterministic": True,
        "rows": [],
        "verdict": {
            "candidate": None,
            "incumbent": None,
            "difference": None,
            "margin": 0.0,
            "result": "inconclusive",
            "reason": "",
            "scenario": "nominal",
        },
        "deployment": record.model_dump(),
        "hashes": {"fpo": weights_hash(load_policy(run))},
    }
    (folder / "evaluation.json").write_text(json.dumps(document), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("settings", "words", "told"),
    [
        ({"method": "adaptive"}, (), "adaptive"),
        ({"noise_scale": 0.5}, (), "--noise-input"),
        ({}, ("--noise-input",), "Leave the option out"),
    ],
)
def test_a_deployment_that_a_graph_cannot_be_is_refused(
    settings, words, told, run, monkeypatch, capfd, tmp_path
) -> None:
    folder = evaluated(run, tmp_path / "run", **settings)
    code, _, err = export(monkeypatch, capfd, folder, tmp_path / "policy.onnx", *words)
    assert code == 2
    assert told in err
    assert not (tmp_path / "policy.onnx").exists()


def test_the_deployment_is_the_one_that_the_evaluation_chose(run, monkeypatch, capfd, tmp_path) -> None:
    folder = evaluated(run, tmp_path / "run", method="heun", steps=3, noise_scale=0.5)
    code, out, err = export(monkeypatch, capfd, folder, tmp_path / "policy.onnx", "--noise-input", "--json")
    assert code == 0, err
    facts = json.loads(out)["metadata"]
    assert facts["deployment"] == "noise 0.5, heun 3"
    assert facts["evaluation_verdict"] == "inconclusive"


def test_an_evaluation_of_other_weights_is_refused(run, monkeypatch, capfd, tmp_path) -> None:
    folder = evaluated(run, tmp_path / "run")
    path = folder / "evaluation.json"
    path.write_text(path.read_text("utf-8").replace(weights_hash(load_policy(run)), "0" * 64), "utf-8")
    code, _, err = export(monkeypatch, capfd, folder, tmp_path / "policy.onnx")
    assert code == 2
    assert "other weights" in err
    assert not (tmp_path / "policy.onnx").exists()


def changed(run: Path, folder: Path, what: str) -> Path:
    shutil.copytree(run, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    if what == "gym":
        manifest["plant"] = "gym:Pendulum-v1"
    else:
        manifest["hashes"][what] = "0" * 64
    path.write_text(json.dumps(manifest), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("what", "told"),
    [("gym", "box"), ("safety", "safety spec"), ("plant", "plant spec"), ("model", "other weights")],
)
def test_a_run_that_is_not_what_its_manifest_says_is_refused(what, told, run, monkeypatch, capfd, tmp_path) -> None:
    folder = changed(run, tmp_path / "run", what)
    code, _, err = export(monkeypatch, capfd, folder, tmp_path / "policy.onnx")
    assert code == 2
    assert told in err
    assert not (tmp_path / "policy.onnx").exists()


def test_nothing_is_written_into_a_run(run, monkeypatch, capfd) -> None:
    code, _, err = export(monkeypatch, capfd, run, run / "policy.onnx")
    assert code == 2
    assert "ledger" in err
    assert not (run / "policy.onnx").exists()


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_without_the_libraries_the_extra_is_named(name, run, monkeypatch, capfd, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    code, _, err = export(monkeypatch, capfd, run, tmp_path / "policy.onnx")
    assert code == 2
    assert "fpo-pilot[onnx]" in err
    assert list(tmp_path.iterdir()) == []


def test_an_exported_policy_acts_as_the_loaded_one(run, plant, monkeypatch, capfd, tmp_path) -> None:
    file = tmp_path / "policy.onnx"
    assert export(monkeypatch, capfd, run, file)[0] == 0
    obs = torch.randn(5, len(plant_entries(plant)), generator=torch.Generator().manual_seed(9))
    wanted = load_policy(run).deploy(Deployment()).act(obs, torch.Generator())[0].double()
    wanted = plant.to_engineering(wanted).clamp(torch.tensor(plant.action_low), torch.tensor(plant.action_high))
    got = open_session(file.read_bytes()).run(None, {"observation": obs.numpy()})[0]
    span = np.array(plant.action_high) - np.array(plant.action_low)
    assert (np.abs(got - wanted.numpy()) / span).max() < 1e-5
