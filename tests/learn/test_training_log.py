from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fpo_pilot.errors import CheckpointError, LogError
from fpo_pilot.exports.choice import Choice
from fpo_pilot.exports.source import selected
from fpo_pilot.identification.log import read_log
from fpo_pilot.learn import train, trainer
from fpo_pilot.learn.checkpoint import checkpoint_path, read_checkpoint
from fpo_pilot.learn.gaussian_policy import GaussianPolicy
from fpo_pilot.learn.interaction import collect
from fpo_pilot.learn.logged import read_logged
from fpo_pilot.learn.task import GymTask, PlantTask
from fpo_pilot.learn.training_log import TrainingLog, training_log
from fpo_pilot.logs.reader import TRAINING_STAGE as STAGE
from fpo_pilot.logs.reader import read_steps, segments
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.verify import verify_run
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import TRAINING, writing
from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields.build import build_stack
from fpo_pilot.specs.training import FpoSpec, GaussianPpoSpec, Network, WarmStart

SMALL = {
    "num_envs": 4,
    "rollout_steps": 30,
    "passes": 1,
    "minibatches": 2,
    "actor": Network(width=8, depth=2),
    "critic": Network(width=8, depth=2),
    "evaluation_every": 100,
    "evaluation_episodes": 1,
    "checkpoint_every": 2,
    "total_steps": 4 * 30 * 6,
}
GAUSSIAN = GaussianPpoSpec(**SMALL)


def run(folder: Path, spec=GAUSSIAN, *, shielded: bool = True, resume: bool = False, **more):
    plant = load_plant("cstr_safety")
    assert plant.safety is not None
    shield = build_stack(plant.safety, plant.spec) if shielded else None
    with writing(folder, "train", TRAINING):
        return train(plant, spec, folder, seed=5, resume=resume, shield=shield, **more)


class Stopped(BaseException):
    """Stands for what stops a training at once."""


def _stop_after(update: int):
    def stops(state) -> None:
        if state.update == update:
            raise Stopped

    return stops


def steps_of(folder: Path) -> pd.DataFrame:
    return read_steps(folder, STAGE).to_pandas()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(checkpoint_path(folder, "latest"))[0]


def test_every_step_of_the_logged_environments_is_there_and_adds_up_to_the_returns_of_the_metrics(tmp_path) -> None:
    spec = GAUSSIAN.model_copy(update={"logged_environments": 4, "rollout_steps": 100, "total_steps": 4 * 100 * 4})
    run(tmp_path, spec)
    steps = steps_of(tmp_path)
    assert len(steps) == 4 * 100 * 4
    assert set(steps["arm"]) == {"learner"}
    assert steps["seq"].tolist() == list(range(len(steps)))
    episodes = steps.groupby("episode_id")
    for _, rows in episodes:
        assert rows["step"].tolist() == list(range(len(rows)))
    ended = episodes.filter(lambda rows: bool((rows["terminated"] | rows["truncated"]).iloc[-1]))
    returns = ended.groupby("episode_id")["reward.total"].sum()
    metrics = pd.read_parquet(tmp_path / "metrics.parquet")
    told = metrics.loc[metrics["episodes"] > 0, ["return_mean", "episodes"]]
    assert len(returns) == told["episodes"].sum()
    assert returns.mean() == pytest.approx(np.average(told["return_mean"], weights=told["episodes"]), rel=1e-5)


def test_what_is_logged_changes_nothing_of_the_training(tmp_path) -> None:
    run(tmp_path / "with", GAUSSIAN.model_copy(update={"logged_environments": 3}))
    run(tmp_path / "without", GAUSSIAN.model_copy(update={"logged_environments": 0}))
    first, second = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0.0, atol=0.0, equal_nan=True)
    assert not (tmp_path / "without" / "steps").exists()


@pytest.mark.parametrize("shielded", [True, False])
def test_a_row_tells_who_judged_it(shielded, tmp_path) -> None:
    run(tmp_path, shielded=shielded)
    steps = steps_of(tmp_path)
    assert set(steps["shield"]) == {shielded}
    assert steps["act.incumbent.Tc"].notna().all() == shielded  # without a shield nobody asks the incumbent
    moved = (steps["act.shielded.Tc"] != steps["act.proposed.Tc"]).to_numpy()
    assert (steps["shield.active"].to_numpy() == moved).all()
    plant = load_plant("cstr_safety")
    assert steps["act.shielded.Tc"].between(plant.action_low[0], plant.action_high[0]).all()


