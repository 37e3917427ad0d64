from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fpo_pilot.evidence.comparison import interquartile_mean, stratified_bootstrap
from fpo_pilot.evidence.comparison_tables import (
    improvement_table,
    interval_table,
    normalise_table,
    profile_table,
    sample_efficiency,
    score_tables,
    wall_clock_efficiency,
)
from fpo_pilot.evidence.interval import EvidenceError


def runs(seeds: int = 4, **shift: float) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    rows = [
        {"task": task, "algorithm": name, "seed": seed, "score": generator.random() + gain}
        for name, gain in (shift or {"fpo": 0.5, "dppo": 0.0}).items()
        for task in ("cstr", "tank")
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def curve(seed: int, points: dict[float, float], algorithm: str = "fpo", pace: float = 0.01) -> pd.DataFrame:
    """A learning curve from steps → score."""
    steps = np.array(list(points))
    facts = {"task": "tank", "algorithm": algorithm, "seed": seed, "steps": steps, "seconds": pace * steps}
    return pd.DataFrame({**facts, "score": list(points.values())})


def test_scores_are_normalised_by_task() -> None:
    table = pd.DataFrame({"task": ["b", "a", "b"], "score": [10, -50, 5], "seed": [0, 0, 1]})
    found = normalise_table(table, {"a": -100.0, "b": 0.0}, {"a": 0.0, "b": 10.0})
    assert found["score"].tolist() == [1.0, 0.5, 0.5]
    assert found["seed"].tolist() == [0, 0, 1]
    assert table["score"].tolist() == [10, -50, 5]


def test_each_algorithm_has_its_interval() -> None:
    table = runs()
    found = interval_table(table).set_index("algorithm")
    for name in ("fpo", "dppo"):
        matrix = table[table["algorithm"] == name].pivot_table(index="seed", columns="task", values="score").to_numpy()
        expected = stratified_bootstrap(matrix)
        row = found.loc[name]
        assert (row["score"], row["low"], row["high"]) == pytest.approx((expected.mean, expected.low, expected.high))
        assert (row["runs"], row["tasks"], row["confidence"], row["note"]) == (8, 2, 0.95, "")
    assert interval_table(runs(seeds=1))["low"].isna().all()


def test_pairs_of_algorithms_are_complementary() -> None:
    found = improvement_table(runs()).set_index(["x", "y"])["probability"]
    assert found["fpo", "dppo"] + found["dppo", "fpo"] == pytest.approx(1.0)
    assert found["fpo", "dppo"] > 0.5
    assert list(improvement_table(runs(fpo=0.0)).columns[:3]) == ["x", "y", "probability"]  # one algorithm: no pair


def test_profiles_fall_from_one_to_zero_on_common_thresholds() -> None:
    found = profile_table(runs())
    assert found.groupby("algorithm")["threshold"].apply(tuple).nunique() == 1
    for _, profile in found.groupby("algorithm"):
        assert profile["share"].iloc[0] == 1.0
        assert profile["share"].iloc[-1] == 0.0
    assert profile_table(runs(), [0.5])["threshold"].tolist() == [0.5, 0.5]


def test_a_curve_knows_its_last_evaluation_and_nothing_later() -> None:
    # Two seeds evaluated at different steps; at 150 they know 1 and 0, at 250 they know 1 and 20.
    table = pd.concat([curve(0, {100: 1.0, 300: 3.0}), curve(1, {50: 0.0, 200: 20.0, 300: 30.0})])
    found = sample_efficiency(table, grid=[60, 100, 150, 250, 300, 400])
    assert found["steps"].tolist() == [100.0, 150.0, 250.0, 300.0]  # not before both have a score, nor after their end
    assert found["score"].tolist() == [0.5, 0.5, 10.5, 16.5]  # two runs: the iqm is the mean
    assert found["low"].tolist() == [0.0, 0.0, 1.0, 3.0]  # a quarter of the bootstrap samples holds one seed twice
    assert found["high"].tolist() == [1.0, 1.0, 20.0, 30.0]


def test_a_run_that_was_given_up_ends_the_curve_or_is_held() -> None:
    table = pd.concat([curve(0, {100: 1.0, 200: 2.0}), curve(1, {100: 1.0, 200: 4.0, 400: 8.0})])
    cut = sample_efficiency(table, points=3)
    assert cut["steps"].tolist() == [100.0, 150.0, 200.0]
    held = sample_efficiency(table, points=4, after_end="hold")
    assert held["steps"].tolist() == [100.0, 200.0, 300.0, 400.0]
    assert held["score"].tolist() == [1.0, 3.0, 3.0, 5.0]  # the first keeps its 2


def test_seconds_are_an_axis_like_steps() -> None:
    slow = [curve(seed, {100: 1.0, 200: 2.0 + seed}, "dppo", pace=0.1) for seed in range(3)]
    fast = [curve(seed, {100: 1.0, 200: 2.0 + seed}) for seed in range(3)]
    found = wall_clock_efficiency(pd.concat(slow + fast), points=5)
    ends = found.groupby("algorithm")["seconds"].agg(["min", "max", "count"])
    assert ends.loc["dppo"].tolist() == [10.0, 20.0, 5]
    assert ends.loc["fpo"].tolist() == [1.0, 2.0, 5]  # as many points of its own, although ten times as fast
    assert found[found["seconds"].isin([2.0, 20.0])]["score"].tolist() == [3.0, 3.0]


def test_steps_are_common_to_algorithms() -> None:
    table = pd.concat([curve(s, {100: 1.0, 300 + 10 * s: 2.0}, name) for s in (0, 1) for name in ("fpo", "dppo")])
    found = sample_efficiency(table)
    assert found.groupby("algorithm")["steps"].apply(tuple).nunique() == 1
    assert found["score"].iloc[-1] == pytest.approx(1.5)  # at 300: 2, and 1 of the one that is evaluated at 310
    assert len(found) == 2 * 25


def test_the_last_point_is_the_interval_of_the_final_scores() -> None:
    generator = np.random.default_rng(1)
    final = generator.random((4, 1))
    table = pd.concat([curve(s, {1: 0.0, 2: float(final[s, 0])}) for s in range(4)])
    last = sample_efficiency(table, seed=7).iloc[-1]
    expected = stratified_bootstrap(final, seed=7)
    assert last["score"] == pytest.approx(interquartile_mean(final))
    assert (last["low"], last["high"]) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_band() -> None:
    found = sample_efficiency(curve(0, {1: 0.0, 2: 1.0}))
    assert found["low"].isna().all()
    assert found["high"].isna().all()
    assert set(found["note"]) == {"one seed: no spread between seeds to be seen"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="seed"), "found no column seed"),
        (lambda t: t.iloc[:0], "found no row"),
        (
            lambda t: pd.concat([t, t.iloc[:2]]),
            r"more than one row for task cstr, algorithm fpo, seed 0 \(2 such rows\)",
        ),
        (lambda t: t[(t["task"] != "tank") | (t["algorithm"] != "dppo")], "found no run of dppo on tank"),
        (lambda t: t.assign(score=np.nan), "scores of fpo: task cstr: found 4 of 4 scores that are not finite"),
    ],
)
def test_tables_that_would_mislead_are_refused(change: object, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        score_tables(change(runs()))  # type: ignore[operator]


def test_curves_that_have_no_common_range_are_refused() -> None:
    with pytest.raises(EvidenceError, match="a run that ends at 2 before another begins at 5"):
        sample_efficiency(pd.concat([curve(0, {1: 0.0, 2: 1.0}), curve(1, {5: 0.0, 6: 1.0})]))
    with pytest.raises(EvidenceError, match="no point for fpo, expected one from 1 to 2 steps"):
        sample_efficiency(curve(0, {1: 0.0, 2: 1.0}), grid=[10.0])
    with pytest.raises(EvidenceError, match="2 rows with seconds or score that is not finite"):
        wall_clock_efficiency(curve(0, {1: 0.0, 2: 1.0}).assign(seconds=np.nan))
    with pytest.raises(EvidenceError, match="more than one row for task tank"):
        sample_efficiency(pd.concat([curve(0, {1: 0.0}), curve(0, {1: 0.0})]))
