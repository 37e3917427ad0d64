"""Recomputes an offline evaluation from its own Parquet files: rows from episodes, episodes from steps, the verdict from both.

It needs neither torch nor the plant. What it takes from evaluation.json is what only the plant could tell: whether chance has
a part in an episode; then all episodes must be equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.evidence.evaluation import Candidate, Estimate, Evaluation, Row, Verdict
from fpo_pilot.evidence.interval import Floats
from fpo_pilot.evidence.statistics import clopper_pearson_upper
from fpo_pilot.evidence.verdict import Pair, judge
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.reader import read_steps, read_table

_STAGE = "offline"
_CLOSE = 1e-9
"""Relative, of what is computed again from the same numbers."""
_LOGGED = 1e-5
"""Relative; the step log has rewards in float32, an episode sums them in float64."""
_KEYS = ("arm", "mode", "shield", "scenario")


def recompute_evaluation(run_dir: Path) -> list[Fault]:
    """Recompute the evaluation of a run, if it has one; return what does not come out as it was written."""
    path = run_dir / "evaluation.json"
    if not path.exists():
        return []
    try:
        evaluation = Evaluation.model_validate_json(path.read_text("utf-8"))
        episodes = read_table(run_dir, "episodes.parquet")
        steps = read_steps(run_dir, _STAGE)
    except ValidationError as problem:
        return [Fault(path.name, f"{problem.error_count()} fields that do not fit", "an evaluation of this release")]
    except LogError as problem:
        return [Fault(path.name, str(problem), "an evaluation that can be read")]
    return [*_rows(evaluation, episodes), *_returns(episodes, steps), *_verdict(evaluation, episodes)]


def _of(table: pa.Table, arm: str, mode: str, shield: bool, scenario: str) -> pa.Table:
    keep = pc.equal(table["shield"], shield)
    for column, value in (("arm", arm), ("mode", mode), ("scenario", scenario)):
        keep = pc.and_(keep, pc.equal(pc.fill_null(pc.cast(table[column], pa.string()), ""), value))
    return table.filter(keep)


def _rows(evaluation: Evaluation, episodes: pa.Table) -> Iterator[Fault]:
    """Compare every row of the evaluation with its episodes."""
    for row in evaluation.rows:
        where = f"evaluation.json: {' '.join(filter(None, (row.arm, row.mode)))}, {row.scenario}"
        where += ", shield on" if row.shield else ", shield off"
        own = _of(episodes, row.arm, row.mode, row.shield, row.scenario)
        if own.num_rows != row.n:
            yield Fault(where, f"{own.num_rows} episodes", f"{row.n} as the row says")
            continue
        mean = float(_column(own, "return").mean())
        if not _same(mean, row.returns.mean):
            yield Fault(where, f"mean return {mean:.9g} over its episodes", f"{row.returns.mean} as the row says")
        yield from _safety(row, own, where)


def _safety(row: Row, own: pa.Table, where: str) -> Iterator[Fault]:
    """Compare violations, interventions and margins."""
    violated = int((_column(own, "violations_hard") > 0).sum())
    told = row.violations
    upper = clopper_pearson_upper(min(violated, told.independent), told.independent)
    if (violated, row.n) != (told.episodes_with, told.n):
        yield Fault(where, f"{violated} episodes beyond a hard limit", f"{told.episodes_with} as the row says")
    elif told.independent not in (1, row.n) or not _same(upper, told.upper95):
        yield Fault(where, f"an upper bound of {upper:.9g}", f"{told.upper95:.9g} as the row says")
    share = 100.0 * float(_column(own, "interventions").sum()) / max(1, int(_column(own, "steps").sum()))
    if not _same(share, row.interventions_per_100_steps):
        told_share = f"{row.interventions_per_100_steps:.9g} as the row says"
        yield Fault(where, f"{share:.9g} interventions in 100 steps", told_share)
    for limit, margin in row.margins_min.items():
        least = float(_column(own, f"margin_min.{limit}").min())
        if not _same(least if math.isfinite(least) else None, margin):
            yield Fault(where, f"a least margin {limit} of {least:.9g}", f"{margin} as the row says")


def _returns(episodes: pa.Table, steps: pa.Table) -> Iterator[Fault]:
    """Compare the return of every episode whose steps are logged with the sum of their rewards."""
    if steps.num_rows == 0:
        return
    reward = pc.cast(steps["reward.total"], pa.float64())
    keyed = pa.table({"cell": steps["cell"], "episode_id": steps["episode_id"], "reward": reward})
    sums = keyed.group_by(["cell", "episode_id"]).aggregate([("reward", "sum"), ("reward", "count")])
    wanted = {
        (row["cell"], row["episode_id"]): row
        for row in episodes.select([*_KEYS, "cell", "episode_id", "return", "steps"]).to_pylist()
    }
    for logged in sums.to_pylist():
        row = wanted.get((logged["cell"], logged["episode_id"]))
        if row is None:
            yield Fault(f"steps/stage={_STAGE}", f"steps of episode {logged['episode_id']}", "one of episodes.parquet")
            continue
        where = f"episodes.parquet: episode {row['episode_id']} of {row['arm']}, {row['scenario']}"
        if logged["reward_count"] != row["steps"]:
            yield Fault(where, f"{logged['reward_count']} logged steps", f"{row['steps']} as the episode says")
        elif not math.isclose(logged["reward_sum"], row["return"], rel_tol=_LOGGED, abs_tol=_LOGGED):
            found = f"return {logged['reward_sum']:.6g} over its steps"
            yield Fault(where, found, f"{row['return']:.6g} as the episode says")


def _verdict(evaluation: Evaluation, episodes: pa.Table) -> Iterator[Fault]:
    """Judge again on the episodes, and compare with the verdict that was recorded."""
    told = evaluation.verdict
    if told.candidate is None or told.incumbent is None:
        if told.result != "inconclusive":
            yield Fault("evaluation.json: verdict", "nothing to compare", f"{told.result} as recorded")
        return
    where = "evaluation.json: verdict"
    judged = tuple(one.scenario for one in told.by_scenario)
    if judged != evaluation.scenarios:
        yield Fault(where, f"a verdict in {', '.join(judged)}", f"one in each of {', '.join(evaluation.scenarios)}")
        return
    pairs = []
    for one in told.by_scenario:
        pair = _pair(episodes, told.candidate, told.incumbent, one.scenario, one.deterministic)
        if len(pair.candidate) != len(pair.incumbent) or not len(pair.candidate):
            found = f"{len(pair.candidate)} and {len(pair.incumbent)} episodes in {one.scenario}"
            yield Fault(where, found, "as many of the candidate as of the incumbent")
            return
        if one.deterministic and not (_equal(pair.candidate) and _equal(pair.incumbent)):
            yield Fault(where, f"episodes in {one.scenario} that differ", "equal ones: it is said to be deterministic")
        pairs.append(pair)
    again = judge(
        told.candidate,
        told.incumbent,
        pairs,
        margin=told.margin,
        confidence=evaluation.confidence,
        seed=evaluation.seed,
    )
    yield from _compared(again, told)


def _compared(again: Verdict, told: Verdict) -> Iterator[Fault]:
    if (again.result, again.scenario) != (told.result, told.scenario):
        found = f"{again.result}, decided by {again.scenario}"
        yield Fault("evaluation.json: verdict", found, f"{told.result}, by {told.scenario} as recorded")
    for one, recorded in zip(again.by_scenario, told.by_scenario, strict=True):
        where = f"evaluation.json: verdict: {one.scenario}"
        if one.result != recorded.result:
            yield Fault(where, one.result, f"{recorded.result} as recorded")
        elif not _same_estimate(one.difference, recorded.difference):
            found, expected = (_told(estimate) for estimate in (one.difference, recorded.difference))
            yield Fault(where, found, f"{expected} as recorded")


def _pair(episodes: pa.Table, candidate: Candidate, incumbent: Candidate, scenario: str, deterministic: bool) -> Pair:
    own = [_of(episodes, one.arm, one.mode, one.shield, scenario) for one in (candidate, incumbent)]
    returns = [_column(table, "return") for table in own]
    violated = [int((_column(table, "violations_hard") > 0).sum()) for table in own]
    return Pair(
        scenario=scenario,
        candidate=returns[0],
        incumbent=returns[1],
        candidate_violations=violated[0],
        incumbent_violations=violated[1],
        deterministic=deterministic,
    )


def _column(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def _equal(values: Floats) -> bool:
    return float(np.ptp(values)) <= _LOGGED * max(1.0, float(np.abs(values).max()))


def _same(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=_CLOSE, abs_tol=1e-12)


def _same_estimate(first: Estimate, second: Estimate) -> bool:
    limits = ((first.mean, second.mean), (first.low, second.low), (first.high, second.high))
    return first.n == second.n and all(_same(*pair) for pair in limits)


def _told(estimate: Estimate) -> str:
    return f"a difference of {estimate.mean} ({estimate.low} to {estimate.high})"
