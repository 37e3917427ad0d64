from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fpo_pilot.errors import LogError, RolloutError
from fpo_pilot.logs.reader import read_steps
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.rollout import Injection, RolloutResult, run_rollout
from fpo_pilot.rollout.blocks import switchback
from fpo_pilot.rollout.cycle import guards
from fpo_pilot.rollout.machine import Event, GuardFired, RolloutState, StagePlan, advance
from fpo_pilot.rollout.plan import make_plan
from fpo_pilot.specs.safety import DifferenceGate, RateGate, SafetySpec, Stage


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plant() -> Plant:
    return load_plant("cstr_safety")


def quick(safety: SafetySpec) -> SafetySpec:
    """The same limits and shields, with gates that a few blocks decide."""
    band = RateGate(id="band", event="outside_band", limit_rate=0.5, confidence=0.8)
    hard = RateGate(id="hard", event="hard_violation", limit_rate=0.5, confidence=0.8)
    difference = DifferenceGate(id="return", margin=150.0, range=(-230.0, 230.0), confidence=0.6)
    stages = (
        Stage(name="shadow", min_blocks=2, max_blocks=12, gates=(band,), agreement_band=0.3),
        Stage(name="bounded", authority=(0.2, 0.6), min_blocks=4, max_blocks=40, gates=(hard, difference)),
        Stage(name="full", min_blocks=2, max_blocks=12, gates=(hard,)),
    )
    return safety.model_copy(update={"stages": stages})


