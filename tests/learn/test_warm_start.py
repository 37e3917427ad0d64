"""A training that begins from a log acts as the log, holds still while its critic learns, and resumes to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from fpo_pilot.errors import LogError, TrainingError
from fpo_pilot.evaluate.comparison import variant_spec
from fpo_pilot.learn import train
from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.checkpoint import checkpoint_path, read_checkpoint
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.logged import LoggedEpisodes, read_logged
from fpo_pilot.learn.optimiser import FlatNetwork, Optimiser
from fpo_pilot.learn.warm_start import advantage_weights, fit_to_log
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.specs import spec_hash
from fpo_pilot.specs.training import FpoSpec, TrainingSpec, WarmStart
from tests.learn.conftest import plant_of

Write = Callable[..., Path]
TASK = "quad_tank"
SMALL = "num_envs=4,rollout_steps=8,passes=1,actor.width=16,critic.width=16,evaluation_episodes=1,checkpoint_every=1"


def spec_of(algorithm: str, settings: str = "", steps: int = 32 * 4) -> TrainingSpec:
    return variant_spec(TASK, f"{algorithm}:{SMALL},warm_start.critic_warm_up=2{settings}", steps)


def read(folder: Path, spec: TrainingSpec) -> LoggedEpisodes:
    return read_logged(folder, plant_of(TASK), spec.warm_start)


def fitted(logged: LoggedEpisodes, spec: TrainingSpec):
    generator = torch.Generator().manual_seed(1)
    policy = build_policy(spec, logged.obs.shape[-1], logged.action.shape[-1], generator=generator)
    critic = Critic(logged.obs.shape[-1], width=32, depth=2, generator=generator)
    optimiser = Optimiser((FlatNetwork(policy), FlatNetwork(critic)), spec)
    obs, action = logged.obs[logged.kept], logged.action[logged.kept]
    policy.normaliser.merge(obs)
    before = (policy.sample(obs, torch.zeros_like(action), 0.0) - action).square().mean()
    policy.normaliser.count.zero_()
    _, value_loss = fit_to_log(policy, critic, optimiser, logged, spec, generator)
    after = (policy.sample(obs, torch.zeros_like(action), 0.0) - action).square().mean()
    return policy, before, after, value_loss, optimiser


@pytest.mark.parametrize("algorithm", ["fpo", "dppo", "gaussian_ppo"])
@pytest.mark.parametrize("method", ["cloning", "advantage_weighted"])
def test_a_policy_fitted_to_a_log_acts_as_the_log(logged_incumbent: Write, algorithm: str, method: str) -> None:
    settings = ",actor.width=64,warm_start.passes=60,warm_start.spread=0.05,warm_start.minibatch=64"
    spec = spec_of(algorithm, f"{settings},warm_start.method={method}")
    _, before, after, value_loss, optimiser = fitted(read(logged_incumbent(), spec), spec)
    assert after.sqrt() < 0.12
    assert after < 0.1 * before
    assert value_loss < 0.5  # of a variance of 1
    assert not optimiser.state_dict()


def test_weights_are_the_bounded_exponential_of_the_normalised_advantage() -> None:
    weight = advantage_weights(torch.tensor([0.0, 2.0, 4.0]), temperature=1.0, bound=20.0)
    raw = torch.tensor([-1.2247449, 0.0, 1.2247449]).exp()  # std of 0, 2, 4 is 1.6329932
    torch.testing.assert_close(weight, raw / raw.mean())
    bounded = advantage_weights(torch.tensor([0.0, 2.0, 4.0]), temperature=1e-3, bound=5.0)
    torch.testing.assert_close(bounded, torch.tensor([0.0, 0.5, 2.5]))  # min(e^0, 5) = 1 of 6, 5 of 6, times 3


def test_of_two_actions_the_weighted_copy_takes_the_better_one(logged_incumbent: Write) -> None:
    spec = spec_of("gaussian_ppo", ",actor.width=64,warm_start.passes=60,warm_start.method=advantage_weighted")
    spec = spec.model_copy(update={"warm_start": spec.warm_start.model_copy(update={"temperature": 0.3})})
    generator = torch.Generator().manual_seed(0)
    steps, rows = 10, 40
    good = torch.rand(steps, rows, generator=generator) < 0.5
    end = torch.arange(steps).unsqueeze(1).expand(steps, rows) == steps - 1
    obs = torch.randn(steps, rows, 3, generator=generator)
    logged = LoggedEpisodes(
        obs=obs,
        next_obs=obs.roll(-1, 0),
        action=torch.where(good, 0.5, -0.5).unsqueeze(-1),
        reward=torch.where(good, 10.0, -10.0),
        terminated=end,
        truncated=torch.zeros_like(end),
        step=torch.arange(steps).unsqueeze(1).expand(steps, rows),
        measured=obs.double(),
        next_measured=obs.roll(-1, 0).double(),
        previous=torch.zeros(steps, rows, 1),
        proposal=torch.where(good, 0.5, -0.5).unsqueeze(-1),
        log_density=torch.full((steps, rows), torch.nan),
        kept=torch.ones_like(end),
        source=read(logged_incumbent(), spec).source,
    )
    weighted = fitted(logged, spec)[0]
    even = fitted(logged, spec.model_copy(update={"warm_start": WarmStart(passes=60)}))[0]
    seen, quiet = obs.flatten(0, 1), torch.zeros(steps * rows, 1)
    assert weighted.sample(seen, quiet, 0.0).mean() > 0.3
    assert even.sample(seen, quiet, 0.0).mean().abs() < 0.15


def run(
    folder: Path,
    spec: TrainingSpec,
    logged: LoggedEpisodes | None,
    *,
    resume: bool = False,
    progress: Callable[[object], None] | None = None,
) -> None:
    """Train without shields: they cost most of the time, and a beginning knows nothing of them."""
    train(plant_of(TASK), spec, folder, seed=3, warm_start=logged, resume=resume, progress=progress)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(checkpoint_path(folder, "latest"))[0]


@pytest.mark.parametrize("algorithm", ["fpo", "gaussian_ppo"])
def test_the_policy_stays_as_it_is_until_the_critic_is_warm(
    logged_incumbent: Write, tmp_path: Path, algorithm: str
) -> None:
    settings = ",warm_start.passes=2,learning_rate_end=1e-3"
    long = spec_of(algorithm, settings)
    logged = read(logged_incumbent(), long)
    seen: list[dict[str, torch.Tensor]] = []
    run(tmp_path / "run", long, logged, progress=lambda _: seen.append(weights(tmp_path / "run")))
    policy = [{name: value for name, value in state.items() if name.startswith("policy.")} for state in seen]
    critic = [{name: value for name, value in state.items() if name.startswith("critic.")} for state in seen]
    assert all(torch.equal(policy[0][name], policy[1][name]) for name in policy[0])
    assert not all(torch.equal(policy[1][name], policy[2][name]) for name in policy[0])
    assert not all(torch.equal(critic[0][name], critic[1][name]) for name in critic[0])
    # with other statistics of the observations the same weights would be another policy than the copy
    for name in ("count", "mean", "squares", "scale"):
        assert all(
            torch.equal(state[f"policy.normaliser.{name}"], seen[0][f"policy.normaliser.{name}"]) for state in seen
        )
    assert float(seen[0]["policy.normaliser.count"]) == int(logged.kept.sum())
    metrics = pd.read_parquet(tmp_path / "run" / "metrics.parquet")
    assert metrics["learning_rate"].tolist() == pytest.approx([0.1 * long.learning_rate] * 4)
    record = Manifest.read(tmp_path / "run").warm_start
    assert record == logged.source
    assert len(record.ledger_root) == 64


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_a_warm_started_training_resumes_to_the_bit_in_the_warm_up_and_after_it(
    logged_incumbent: Write, tmp_path: Path, after: int
) -> None:
    spec = spec_of("fpo", ",warm_start.passes=2")
    logged = read(logged_incumbent(), spec)
    run(tmp_path / "whole", spec, logged)
    count = 0

    def stop(_: object) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(tmp_path / "cut", spec, logged, progress=stop)
    run(tmp_path / "cut", spec, None, resume=True)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_run_without_a_checkpoint_needs_its_log_again(logged_incumbent: Write, tmp_path: Path) -> None:
    spec = spec_of("fpo", ",warm_start.passes=2")
    logged = read(logged_incumbent(), spec)
    run(tmp_path / "run", spec, logged)
    checkpoint_path(tmp_path / "run", "latest").unlink()
    with pytest.raises(TrainingError, match="before its first checkpoint"):
        run(tmp_path / "run", spec, None, resume=True)


def test_two_ways_to_begin_are_refused(logged_incumbent: Write, tmp_path: Path) -> None:
    spec = spec_of("fpo", ",cloning.episodes=2")
    with pytest.raises(TrainingError, match="--warm-start and cloning"):
        run(tmp_path / "run", spec, read(logged_incumbent(), spec))


def test_settings_at_their_defaults_leave_the_hash_of_a_spec_as_it_was() -> None:
    assert spec_hash(FpoSpec()) == spec_hash(FpoSpec(warm_start=WarmStart()))
    assert spec_hash(FpoSpec()) != spec_hash(FpoSpec(warm_start=WarmStart(passes=3)))


def test_the_command_begins_from_a_log_and_refuses_one_of_another_plant(
    logged_incumbent: Write, tmp_path: Path
) -> None:
    from fpo_pilot.commands.train import train_run

    spec = spec_of("fpo", ",warm_start.passes=2")
    log = logged_incumbent()
    train_run(TASK, spec, tmp_path / "run", seed=3, quiet=True, warm_start=log)
    record = Manifest.read(tmp_path / "run").warm_start
    assert record is not None
    assert (record.log, record.episodes) == (str(log), 4)
    train_run(TASK, spec, tmp_path / "run", seed=3, quiet=True, resume=True)
    with pytest.raises(LogError, match="another plant"):
        train_run("cstr_safety", spec, tmp_path / "other", seed=3, quiet=True, warm_start=log)
    assert not (tmp_path / "other").exists()
