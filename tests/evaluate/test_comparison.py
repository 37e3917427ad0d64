from __future__ import annotations

import pytest
import torch

from fpo_pilot.errors import TrainingError
from fpo_pilot.evaluate.comparison import Budget, Job, curve_rows, finished, parse_variant, run_job, score, variant_spec
from fpo_pilot.evaluate.samplers import sampler_report
from fpo_pilot.learn import Deployment, load_policy
from fpo_pilot.learn.task import PlantTask
from fpo_pilot.plants.load import load_plant

TINY = "fpo:num_envs=4,rollout_steps=8,passes=1,minibatches=2,actor.width=8,actor.depth=2,evaluation_every=2,evaluation_episodes=2"
JOB = Job("cstr", TINY, 0)
BUDGET = Budget(128, 16)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    return out, run_job(JOB, out, BUDGET)


def test_settings_follow_the_name_of_an_algorithm() -> None:
    assert parse_variant("dppo") == ("dppo", {})
    assert parse_variant("fpo:clip=0.1,ratio=per_draw") == ("fpo", {"clip": "0.1", "ratio": "per_draw"})
    spec = variant_spec("cstr", "fpo:clip=0.1,ratio=per_draw,actor.width=32,gradient_clip=none", 5000)
    assert (spec.clip, spec.ratio, spec.actor.width, spec.actor.depth) == (0.1, "per_draw", 32, 3)
    assert (spec.gradient_clip, spec.total_steps) == (None, 5000)


def test_all_algorithms_have_the_budget_of_the_task() -> None:
    shared = ("total_steps", "num_envs", "rollout_steps", "discount", "reward_scale", "learning_rate")
    for task in ("cstr", "jam_clear", "gym:Pendulum-v1"):
        specs = [variant_spec(task, name) for name in ("fpo", "fpo_plus_plus", "dppo", "gaussian_ppo", "flow_q")]
        for field in shared:
            assert len({getattr(spec, field) for spec in specs}) == 1, (task, field)
    plus = variant_spec("cstr", "fpo_plus_plus")
    assert (plus.ratio, plus.trust_region, plus.samples_per_action, plus.reduction) == ("per_draw", "aspo", 16, "sqrt")


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("sac", "found 'sac'"),
        ("fpo:clip", "expected field=value"),
        ("fpo:klip=1", "found field 'klip'"),
        ("fpo:clip=-1", "clip: found '-1'"),
        ("gaussian_ppo:ratio=averaged", "found field 'ratio'"),
    ],
)
def test_wrong_settings_are_told(variant: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        variant_spec("cstr", variant)


def test_a_job_leaves_a_row_a_noise_scale_and_a_curve(compared) -> None:
    out, rows = compared
    assert [row["noise_scale"] for row in rows] == [0.0, 0.5, 1.0]
    assert sum(bool(row["deployed"]) for row in rows) == 1
    assert {row["steps"] for row in rows} == {128}
    assert finished(JOB, out)
    assert [row["steps"] for row in curve_rows(JOB, out)] == [64, 128]


def test_a_finished_job_is_scored_again_alike_and_not_trained_again(compared) -> None:
    out, rows = compared
    weights = (JOB.folder(out) / "checkpoints" / "latest.safetensors").stat().st_mtime_ns
    assert run_job(JOB, out, BUDGET) == rows
    assert (JOB.folder(out) / "checkpoints" / "latest.safetensors").stat().st_mtime_ns == weights


class Aimed:
    """Goes up, the more surely the less noise: zero noise is the best."""

    def modes(self):
        return (Deployment(0.0), Deployment(1.0))

    def sample(self, obs, noise, scale, **_):
        return torch.stack((-obs[:, 0].sign(), torch.ones(len(obs))), dim=-1) + 3.0 * scale * noise


def test_the_noise_scale_is_chosen_on_other_episodes_than_those_that_are_reported(monkeypatch) -> None:
    from fpo_pilot.evaluate import comparison

    seeds = []
    original = comparison.episode_batch
    monkeypatch.setattr(comparison, "episode_batch", lambda *a, **k: seeds.append((a[2], a[3])) or original(*a, **k))
    chosen, rows = score(PlantTask(load_plant("grid_world")), Aimed(), (0.0, 1.0), episodes=64, seed=5)
    assert chosen == 0.0
    assert rows[0]["score"] > rows[1]["score"]
    assert seeds == [((0.0,), 1_000_005), ((1.0,), 1_000_005), ((0.0,), 2_000_005), ((1.0,), 2_000_005)]


def test_the_sampler_report_measures_drift_from_a_fine_reference(compared) -> None:
    out, _ = compared
    policy = load_policy(JOB.folder(out))
    task = PlantTask(load_plant("cstr"))
    grid = (("euler", 1), ("euler", 100), ("heun", 4), ("rk4", 10))
    rows = sampler_report(task, policy, noise_scale=1.0, trained_steps=10, episodes=8, seed=0, grid=grid)
    found = {(row.method, row.steps): row for row in rows}
    assert next(iter(found)) == ("euler", 10)
    assert found["euler", 10].kept == 1.0
    assert found["euler", 100].drift == 0.0
    assert found["euler", 1].drift > found["euler", 10].drift > 0.0
    assert found["rk4", 10].drift < found["euler", 10].drift
    assert found["euler", 100].latency_us > found["euler", 1].latency_us