def as_incumbent(plant: Plant, gain: float = 200.0):
    """A stand-in for a good policy: the incumbent's law with a little more gain, from the observed set point error."""
    middle = (plant.action_high[0] + plant.action_low[0]) / 2
    half = (plant.action_high[0] - plant.action_low[0]) / 2

    def act(obs: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return (300.25 + gain * 0.05 * obs[:, 2:3] - middle) / half, {}

    return act


def rollout(plant: Plant, folder: Path, act=None, **options) -> RolloutResult:
    assert plant.safety is not None
    return run_rollout(plant, quick(plant.safety), act or as_incumbent(plant), folder, seed=7, **options)


@pytest.fixture(scope="module")
def good(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> RolloutResult:
    return rollout(plant, tmp_path_factory.mktemp("good"))


def test_a_good_policy_reaches_full_one_rung_at_a_time(good: RolloutResult) -> None:
    assert good.final_stage == "full"
    assert good.final_authority == 1.0
    assert [(t["from_stage"], t["to_stage"], t["authority"]) for t in good.transitions] == [
        ("shadow", "bounded", 0.2),
        ("bounded", "bounded", 0.6),
        ("bounded", "full", 1.0),
    ]
    assert good.guards == ()


def test_in_shadow_the_plant_gets_the_incumbent_and_the_policy_only_computes(good: RolloutResult) -> None:
    steps = read_steps(good.folder, "shadow").to_pandas()
    assert (steps["authority"] == 0.0).all()
    assert (steps["arm"] == "incumbent").all()
    assert np.allclose(steps["act.applied.Tc"], steps["act.incumbent.Tc"], atol=1e-4)
    assert not np.allclose(steps["act.proposed.Tc"], steps["act.incumbent.Tc"], atol=0.1)


def test_bounded_authority_is_never_exceeded(good: RolloutResult) -> None:
    steps = read_steps(good.folder, "bounded").to_pandas()
    policy = steps[steps["arm"] == "policy"]
    distance = (policy["act.applied.Tc"] - policy["act.incumbent.Tc"]).abs()
    assert (
        distance <= policy["authority"] * 20.0 + 3.0 + 1e-3
    ).all()  # the rate limit may hold it back from the incumbent
    free = policy[~policy["shield.active"] & (policy["act.incumbent.Tc"].diff().abs() < 1.0)]
    reach = free["authority"] * 20.0
    wanted = (free["act.shielded.Tc"] - free["act.incumbent.Tc"]).clip(-reach, reach) + free["act.incumbent.Tc"]
    assert np.isclose(free["act.applied.Tc"], wanted, atol=1e-3).mean() > 0.9
    incumbent = steps[steps["arm"] == "incumbent"]
    assert (incumbent["authority"] == 0.0).all()
    assert np.allclose(incumbent["act.applied.Tc"], incumbent["act.incumbent.Tc"], atol=1e-4)


def test_actions_keep_the_rate_limit_over_every_change_of_stage(good: RolloutResult) -> None:
    for stage in ("shadow", "bounded", "full"):
        for _, episode in read_steps(good.folder, stage).to_pandas().groupby("episode_id"):
            assert episode["act.applied.Tc"].diff().abs().max() <= 3.0 + 1e-3


def test_every_number_of_the_summary_follows_from_the_tables(good: RolloutResult) -> None:
    summary = json.loads((good.folder / "rollout.json").read_text("utf-8"))
    blocks = pd.read_parquet(good.folder / "blocks.parquet")
    assert summary["blocks"] == blocks["stage"].value_counts().to_dict()
    assert summary["episodes"] == len(blocks)
    policy = blocks[(blocks["stage"] == "bounded") & (blocks["arm"] == "policy")]
    assert summary["kpi"]["bounded"]["policy"]["mean"] == pytest.approx(policy["return"].mean())
    events = pd.read_parquet(good.folder / "events.parquet")
    assert (events["kind"] == "transition").sum() == len(summary["transitions"])
    steps = pd.concat([read_steps(good.folder, s).to_pandas() for s in ("shadow", "bounded", "full")])
    assert steps["seq"].tolist() == list(range(len(steps)))
    returns = steps.groupby("episode_id")["reward.total"].sum()
    assert blocks.set_index("episode_id")["return"].to_numpy() == pytest.approx(returns.to_numpy(), abs=1e-2)


def test_random_actions_do_not_leave_shadow(plant: Plant, tmp_path: Path) -> None:
    result = rollout(plant, tmp_path, random_actions=True)
    assert result.final_authority == 0.0
    assert result.final_stage in ("hold", "rolled_back")
    assert [t["from_stage"] for t in result.transitions] == ["shadow"]
    assert not (tmp_path / "steps" / "stage=bounded").exists()


def test_a_sensor_fault_in_bounded_gives_the_incumbent_the_plant_in_the_same_cycle(
    plant: Plant, tmp_path: Path
) -> None:
    result = rollout(plant, tmp_path, inject=Injection("T", "nan", "bounded"))
    assert result.final_stage == "rolled_back"
    assert result.final_authority == 0.0
    steps = read_steps(tmp_path, "bounded").to_pandas()
    bad = steps[steps["quality.T"] == 1]
    first = bad.iloc[0]
    before = steps[steps["seq"] == first["seq"] - 1].iloc[0]
    assert first["arm"] == "policy"
    assert before["authority"] == pytest.approx(0.2)
    assert first["authority"] == 0.0
    back = np.clip(first["act.incumbent.Tc"], before["act.applied.Tc"] - 3.0, before["act.applied.Tc"] + 3.0)
    assert first["act.applied.Tc"] == pytest.approx(back, abs=1e-3)
    assert (steps[steps["seq"] >= first["seq"]]["authority"] == 0.0).all()
    assert result.guards[0]["reason"] == "integrity.nan:T"
    assert result.guards[0]["step"] == first["step"]


def test_a_policy_that_says_nan_is_rolled_back_and_nothing_of_it_reaches_the_plant(
    plant: Plant, tmp_path: Path
) -> None:
    def nan(obs: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return torch.full((1, 1), torch.nan), {}

    result = rollout(plant, tmp_path, nan)
    assert result.final_stage == "rolled_back"
    steps = read_steps(tmp_path, "shadow").to_pandas()
    assert np.isfinite(steps["act.applied.Tc"]).all()
    assert np.allclose(steps["act.applied.Tc"], steps["act.incumbent.Tc"], atol=1e-4)


@pytest.mark.parametrize("broken", ["raises", "wrong shape"])
def test_a_policy_that_breaks_is_rolled_back_and_the_record_says_how(plant: Plant, tmp_path: Path, broken: str) -> None:
    cycles: list[int] = []

    def act(obs: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        cycles.append(1)
        if len(cycles) < 40:
            return as_incumbent(plant)(obs, generator)
        if broken == "raises":
            raise ValueError("weights are gone")
        return torch.zeros(1, 7), {}

    result = rollout(plant, tmp_path, act)
    assert (result.final_stage, result.final_authority) == ("rolled_back", 0.0)
    assert (result.guards[0]["reason"], result.guards[0]["step"]) == ("integrity.proposal", 39)
    steps = read_steps(tmp_path, "shadow").to_pandas()
    assert np.allclose(steps["act.applied.Tc"], steps["act.incumbent.Tc"], atol=1e-4)
    events = pd.read_parquet(tmp_path / "events.parquet")
    detail = json.loads(events[events["kind"] == "guard"]["detail"].iloc[0])
    assert ("weights are gone" if broken == "raises" else "expected (1, 1)") in detail["error"]


def test_a_proposal_that_is_no_number_fires_a_guard_even_without_an_integrity_shield() -> None:
    assert guards((), feasible=True, late=False, sound=False) == ["integrity.proposal"]
    assert guards(("integrity.proposal",), feasible=False, late=True, sound=False) == [
        "integrity.proposal",
        "infeasible",
        "deadline",
    ]
    assert guards(("rate:Tc", "box:Tc", "fallback.value"), feasible=True, late=False) == []


def test_a_step_that_cannot_be_logged_takes_all_authority_in_the_middle_of_an_episode(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fpo_pilot.rollout import record, runner

    real, told = record.Recorder.cycle, []

    def failing(self: record.Recorder, cycle, **where) -> None:
        if where["stage"] == "bounded" and cycle.authority > 0.0 and where["step"] == 5:
            raise LogError("disk full")
        real(self, cycle, **where)

    def listening(state: RolloutState, event: Event, plan: StagePlan):
        after = advance(state, event, plan)
        told.append((event, state.authority, after[0].authority))
        return after

    monkeypatch.setattr(record.Recorder, "cycle", failing)
    monkeypatch.setattr(runner, "advance", listening)
    with pytest.raises(RolloutError, match="authority was taken away"):
        rollout(plant, tmp_path)
    event, before, after = told[-1]
    assert isinstance(event, GuardFired)
    assert (event.reason, before, after) == ("log_unavailable", 0.2, 0.0)


def test_without_a_log_there_is_no_authority(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fpo_pilot.rollout import record

    written: list[int] = []
    real = record.Recorder.block

    def failing(self: record.Recorder, block) -> None:
        written.append(1)
        if len(written) > 3:
            raise LogError("disk full")
        real(self, block)

    monkeypatch.setattr(record.Recorder, "block", failing)
    with pytest.raises(RolloutError, match="authority was taken away"):
        rollout(plant, tmp_path)


def test_a_promotion_is_on_the_disk_before_its_authority_is_used(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fpo_pilot.rollout import record

    real = record.Recorder.cycle
    seen: list[tuple[float, list[float]]] = []

    def stopping(self: record.Recorder, cycle, **where) -> None:
        if cycle.authority > 0.0:
            events = pd.read_parquet(tmp_path / "events.parquet")
            seen.append((cycle.authority, events[events["kind"] == "transition"]["authority_to"].tolist()))
            raise KeyboardInterrupt
        real(self, cycle, **where)

    monkeypatch.setattr(record.Recorder, "cycle", stopping)
    with pytest.raises(KeyboardInterrupt):
        rollout(plant, tmp_path)
    ((used, granted),) = seen
    assert used == granted[-1] == 0.2


def test_a_promotion_that_the_disk_does_not_take_is_none(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fpo_pilot.rollout import record

    used: list[float] = []
    real = record.Recorder.cycle

    def watching(self: record.Recorder, cycle, **where) -> None:
        used.append(cycle.authority)
        real(self, cycle, **where)

    def failing(self: record.Recorder) -> None:
        raise LogError("disk full")

    monkeypatch.setattr(record.Recorder, "cycle", watching)
    monkeypatch.setattr(record.Recorder, "commit", failing)
    with pytest.raises(RolloutError, match="authority was taken away"):
        rollout(plant, tmp_path)
    assert used
    assert max(used) == 0.0


def test_a_second_roll_out_keeps_the_evidence_of_the_first(plant: Plant, tmp_path: Path) -> None:
    rollout(plant, tmp_path, max_episodes=2)
    first = (tmp_path / "blocks.parquet").read_bytes()
    rollout(plant, tmp_path, max_episodes=3)
    assert (tmp_path / "earlier/rollout-000/blocks.parquet").read_bytes() == first
    assert len(pd.read_parquet(tmp_path / "blocks.parquet")) == 3


def test_a_fault_on_a_signal_that_is_not_measured_is_refused(plant: Plant, tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="Ca, T"):
        rollout(plant, tmp_path, inject=Injection("Tc", "nan", "bounded"))
    assert list(tmp_path.iterdir()) == []


def test_a_spec_without_stages_is_refused(plant: Plant) -> None:
    assert plant.safety is not None
    with pytest.raises(RolloutError, match="shadow first"):
        make_plan(plant.safety.model_copy(update={"stages": ()}), ("a",))


def test_the_switchback_is_committed_by_its_seed_and_takes_both_orders() -> None:
    orders = switchback(3, 200)
    assert orders == switchback(3, 200)
    assert 60 < sum(order[0] == "policy" for order in orders) < 140
    assert all(sorted(order) == ["incumbent", "policy"] for order in orders)
