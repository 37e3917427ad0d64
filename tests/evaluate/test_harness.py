from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fpo_pilot.errors import PolicyError
from fpo_pilot.evaluate import Evaluation, build_arms, evaluate, rows_as_table
from fpo_pilot.evaluate.cells import Bench, Cell
from fpo_pilot.logs import read_episodes, read_steps, read_table
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.evaluation import EvaluationSpec, Scenario, SensorFault

SPEC = EvaluationSpec(episodes=4, log_episodes=2, oracle=False)


def cost(evaluation: Evaluation, arm: str, mode: str = "", *, shield: bool = True) -> float:
    (row,) = [r for r in evaluation.rows if (r.arm, r.mode, r.shield) == (arm, mode, shield)]
    assert row.returns.mean is not None
    return -row.returns.mean


@pytest.fixture(scope="module", autouse=True)
def _code_that_nobody_edits() -> Iterator[None]:
    """The tests on resuming hold while someone edits the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fpo_pilot.evaluate.cells.code_hash", lambda: "0" * 64)
        yield


@pytest.fixture(scope="module")
def finished(full_reactor: Plant, linear: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    folder = tmp_path_factory.mktemp("run")
    spec = EvaluationSpec(episodes=4, log_episodes=2)
    arms = build_arms(full_reactor, {"flow": linear(100.0), "gaussian_ppo": linear(160.0)})
    return evaluate(full_reactor, arms, spec, folder, seed=7, command="fpo-pilot evaluate run"), folder


def test_the_reactor_costs_what_is_known(finished: tuple[Evaluation, Path]) -> None:
    evaluation, _ = finished
    assert cost(evaluation, "incumbent", shield=False) == pytest.approx(67.85, abs=0.005)
    assert cost(evaluation, "hold", shield=False) == pytest.approx(95.8, abs=0.05)
    assert cost(evaluation, "oracle", shield=False) == pytest.approx(17.37, abs=0.01)


def test_a_shield_that_need_not_act_changes_nothing(finished: tuple[Evaluation, Path]) -> None:
    evaluation, _ = finished
    for arm, mode in (("incumbent", ""), ("hold", ""), ("oracle", ""), ("gaussian_ppo", "noise 0, euler 5")):
        assert cost(evaluation, arm, mode) == pytest.approx(cost(evaluation, arm, mode, shield=False), rel=1e-5)
    by_shield = {
        (r.arm, r.shield): r.interventions_per_100_steps for r in evaluation.rows if r.mode in ("", "noise 0, euler 5")
    }
    assert by_shield["oracle", True] == by_shield["hold", True] == by_shield["incumbent", True] == 0.0


def test_a_policy_that_is_the_incumbent_costs_the_same(finished: tuple[Evaluation, Path]) -> None:
    evaluation, _ = finished
    assert cost(evaluation, "gaussian_ppo", "noise 0, euler 5") == pytest.approx(67.85, abs=0.01)


def test_the_verdict_passes_a_better_policy_and_says_that_one_episode_is_all_the_evidence(
    make_plant: Callable[..., Plant], linear: Any, tmp_path: Path
) -> None:
    plant = make_plant(incumbent={"kind": "constant", "values": {"Tc": 301.0}})
    spec = SPEC.model_copy(update={"noise_scales": (0.0,)})
    evaluation = evaluate(plant, build_arms(plant, {"flow": linear(160.0)}), spec, tmp_path, seed=1)
    assert evaluation.deterministic
    assert evaluation.verdict.result == "pass"
    assert "one episode is all the evidence there is" in evaluation.verdict.reason
    assert evaluation.verdict.difference is not None
    assert evaluation.verdict.difference.degenerate


def test_the_verdict_fails_a_worse_policy(finished: tuple[Evaluation, Path]) -> None:
    evaluation, _ = finished
    assert evaluation.verdict.candidate is not None
    assert evaluation.verdict.candidate.arm == "flow"
    assert evaluation.verdict.result == "fail"


def test_equal_episodes_count_once_as_evidence_of_safety(finished: tuple[Evaluation, Path]) -> None:
    evaluation, _ = finished
    rows = {(row.arm, row.mode): row.violations for row in evaluation.rows if row.shield}
    certain, sampled = rows["flow", "noise 0, euler 5"], rows["flow", "noise 1, euler 5"]
    assert (certain.episodes_with, certain.n, certain.independent) == (0, 4, 1)
    assert certain.upper95 == pytest.approx(0.95)
    assert sampled.independent == 4
    assert sampled.upper95 == pytest.approx(1 - 0.05 ** (1 / 4))


def test_what_is_written_is_what_is_returned(finished: tuple[Evaluation, Path]) -> None:
    evaluation, folder = finished
    written = json.loads((folder / "evaluation.json").read_text())
    assert written == json.loads(json.dumps(evaluation.model_dump(mode="json")))
    assert Evaluation.model_validate(written) == evaluation
    assert written["rows"][0]["return"]["n"] == 4
    assert not (folder / "evaluation.partial").exists()
    episodes = read_episodes(folder)
    row = written["rows"][0]
    own = [
        r["return"]
        for r in episodes.to_pylist()
        if (r["arm"], r["mode"], r["shield"]) == (row["arm"], row["mode"], row["shield"])
    ]
    assert np.mean(own) == pytest.approx(row["return"]["mean"])


def test_the_step_log_explains_the_episodes(finished: tuple[Evaluation, Path]) -> None:
    _, folder = finished
    steps = read_steps(folder, "offline").to_pandas()
    assert set(steps["arm"]) == {"hold", "incumbent", "oracle", "flow", "gaussian_ppo"}
    assert sorted(steps["episode_id"].unique()) == [0, 1]
    one = steps[(steps["arm"] == "incumbent") & steps["shield"] & (steps["episode_id"] == 0)]
    assert list(one["step"]) == list(range(60))
    assert one["reward.total"].sum() == pytest.approx(-67.85, abs=0.005)
    assert (one["reward.quality"] + one["reward.smoothness"]).sum() == pytest.approx(-67.85, abs=0.005)
    first = one.iloc[0]  # before the first action: the start of the episode
    assert (first["obs.Ca"], first["obs.T"], first["ref.Ca_sp"]) == pytest.approx((0.8, 330.0, 0.85))
    expected = 300.25 + 160.0 * (0.8 - 0.85)  # = 292.25, which the incumbent itself clips to 295
    assert expected < 295.0
    for vector in ("incumbent", "proposed", "shielded", "applied"):
        assert first[f"act.{vector}.Tc"] == pytest.approx(295.0)
    margins = 350.0 - one["obs.T"].to_numpy()  # the margin of a step is that of the state which it leads to
    assert one["margin.T_trip"].to_numpy()[:-1] == pytest.approx(margins[1:], abs=1e-3)
    assert one["end_reason"].isna().sum() == 59
    assert one["end_reason"].iloc[-1] == "horizon"
    assert not one["shield.active"].any()


def test_deployments_are_chosen_on_other_episodes_than_those_reported(finished: tuple[Evaluation, Path]) -> None:
    evaluation, folder = finished
    chosen = evaluation.deployment
    assert chosen is not None
    assert (chosen.label, chosen.method, chosen.steps) == ("noise 0, euler 5", "euler", 5)
    assert [choice.label for choice in chosen.chosen_from] == [
        "noise 0, euler 5",
        "noise 0.5, euler 5",
        "noise 1, euler 5",
    ]
    seeds = set(read_table(folder, "selection.parquet")["seed"].to_pylist())
    assert seeds
    assert not seeds & set(read_episodes(folder)["seed"].to_pylist())
    assert evaluation.deployments["gaussian_ppo"].arm == "gaussian_ppo"


def test_a_finished_evaluation_is_not_computed_again(
    finished: tuple[Evaluation, Path], full_reactor: Plant, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation, folder = finished
    written, episodes = (folder / "evaluation.json").read_bytes(), read_episodes(folder)
    monkeypatch.setattr(Bench, "run", lambda self, cell: pytest.fail(f"computed again: {cell.title}"))
    arms = build_arms(full_reactor, {"flow": linear(100.0), "gaussian_ppo": linear(160.0)})
    spec = EvaluationSpec(episodes=4, log_episodes=2)
    assert evaluate(full_reactor, arms, spec, folder, seed=7, command="fpo-pilot evaluate run") == evaluation
    assert (folder / "evaluation.json").read_bytes() == written
    assert read_episodes(folder).equals(episodes)


def ran_cells(monkeypatch: pytest.MonkeyPatch, dies_at: int | None = None) -> list[str]:
    ran: list[str] = []
    original = Bench.run

    def run(self: Bench, cell: Cell) -> Any:
        if len(ran) == dies_at:
            raise KeyboardInterrupt
        ran.append(cell.title)
        return original(self, cell)

    monkeypatch.setattr(Bench, "run", run)
    return ran


def test_an_interrupted_evaluation_goes_on_where_it_stopped(
    reactor: Plant, linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EvaluationSpec(episodes=2, log_episodes=1, oracle=False, noise_scales=(0.0,))
    arms = build_arms(reactor, {"flow": linear()})
    with monkeypatch.context() as patch:
        first = ran_cells(patch, dies_at=4)
        with pytest.raises(KeyboardInterrupt):
            evaluate(reactor, arms, spec, tmp_path / "a", seed=0)
        assert not (tmp_path / "a" / "episodes.parquet").exists()
    with monkeypatch.context() as patch:
        second = ran_cells(patch)
        evaluate(reactor, arms, spec, tmp_path / "a", seed=0)
    evaluate(reactor, arms, spec, tmp_path / "b", seed=0)
    assert (len(first), len(second)) == (4, 2)
    assert not set(first) & set(second)
    assert read_episodes(tmp_path / "a").equals(read_episodes(tmp_path / "b"))
    assert read_steps(tmp_path / "a").equals(read_steps(tmp_path / "b"))


def test_what_a_result_depends_on_is_computed_anew_when_it_changes(
    reactor: Plant, linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EvaluationSpec(episodes=2, log_episodes=1, oracle=False, noise_scales=(0.0,))
    evaluate(reactor, build_arms(reactor, {"flow": linear(100.0)}), spec, tmp_path, seed=0)
    ran = ran_cells(monkeypatch)
    evaluate(reactor, build_arms(reactor, {"flow": linear(101.0)}), spec, tmp_path, seed=0)
    assert ran == ["flow, noise 0, euler 5, shield on, nominal", "flow, noise 0, euler 5, shield off, nominal"]
    ran.clear()
    evaluate(reactor, build_arms(reactor, {"flow": linear(101.0)}), spec, tmp_path, seed=1)
    assert len(ran) == 6
    ran.clear()
    with monkeypatch.context() as patch:
        patch.setattr("fpo_pilot.evaluate.cells.code_hash", lambda: "1" * 64)
        evaluate(reactor, build_arms(reactor, {"flow": linear(101.0)}), spec, tmp_path, seed=1)
    assert len(ran) == 6
    assert set(read_episodes(tmp_path)["seed"].to_pylist()) == {1, 2}
    assert set(read_steps(tmp_path)["cell"].to_pylist()) == set(read_episodes(tmp_path)["cell"].to_pylist())


def test_an_evaluation_made_again_keeps_the_earlier_ones_and_counts_those_of_the_same_weights(
    reactor: Plant, linear: Any, tmp_path: Path
) -> None:
    def run(gain: float, seed: int) -> Evaluation:
        spec = EvaluationSpec(episodes=2, log_episodes=1, oracle=False, noise_scales=(0.0,))
        return evaluate(reactor, build_arms(reactor, {"flow": linear(gain)}), spec, tmp_path, seed=seed)

    first = run(100.0, 0)
    assert first.earlier == ()
    assert run(100.0, 0) == first  # the same once more is no further look
    kept = {name: (tmp_path / name).read_bytes() for name in ("evaluation.json", "episodes.parquet", "worst.json")}
    other = run(101.0, 0)
    assert [(one.seed, one.result, one.same_policy) for one in other.earlier] == [(0, first.verdict.result, False)]
    assert "of these weights" not in other.verdict.reason
    moved = tmp_path / "earlier" / "evaluation-000"
    assert {name: (moved / name).read_bytes() for name in kept} == kept
    assert list((moved / "steps" / "stage=offline").glob("*.parquet"))
    third = run(100.0, 5)
    assert [one.same_policy for one in third.earlier] == [True, False]
    assert third.verdict.reason.endswith(f"It is evaluation 2 of these weights; before: {first.verdict.result}.")
    assert run(100.0, 5) == third
    assert len(list((tmp_path / "earlier").iterdir())) == 2


def test_all_arms_see_the_same_episodes(spread_reactor: Plant, linear: Any, tmp_path: Path) -> None:
    evaluation = evaluate(spread_reactor, build_arms(spread_reactor, {"flow": linear()}), SPEC, tmp_path, seed=3)
    steps = read_steps(tmp_path).to_pandas()
    starts = steps[steps["step"] == 0].groupby("episode_id")["obs.Ca"]
    assert (starts.nunique() == 1).all()
    assert starts.first().nunique() == 2
    assert not evaluation.deterministic
    row = next(row for row in evaluation.rows if row.arm == "hold")
    assert not row.returns.degenerate
    assert row.violations.independent == 4


def test_there_is_no_oracle_where_chance_decides(spread_reactor: Plant, linear: Any, tmp_path: Path) -> None:
    spec = EvaluationSpec(episodes=2, log_episodes=0, noise_scales=(0.0,))
    evaluation = evaluate(spread_reactor, build_arms(spread_reactor, {"flow": linear()}), spec, tmp_path, seed=3)
    assert [(s.arm, s.reason) for s in evaluation.skipped] == [
        ("oracle", "the episode is not decided by its actions: the start of Ca is drawn")
    ]
    assert all(row.arm != "oracle" for row in evaluation.rows)


def test_a_proposal_that_is_not_finite_never_reaches_the_actuator(reactor: Plant, linear: Any, tmp_path: Path) -> None:
    spec = EvaluationSpec(episodes=2, log_episodes=1, oracle=False, noise_scales=(0.0,))
    evaluation = evaluate(reactor, build_arms(reactor, {"flow": linear(broken=True)}), spec, tmp_path, seed=0)
    (row,) = [row for row in evaluation.rows if row.arm == "flow" and row.shield]
    assert row.interventions_per_100_steps == 100.0
    (incumbent,) = [row for row in evaluation.rows if row.arm == "incumbent" and row.shield]
    assert row.returns.mean == pytest.approx(incumbent.returns.mean)  # the fallback is the incumbent
    steps = read_steps(tmp_path).to_pandas()
    logged = steps[(steps["arm"] == "flow") & steps["shield"]]
    assert logged["act.proposed.Tc"].isna().all()
    assert logged["act.applied.Tc"].notna().all()
    assert all(len(reasons) > 0 for reasons in logged["shield.reasons"])


def test_a_trip_ends_the_episode_and_fails_the_verdict_although_it_saves_cost(
    reactor: Plant, linear: Any, tmp_path: Path
) -> None:
    hot = Scenario.model_validate({"name": "hot", "start": {"T": {"kind": "fixed", "value": 340.0}}})
    spec = EvaluationSpec(episodes=2, log_episodes=1, oracle=False, noise_scales=(0.0,), scenarios=(hot,))
    heats = linear(0.0, 302.0)  # from 340 K at 302 K the reactor runs away in the second step
    evaluation = evaluate(reactor, build_arms(reactor, {"flow": heats}), spec, tmp_path, seed=0)
    table = read_episodes(tmp_path).to_pandas()
    flow = table[table["arm"] == "flow"]
    assert list(flow["steps"]) == [2] * 4
    assert list(flow["end_reason"]) == ["trip"] * 4
    assert list(flow["violations_hard"]) == [1] * 4
    assert (flow["margin_min.T_trip"] < 0.0).all()
    assert list(table[table["arm"] == "incumbent"]["end_reason"]) == ["horizon"] * 4
    (row,) = [row for row in evaluation.rows if row.arm == "flow" and row.shield]
    assert (row.violations.episodes_with, row.violations.n) == (2, 2)
    assert evaluation.verdict.result == "fail"
    assert "hard limit" in evaluation.verdict.reason
    logged = read_steps(tmp_path).to_pandas()
    assert (logged[logged["arm"] == "flow"].groupby("shield").size() == 2).all()


def test_scenarios_are_judged_one_by_one_and_the_worst_decides(
    make_plant: Callable[..., Plant], linear: Any, tmp_path: Path
) -> None:
    plant = make_plant(incumbent={"kind": "constant", "values": {"Tc": 301.0}})
    blind = Scenario(name="blind", faults=(SensorFault(signal="Ca", kind="bias", value=0.1),))
    spec = EvaluationSpec(episodes=2, log_episodes=0, oracle=False, noise_scales=(0.0,), scenarios=(Scenario(), blind))
    evaluation = evaluate(plant, build_arms(plant, {"flow": linear(160.0)}), spec, tmp_path, seed=0)
    found = {verdict.scenario: verdict.result for verdict in evaluation.verdict.by_scenario}
    assert found == {"nominal": "pass", "blind": "fail"}
    assert evaluation.verdict.result == "fail"
    assert evaluation.verdict.scenario == "blind"
    assert evaluation.faulty_scenarios == ("blind",)


def test_a_plant_without_a_safety_spec_has_neither_shield_nor_incumbent(
    make_plant: Callable[..., Plant], linear: Any, tmp_path: Path
) -> None:
    plant = make_plant(safety=False)
    evaluation = evaluate(plant, build_arms(plant, {"flow": linear()}), SPEC, tmp_path, seed=0)
    assert not any(row.shield for row in evaluation.rows)
    assert evaluation.verdict.result == "inconclusive"
    assert "no safety spec" in evaluation.verdict.reason


def test_the_table_for_people_shows_costs_and_marks_the_candidate(finished: tuple[Evaluation, Path]) -> None:
    columns, rows = rows_as_table(finished[0])
    assert columns[3:6] == ("cost", "interval", "cost without shield")
    assert len(rows) == 9  # hold, incumbent, oracle, and two policies in three modes
    assert [row[:2] for row in rows if row[0].startswith("→")] == [("→ flow", "noise 0, euler 5")]
    incumbent = next(row for row in rows if row[0] == "incumbent")
    assert incumbent == ("incumbent", "-", "nominal", "67.85", "no spread", "67.85", "4", "0 of 4", "0")
    sampled = next(row for row in rows if row[:2] == ("flow", "noise 1, euler 5"))
    low, high = (float(part) for part in sampled[4].split(" to "))
    assert low < float(sampled[3]) < high


def test_progress_grows_to_one(reactor: Plant, linear: Any, tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    spec = EvaluationSpec(episodes=1, log_episodes=0, oracle=False, noise_scales=(0.0,))
    arms = build_arms(reactor, {"flow": linear()})
    evaluate(reactor, arms, spec, tmp_path, seed=0, progress=lambda done, text: told.append((done, text)))
    fractions = [done for done, _ in told]
    assert fractions == sorted(fractions)
    assert told[-1] == (1.0, "done")
    assert told[0][1] == "hold, shield on, nominal"


def test_names_of_policies_are_their_own(reactor: Plant, linear: Any, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="found the name 'oracle'"):
        build_arms(reactor, {"oracle": linear()})
    with pytest.raises(PolicyError, match="found a object, expected a torch module"):
        build_arms(reactor, {"flow": object()})  # type: ignore[dict-item]
    twice = (*build_arms(reactor, {"flow": linear()}), *build_arms(reactor, {"flow": linear()}))
    with pytest.raises(PolicyError, match="twice"):
        evaluate(reactor, twice, SPEC, tmp_path, seed=0)


def test_threads_are_as_before_after_an_evaluation(reactor: Plant, linear: Any, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        used: list[int] = []
        spec = EvaluationSpec(episodes=1, log_episodes=0, oracle=False, noise_scales=(0.0,))
        arms = build_arms(reactor, {"flow": linear()})
        evaluate(
            reactor, arms, spec, tmp_path, seed=0, progress=lambda done, text: used.append(torch.get_num_threads())
        )
        assert set(used[:-1]) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
