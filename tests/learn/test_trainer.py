from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from fpo_pilot.errors import CheckpointError, TrainingError
from fpo_pilot.learn import load_policy, train
from fpo_pilot.learn.checkpoint import checkpoint_path, read_checkpoint
from fpo_pilot.learn.constraint import Multiplier
from fpo_pilot.learn.flow_policy import FlowPolicy
from fpo_pilot.learn.health import adapted, find_trouble
from fpo_pilot.learn.task import PlantTask
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields.build import build_stack
from fpo_pilot.specs.training import Constraint, DppoSpec, FpoSpec, GaussianPpoSpec, Network

SMALL = {
    "num_envs": 4,
    "rollout_steps": 8,
    "passes": 1,
    "minibatches": 2,
    "actor": Network(width=8, depth=2),
    "critic": Network(width=8, depth=2),
    "evaluation_every": 4,
    "evaluation_episodes": 1,
    "checkpoint_every": 2,
    "total_steps": 4 * 8 * 8,
}
FPO = FpoSpec(**SMALL)

KILLED = """
import sys
from pathlib import Path
from fpo_pilot.learn import train
from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields.build import build_stack
from fpo_pilot.specs.training import FpoSpec
plant = load_plant("cstr_safety")
spec = FpoSpec.model_validate_json(sys.argv[2])
train(plant, spec, Path(sys.argv[1]), seed=5, shield=build_stack(plant.safety, plant.spec),
      progress=lambda p: print(p.update, flush=True))
"""


def run(folder: Path, spec=FPO, *, plant: str = "cstr_safety", resume: bool = False, seed: int = 5):
    loaded = load_plant(plant)
    assert loaded.safety is not None
    return train(loaded, spec, folder, seed=seed, resume=resume, shield=build_stack(loaded.safety, loaded.spec))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(checkpoint_path(folder, "latest"))[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("spec", [FPO, GaussianPpoSpec(**SMALL)], ids=["fpo", "gaussian_ppo"])
def test_a_seed_gives_the_same_weights_again_and_another_seed_does_not(spec, tmp_path) -> None:
    run(tmp_path / "a", spec)
    run(tmp_path / "b", spec)
    run(tmp_path / "c", spec, seed=6)
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert not same(tensors(tmp_path / "a"), tensors(tmp_path / "c"))


def test_a_training_killed_at_a_random_moment_resumes_to_the_bit(tmp_path) -> None:
    spec = FPO.model_copy(update={"total_steps": 4 * 8 * 30})
    run(tmp_path / "whole", spec)
    stopper = random.Random(time.time_ns())
    after = stopper.randrange(1, 24)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), spec.model_dump_json()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        time.sleep(stopper.random() * 0.1)
        process.send_signal(signal.SIGKILL)
    done = pd.read_parquet(tmp_path / "killed" / "metrics.parquet") if after > 2 else pd.DataFrame()
    assert len(done) < 30, "the training ended before it was killed"
    run(tmp_path / "killed", spec, resume=True)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "killed")), f"killed after update {after}"
    columns = ["update", "policy_loss", "return_mean", "evaluation_return"]
    whole, killed = (pd.read_parquet(tmp_path / name / "metrics.parquet")[columns] for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(whole, killed)
    assert (tmp_path / "whole/checkpoints/best.safetensors").read_bytes() == (
        tmp_path / "killed/checkpoints/best.safetensors"
    ).read_bytes()


def test_a_run_leaves_manifest_metrics_and_a_policy_that_needs_nothing_else(tmp_path) -> None:
    result = run(tmp_path)
    manifest = Manifest.read(tmp_path)
    assert manifest.training is not None
    assert manifest.training.steps == result.steps == 256
    assert manifest.hashes["model"] is not None
    metrics = pd.read_parquet(tmp_path / "metrics.parquet")
    assert metrics["update"].tolist() == list(range(1, 9))
    assert metrics["steps"].tolist() == [32 * k for k in range(1, 9)]
    assert metrics["evaluation_return"].notna().sum() == 2
    policy = load_policy(tmp_path)
    assert not list(tmp_path.rglob("*.pkl"))
    assert policy.act(torch.zeros(1, policy.normaliser.mean.numel()), None)[0].shape == (1, 1)


def test_the_first_minibatch_of_every_update_has_ratio_one(tmp_path) -> None:
    # observation statistics that move between acting and updating would break this
    spec = FPO.model_copy(update={"minibatches": 1, "passes": 1})
    run(tmp_path, spec)
    metrics = pd.read_parquet(tmp_path / "metrics.parquet")
    assert metrics["ratio_min"].to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert metrics["ratio_max"].to_numpy() == pytest.approx(1.0, abs=1e-5)


def test_a_second_training_in_the_same_folder_is_refused(tmp_path) -> None:
    run(tmp_path)
    with pytest.raises(TrainingError, match="--resume"):
        run(tmp_path)


def test_resuming_with_another_spec_or_seed_is_refused(tmp_path) -> None:
    run(tmp_path)
    with pytest.raises(TrainingError, match="training"):
        run(tmp_path, FPO.model_copy(update={"clip": 0.2}), resume=True)
    with pytest.raises(TrainingError, match="seed"):
        run(tmp_path, resume=True, seed=6)


def test_a_damaged_checkpoint_is_refused_with_its_path(tmp_path) -> None:
    run(tmp_path)
    path = checkpoint_path(tmp_path, "best")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"best\.safetensors"):
        load_policy(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="found no file"):
        load_policy(tmp_path)