def test_a_crash_between_log_and_checkpoint_logs_no_step_twice(tmp_path, monkeypatch) -> None:
    spec = GAUSSIAN.model_copy(update={"logged_environments": 2})
    run(tmp_path / "whole", spec)
    real, calls = trainer.write_checkpoint, []

    def dies(path, tensors, facts):
        calls.append(path.name)
        if calls.count("latest.safetensors") == 3:
            raise CheckpointError("the disk is full")
        return real(path, tensors, facts)

    monkeypatch.setattr(trainer, "write_checkpoint", dies)
    with pytest.raises(CheckpointError, match="the disk is full"):
        run(tmp_path / "cut", spec)
    monkeypatch.undo()
    assert len(steps_of(tmp_path / "cut")) == 2 * 30 * 4  # four updates, of which the checkpoint knows two
    assert read_checkpoint(checkpoint_path(tmp_path / "cut", "latest"))[1]["log"]["rows"] == 2 * 30 * 2
    run(tmp_path / "cut", spec, resume=True)
    pd.testing.assert_frame_equal(steps_of(tmp_path / "whole"), steps_of(tmp_path / "cut"))
    assert verify_run(tmp_path / "cut", deep=True).intact


def test_steps_that_the_checkpoint_knows_and_the_log_has_lost_stop_the_training(tmp_path) -> None:
    with pytest.raises(Stopped):
        train(load_plant("cstr_safety"), GAUSSIAN, tmp_path, seed=5, progress=_stop_after(4))
    for path in segments(tmp_path, STAGE):
        path.unlink()
    with pytest.raises(LogError, match="found 0 rows, expected the 120 that the checkpoint knows"):
        train(load_plant("cstr_safety"), GAUSSIAN, tmp_path, seed=5, resume=True)


def test_a_checkpoint_of_an_earlier_release_goes_on_with_a_log_from_there(tmp_path, monkeypatch) -> None:
    spec = GAUSSIAN.model_copy(update={"rollout_steps": 25, "logged_environments": 2})
    cut = tmp_path / "cut"
    monkeypatch.setattr(TrainingLog, "state", lambda self: None)  # as an earlier release wrote it
    with pytest.raises(Stopped):
        train(load_plant("cstr_safety"), spec, cut, seed=5, progress=_stop_after(5))
    monkeypatch.undo()
    for path in segments(cut, STAGE):
        path.unlink()
    train(load_plant("cstr_safety"), spec, cut, seed=5, resume=True)
    steps = steps_of(cut)
    assert steps["seq"].tolist() == list(range(2 * 25 * 3))  # the checkpoint was of the fourth update
    assert steps["episode_id"].min() == 0
    assert steps["step"].iloc[0] == 100 - 60  # in the middle of the second episode
    assert (steps.groupby("episode_id")["step"].diff().dropna() == 1).all()


def test_the_logged_density_is_that_of_the_policy_that_proposed(tmp_path) -> None:
    plant = load_plant("cstr_safety")
    spec = GAUSSIAN.model_copy(update={"logged_environments": 2, "squash": False})
    loop = PlantTask(plant).loop(4, seed=1, device="cpu")
    policy = GaussianPolicy(loop.observation_size, loop.action_size, spec)
    generator = torch.Generator().manual_seed(2)
    densities, proposals = [], []
    with training_log(tmp_path, loop, PlantTask(plant), spec) as log:
        assert log is not None
        loop.reset()
        for _ in range(3):
            rollout = collect(loop, policy, 20, 1.0, generator)
            log.note(rollout, policy, policy)
            mean, std = policy.distribution(rollout.obs.flatten(0, 1))
            exact = torch.distributions.Normal(mean, std).log_prob(rollout.action.flatten(0, 1)).sum(-1)
            densities.append(exact.reshape(20, 4).detach())
            proposals.append(rollout.action)
            with torch.no_grad():
                policy.network.last.bias.add_(0.3)  # the policy moves on
        log.commit()
    steps = read_steps(tmp_path, STAGE).to_pandas()
    density, proposal = torch.cat(densities)[:, :2].T.flatten(), torch.cat(proposals)[:, :2].transpose(0, 1).flatten()
    assert steps["log_density"].to_numpy() == pytest.approx(density.numpy(), abs=1e-5)
    asked = plant.to_normalised(torch.tensor(steps[["act.proposed.Tc"]].to_numpy())).flatten()
    assert asked.numpy() == pytest.approx(proposal.numpy(), abs=1e-4)


