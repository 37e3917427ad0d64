"""How likely the policy that wrote a log made what is in it: known again from its weights, or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from fpo_pilot.commands.evaluate import evaluate_run
from fpo_pilot.evaluate.offpolicy.density import density_of, saturated, with_density
from fpo_pilot.evaluate.offpolicy.importance import per_decision
from fpo_pilot.evaluate.offpolicy.log import read_batch
from fpo_pilot.learn import Deployment, load_policy, train
from fpo_pilot.learn.logged import Driver
from fpo_pilot.logs.reader import read_episodes
from fpo_pilot.logs.writing import TRAINING, writing
from fpo_pilot.plants.load import load_plant
from fpo_pilot.specs import load_training_spec
from fpo_pilot.specs.training import Network
from tests.test_cli import call

SMALL = {
    "num_envs": 4,
    "rollout_steps": 20,
    "evaluation_episodes": 1,
    "actor": Network(width=8, depth=2),
    "critic": Network(width=8, depth=2),
}
PLANT, EPISODES = "cstr_safety", 20


def trained(folder: Path, algorithm: str, **more: object) -> Path:
    spec = load_training_spec(PLANT, algorithm).model_copy(update={**SMALL, **more})
    with writing(folder, "train", TRAINING):
        train(load_plant(PLANT), spec, folder, seed=0, total_steps=160)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained(tmp_path_factory.mktemp("density") / "run", "gaussian_ppo", squash=False, initial_std=0.2)
    evaluate_run(folder, (), episodes=EPISODES, seed=1000, scenarios=("nominal",), quiet=True)
    return folder


def chosen(folder: Path, mode: str, arm: str = "policy"):
    return read_batch(folder, load_plant(PLANT), (arm,), {"stage": ("offline",), "mode": (mode,)})


def arm_of(folder: Path) -> str:
    return json.loads((folder / "evaluation.json").read_text())["deployment"]["arm"]


def test_the_density_is_that_of_the_noise_that_was_drawn(run: Path) -> None:
    batch, logged = chosen(run, "noise 1", arm_of(run))
    found, reason = with_density(batch, logged, run)
    assert reason == ""
    assert found.log_density is not None
    episodes = read_episodes(run).to_pandas()
    seed = int(episodes.loc[(episodes["mode"] == "noise 1") & (episodes["shield"]), "seed"].iloc[0])
    generator = torch.Generator().manual_seed(seed)
    steps = len(batch.obs)
    noise = torch.stack([torch.randn(EPISODES, 1, generator=generator) for _ in range(steps)])[
        :, : batch.obs.shape[1], 0
    ]
    policy = load_policy(run)
    std = policy.distribution(batch.obs.flatten(0, 1))[1].reshape(batch.kept.shape).detach()
    expected = -0.5 * noise**2 - std.log() - 0.5 * math.log(2.0 * math.pi)  # ln N(μ + σε; μ, σ)
    kept = batch.kept
    torch.testing.assert_close(found.log_density[kept], expected[kept].double(), atol=2e-3, rtol=0.0)


def test_the_policy_that_wrote_the_log_is_worth_what_the_log_says(run: Path) -> None:
    batch, logged = chosen(run, "noise 1", arm_of(run))
    found, _ = with_density(batch, logged, run)
    density, _ = density_of(load_policy(run), Deployment(1.0))
    assert density is not None
    own = density(batch.obs.flatten(0, 1), logged.proposal.flatten(0, 1)).reshape(batch.kept.shape).double()
    four = replace(found, **{name: getattr(found, name).repeat(1, 5, *(1,) * (getattr(found, name).dim() - 2))
                             for name in ("obs", "action", "reward", "next_obs", "ends", "kept", "step", "log_density")},
                   starts=found.starts.repeat(5))  # fmt: skip
    estimate = per_decision(four, (own - found.log_density).repeat(1, 5), seed=0)
    returns = torch.where(batch.kept, batch.reward.double(), 0.0).sum(dim=0)
    assert estimate.value == pytest.approx(float(returns.mean()), rel=1e-6)
    assert estimate.effective_sample_size == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("noise 0", "of the log: a policy deployed with noise 0 has no density that is known exactly"),
        ("noise 0.5", "the log is of a deployment (noise 0.5) whose density is not known"),
    ],
)
def test_a_log_of_a_policy_without_a_density_has_none(run: Path, mode: str, message: str) -> None:
    batch, logged = chosen(run, mode, arm_of(run))
    found, reason = with_density(batch, logged, run)
    assert found.log_density is None
    assert message in reason


def test_several_deployments_have_no_one_density(run: Path) -> None:
    batch, logged = read_batch(run, load_plant(PLANT), (arm_of(run),), {"stage": ("offline",)})
    found, reason = with_density(batch, logged, run)
    assert found.log_density is None
    assert "noise 0, noise 0.5, noise 1" in reason
    assert "--mode" in reason


def test_rows_of_other_weights_have_no_density(run: Path, tmp_path: Path) -> None:
    batch, logged = chosen(run, "noise 1", arm_of(run))
    other = trained(tmp_path / "other", "gaussian_ppo", squash=False)
    found, reason = with_density(batch, logged, other)
    assert found.log_density is None
    assert "are not of the weights that" in reason


def test_where_the_incumbent_had_a_share_the_proposal_is_not_what_moved_the_plant(run: Path) -> None:
    batch, logged = chosen(run, "noise 1", arm_of(run))
    shared = replace(logged, drivers=frozenset(one._replace(stage="bounded") for one in logged.drivers))
    found, reason = with_density(batch, shared, run)
    assert found.log_density is None
    assert "in stage bounded what was proposed is not all that moved the plant" in reason
    full = replace(logged, drivers=frozenset(one._replace(stage="full") for one in logged.drivers))
    assert with_density(batch, full, run)[0].log_density is not None
    lost = replace(full, drivers=full.drivers | {next(iter(full.drivers))._replace(whole=False)})
    found, reason = with_density(batch, lost, run)
    assert found.log_density is None
    assert "had lost its authority" in reason


def test_an_incumbent_has_no_density(run: Path) -> None:
    batch, logged = chosen(run, "noise 1", arm_of(run))
    nobody = replace(logged, drivers=frozenset({Driver("offline", "", "")}))
    assert "those of an operator or of a PID loop have none" in with_density(batch, nobody, run)[1]
    assert "those of an operator or of a PID loop have none" in with_density(batch, logged, run / "nowhere")[1]


def test_the_command_says_that_it_worked_the_density_out(run: Path, monkeypatch, capfd) -> None:
    words = ("ope", str(run), "--log", str(run), "--arms", arm_of(run), "--stage", "offline", "--mode", "noise 1")
    code, out, _ = call(monkeypatch, capfd, *words, "--json")
    record = json.loads(out)
    assert code in (0, 1)
    assert record["behavior_density"] == "recomputed"
    assert (record["stages"], record["modes"]) == (["offline"], ["noise 1"])
    assert "--mode 'noise 1'" in record["command"]
    code, _, err = call(monkeypatch, capfd, *words[:-1], "noise 7")
    assert code == 2
    assert "found no row of mode 'noise 7', expected one of" in err


def test_a_flow_that_explored_with_its_own_noise_has_a_density(tmp_path: Path) -> None:
    folder = trained(tmp_path / "flow", "fpo")
    evaluate_run(folder, (), episodes=4, seed=1000, scenarios=("nominal",), quiet=True)
    batch, logged = chosen(folder, "noise 1", arm_of(folder))
    found, reason = with_density(batch, logged, folder)
    assert reason == ""
    assert found.log_density is not None
    assert isinstance(found.log_density, torch.Tensor)
    assert bool(torch.isfinite(found.log_density).all())
    frame = pd.DataFrame({"x": found.log_density[batch.kept].numpy()})
    assert frame["x"].std() > 0.1


def test_a_squashed_policy_at_the_ends_of_its_range_has_no_density_that_the_log_tells(run: Path) -> None:
    _, logged = chosen(run, "noise 1", arm_of(run))
    policy = load_policy(run)
    ends = replace(logged, proposal=torch.where(logged.step[..., None] % 20 == 0, 1.0 - 1e-6, 0.3))  # 5 % of the rows
    assert saturated(policy, ends) == ""  # not squashed
    policy.spec = policy.spec.model_copy(update={"squash": True})
    assert "5.0% of the logged proposals" in saturated(policy, ends)
    assert saturated(policy, replace(logged, proposal=torch.full_like(logged.proposal, 0.999))) == ""