def test_a_learning_rate_that_destroys_the_weights_stops_the_run_and_keeps_the_best(tmp_path) -> None:
    spec = FPO.model_copy(
        update={"learning_rate": 1e30, "gradient_clip": None, "evaluation_every": 1, "total_steps": 32 * 50}
    )
    result = run(tmp_path, spec)
    assert result.stopped_early is not None
    assert "not finite" in result.stopped_early
    assert result.updates < 50
    if checkpoint_path(tmp_path, "best").exists():
        assert all(value.isfinite().all() for value in load_policy(tmp_path).state_dict().values())
    assert json.loads((tmp_path / "manifest.json").read_text())["training"]["stopped_early"] == result.stopped_early


def rows(returns: list[float]) -> list[dict[str, float]]:
    healthy = {"policy_loss": 0.0, "value_loss": 1.0, "gradient_norm": 1.0, "ratio_mean": 1.0}
    return [{**healthy, "update": i + 1, "return_mean": value} for i, value in enumerate(returns)]


def test_a_fall_that_lasts_a_whole_window_is_a_collapse_and_a_dip_is_not() -> None:
    spec = FPO.model_copy(update={"collapse_window": 5, "collapse_fraction": 0.3})
    rise = [float(x) for x in range(-100, 0, 5)]
    assert find_trouble(rows(rise), spec) is None
    assert find_trouble(rows([*rise, *[-80.0] * 4]), spec) is None
    trouble = find_trouble(rows([*rise, *[-80.0] * 5]), spec)
    assert trouble is not None
    assert "fell" in trouble
    assert find_trouble(rows([*rise, *[-80.0] * 4, -5.0]), spec) is None


def test_an_unknown_device_is_refused_by_name(tmp_path) -> None:
    plant = load_plant("cstr")
    with pytest.raises(TrainingError, match="abacus"):
        train(plant, FPO, tmp_path / "run", seed=0, device="abacus")
    assert not (tmp_path / "run").exists()


def test_only_rows_since_the_last_roll_back_tell_that_the_return_is_down() -> None:
    spec = FPO.model_copy(update={"collapse_window": 5, "collapse_fraction": 0.3})
    fallen = [*[float(x) for x in range(-100, 0, 5)], *[-80.0] * 9]
    assert find_trouble(rows(fallen), spec) is not None
    assert find_trouble(rows(fallen), spec, since=20) is None
    assert find_trouble(rows([*fallen, -80.0]), spec, since=20) is not None