@pytest.mark.parametrize(
    "spec",
    [FpoSpec(**SMALL), GaussianPpoSpec(**SMALL, candidates=3)],
    ids=["a flow, whose density is slow", "several candidates"],
)
def test_a_density_that_is_not_that_of_the_proposal_is_not_logged(spec, tmp_path) -> None:
    run(tmp_path, spec)
    assert steps_of(tmp_path)["log_density"].isna().all()


def test_the_log_reads_back_as_episodes_of_the_learner_alone(tmp_path) -> None:
    run(tmp_path, GAUSSIAN.model_copy(update={"logged_environments": 2, "total_steps": 4 * 30 * 8}))
    plant = load_plant("cstr_safety")
    logged = read_logged(tmp_path, plant, WarmStart(arms=("learner",), least_episodes=1))
    steps = steps_of(tmp_path)
    assert int(logged.kept.sum()) == len(steps) - steps["episode_id"].nunique() + int(steps["terminated"].sum())
    with pytest.raises(LogError, match="found no row of policy"):
        read_logged(tmp_path, plant, WarmStart(arms=("policy",), least_episodes=1))


def test_an_environment_of_gymnasium_leaves_no_step_log(tmp_path) -> None:
    train(GymTask("Pendulum-v1"), GAUSSIAN, tmp_path, seed=0)
    assert not (tmp_path / "steps").exists()


def test_a_run_whose_write_ahead_log_was_left_behind_is_recovered_and_resumed(tmp_path, monkeypatch) -> None:
    run(tmp_path / "whole")
    monkeypatch.setattr(StepLog, "close", StepLog.abandon)  # as a killed process leaves it

    with pytest.raises(Stopped):
        run(tmp_path / "killed", progress=_stop_after(4))
    monkeypatch.undo()
    assert list((tmp_path / "killed" / "wal").glob("*"))
    copy = shutil.copytree(tmp_path / "killed", tmp_path / "copy")
    run(tmp_path / "killed", resume=True)
    pd.testing.assert_frame_equal(steps_of(tmp_path / "whole"), steps_of(tmp_path / "killed"))
    assert verify_run(tmp_path / "killed", deep=True).intact
    with writing(copy, "evaluate", ("evaluation.json",)):
        pass  # another command recovers the rows as well
    assert len(steps_of(copy)) == 120
    assert verify_run(copy, deep=True).intact


def test_who_takes_every_row_does_not_mean_those_of_a_training(tmp_path) -> None:
    run(tmp_path)
    plant = load_plant("cstr_safety")
    with (
        writing(tmp_path, "log", ("steps/*",)),
        StepLog(tmp_path, "full", step_schema(plant.spec, plant.safety)) as log,
    ):
        rows = read_steps(tmp_path, STAGE).slice(0, 60).drop_columns(["seq", "stage"])
        columns = {name: rows[name].combine_chunks() for name in rows.column_names if name != "arm"}
        log.append({**columns, "arm": "policy"})
    assert int(read_logged(tmp_path, plant, WarmStart(arms=(), least_episodes=1)).kept.sum()) == 59
    frame = read_steps(tmp_path).to_pandas()
    counts = {
        choice: set(selected(frame, choice, tmp_path)["arm"])
        for choice in (Choice(), Choice(arms=("learner",)), Choice(stages=("training",)))
    }
    assert list(counts.values()) == [{"policy"}, {"learner"}, {"learner"}]
    assert read_log(tmp_path, plant.spec).rows == 60
    assert read_log(tmp_path / "steps" / "stage=training", plant.spec).rows == len(steps_of(tmp_path))