def test_the_rate_follows_how_far_the_actions_moved() -> None:
    assert adapted(1.0, 0.5, None) == 1.0
    assert adapted(1.0, 0.021, 0.01) == pytest.approx(1 / 1.5)
    assert adapted(1.0, 0.004, 0.01) == pytest.approx(1.5)
    assert adapted(1.0, 0.01, 0.01) == 1.0
    assert adapted(1.0, math.nan, 0.01) == 1.0
    factor = 1.0
    for _ in range(30):
        factor = adapted(factor, 1.0, 0.01)
    assert factor == pytest.approx(1 / 30)


class Poisoned:
    """A task whose rewards become NaN in one stretch of steps: provokes what a broken simulation does to a training."""

    def __init__(self, task: PlantTask, after: int) -> None:
        self.task, self.after, self.count = task, after, 0
        self.name, self.plant_spec, self.safety_spec = task.name, task.plant_spec, task.safety_spec

    def loop(self, num_envs: int, *, seed: int, device: str, correction_penalty: float = 0.0):
        loop = self.task.loop(num_envs, seed=seed, device=device, correction_penalty=correction_penalty)
        step, owner = loop.step, self

        def poisoned(action):
            seen = step(action)
            if num_envs == FPO.num_envs:
                owner.count += 1
                if owner.count == owner.after:
                    return dataclasses.replace(seen, reward=seen.reward * math.nan)
            return seen

        loop.step = poisoned  # type: ignore[method-assign]
        return loop


def test_a_training_that_broke_goes_on_from_the_best_weights_at_half_the_rate(tmp_path) -> None:
    spec = FPO.model_copy(update={"evaluation_every": 1, "learning_rate_end": FPO.learning_rate})
    task = Poisoned(PlantTask(load_plant("cstr")), after=4 * spec.rollout_steps)
    result = train(task, spec, tmp_path / "run", seed=0)
    metrics = pd.read_parquet(tmp_path / "run" / "metrics.parquet")
    assert result.stopped_early is None
    assert result.updates == 8
    assert metrics["recoveries"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert metrics["learning_rate"].tolist() == pytest.approx([1e-3] * 4 + [5e-4] * 4)
    assert metrics["policy_loss"].iloc[4:].notna().all()
    assert all(value.isfinite().all() for value in tensors(tmp_path / "run").values() if value.is_floating_point())


def test_a_training_that_may_not_recover_stops(tmp_path) -> None:
    spec = FPO.model_copy(update={"evaluation_every": 1, "recoveries": 0})
    task = Poisoned(PlantTask(load_plant("cstr")), after=4 * spec.rollout_steps)
    result = train(task, spec, tmp_path / "run", seed=0)
    assert result.stopped_early is not None
    assert result.updates == 4


RICH = FPO.model_copy(
    update={
        "constraint": Constraint(limit=0.0),
        "critics": 3,
        "uncertainty_weight": 0.5,
        "adaptive_rate": 0.01,
        "regulariser": 0.2,
        "huber": 1.0,
        "path": "variance_preserving",
    }
)


@pytest.mark.parametrize(
    "spec", [RICH, DppoSpec(**SMALL), FpoSpec.model_validate({**SMALL, "algorithm": "fpo_plus_plus"})]
)
def test_a_run_with_every_option_resumes_to_the_bit(spec, tmp_path) -> None:
    run(tmp_path / "whole", spec)
    seen = []

    def stop(state) -> None:
        seen.append(state.update)
        if state.update == 4:
            raise KeyboardInterrupt

    plant = load_plant("cstr_safety")
    assert plant.safety is not None
    shield = build_stack(plant.safety, plant.spec)
    with pytest.raises(KeyboardInterrupt):
        train(plant, spec, tmp_path / "cut", seed=5, shield=shield, progress=stop)
    run(tmp_path / "cut", spec, resume=True)
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "cut"))


def test_a_constraint_has_a_price_in_the_metrics(tmp_path) -> None:
    run(tmp_path, RICH)
    metrics = pd.read_parquet(tmp_path / "metrics.parquet")
    expected = Multiplier(Constraint(limit=0.0))
    for rate, price in zip(metrics["violation_rate"], metrics["multiplier"], strict=True):
        assert price == pytest.approx(float(expected.move(torch.tensor(rate))), rel=1e-5, abs=1e-7)


def test_a_training_begins_with_another_runs_policy(tmp_path) -> None:
    run(tmp_path / "first")
    best = checkpoint_path(tmp_path / "first", "best")
    begun = read_checkpoint(best)[0]
    still = FPO.model_copy(update={"learning_rate": 1e-12, "total_steps": 32, "deployment_average": 0.0})
    plant = load_plant("cstr_safety")
    train(plant, still, tmp_path / "second", seed=9, start_from=best)
    again = read_checkpoint(checkpoint_path(tmp_path / "second", "latest"))[0]
    for name, value in begun.items():
        if name.startswith("policy.network"):
            torch.testing.assert_close(again[name], value, atol=1e-6, rtol=0)
    tuned = DppoSpec(**SMALL | {"total_steps": 32, "tuned_steps": 3})
    train(plant, tuned, tmp_path / "tuned", seed=9, start_from=best)
    chain = read_checkpoint(checkpoint_path(tmp_path / "tuned", "latest"))[0]
    assert torch.equal(chain["policy.frozen.observation_weight"], begun["policy.network.observation_weight"])
    with pytest.raises(CheckpointError, match="other sizes"):
        train(load_plant("quad_tank"), still, tmp_path / "third", seed=9, start_from=best)


class Miswired(Poisoned):
    """A task whose reward has the wrong sign for a while, long after the policy converged: it unlearns what it could."""

    def __init__(self, task: PlantTask, num_envs: int, between: range) -> None:
        super().__init__(task, 0)
        self.num_envs, self.between = num_envs, between

    def loop(self, num_envs: int, *, seed: int, device: str, correction_penalty: float = 0.0):
        loop = self.task.loop(num_envs, seed=seed, device=device, correction_penalty=correction_penalty)
        step, owner = loop.step, self

        def miswired(action):
            seen = step(action)
            if num_envs != owner.num_envs:
                return seen  # the evaluation is read rightly
            owner.count += 1
            return dataclasses.replace(seen, reward=-seen.reward) if owner.count in owner.between else seen

        loop.step = miswired  # type: ignore[method-assign]
        return loop


def test_a_late_collapse_is_survived(tmp_path) -> None:
    spec = GaussianPpoSpec(
        num_envs=64,
        rollout_steps=20,
        passes=8,
        minibatches=4,
        actor=Network(width=16, depth=2),
        critic=Network(width=16, depth=2),
        discount=0.9,
        learning_rate=1e-2,
        learning_rate_end=1e-2,
        clip=0.3,
        evaluation_every=2,
        evaluation_episodes=16,
        collapse_window=4,
        total_steps=64 * 20 * 44,
    )
    task = Miswired(PlantTask(load_plant("grid_world")), 64, range(20 * 20, 30 * 20))
    result = train(task, spec, tmp_path, seed=0)
    metrics = pd.read_parquet(tmp_path / "metrics.parquet")
    converged = metrics["return_mean"].iloc[14:20].min()
    assert converged > 0.9, "it converged before"
    assert metrics["return_mean"].iloc[20:].min() < 0.5, "it did collapse"
    assert metrics["recoveries"].iloc[-1] >= 1
    assert metrics["return_mean"].iloc[-3:].mean() > 0.95 * converged
    assert metrics["evaluation_best"].iloc[-1] > 0.95 * result.best_return


def test_the_first_observation_is_normalised_before_the_first_act(tmp_path) -> None:
    """A published program acts on raw observations once, and begins its statistics after."""
    seen = []

    plant = load_plant("cstr")
    original = FlowPolicy.act

    def act(self, obs, generator):
        seen.append(float(self.normaliser.count))
        return original(self, obs, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlowPolicy, "act", act)
        train(plant, FPO.model_copy(update={"total_steps": 32}), tmp_path, seed=0)
    warm_up, first = seen[0], seen[-FPO.rollout_steps]
    assert warm_up == 0.0  # the warm-up episode, from which nothing is learned
    assert first > 0.0
