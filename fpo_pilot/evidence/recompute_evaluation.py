"""Recomputes an offline evaluation from its own Parquet files: rows from episodes, episodes from steps, choice and verdict from both.

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

from fpo_pilot.errors import LogError
from fpo_pilot.evidence.episodes import LOGGED, alike, column, estimate_of, same_estimate, texts, violated
from fpo_pilot.evidence.evaluation import (
    CHECKPOINT,
    EVALUATION_SPEC,
    FILE,
    Candidate,
    Estimate,
    Evaluation,
    GoalResult,
    Row,
    Verdict,
    read_evaluation,
)
from fpo_pilot.evidence.interval import same
from fpo_pilot.evidence.recompute_choice import choice_faults, worst_faults
from fpo_pilot.evidence.statistics import clopper_pearson_upper
from fpo_pilot.evidence.verdict import Pair, judge
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.manifest import FILE as MANIFEST
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.reader import read_steps, read_table
from fpo_pilot.specs.evaluation import EvaluationSpec
from fpo_pilot.specs.identity import spec_hash

EPISODES = "episodes.parquet"
_STAGE = "offline"
_INCUMBENT = "incumbent"
_KEYS = ("arm", "mode", "shield", "scenario")


def recompute_evaluation(run_dir: Path) -> list[Fault]:
    """Recompute the evaluation of a run, if it has one; return what does not come out as it was written."""
    if not (run_dir / FILE).exists():
        left = [name for name in (EPISODES, f"steps/stage={_STAGE}") if (run_dir / name).exists()]
        return [Fault(FILE, "no file", f"the evaluation that {left[0]} is of")] if left else []
    try:
        evaluation = read_evaluation(run_dir)
        spec = evaluation.spec
        if spec is None:
            return [Fault(FILE, "no evaluation spec", "the one that was used: evaluate again")]
        episodes = read_table(run_dir, EPISODES)
        steps = read_steps(run_dir, _STAGE) if spec.log_episodes else None
        return [
            *_settings(evaluation, spec, run_dir),
            *_sets(evaluation, episodes),
            *_rows(evaluation, episodes),
            *(_returns(episodes, steps, spec.log_episodes) if steps is not None else ()),
            *(_weights(evaluation, steps) if steps is not None else ()),
            *_verdict(evaluation, episodes),
            *choice_faults(evaluation, run_dir),
            *worst_faults(evaluation, episodes, run_dir),
        ]
    except LogError as problem:
        return [Fault(FILE, str(problem), "an evaluation of this release that can be read, with its tables")]
    except (KeyError, ValueError, TypeError, pa.ArrowException) as problem:
        told = f"what cannot be recomputed ({type(problem).__name__}: {str(problem).splitlines()[0]})"
        return [Fault(FILE, told, "an evaluation of this release")]


def _settings(evaluation: Evaluation, spec: EvaluationSpec, run_dir: Path) -> Iterator[Fault]:
    """Compare what the evaluation says of its settings with the spec that it names, and its weights with the manifest's."""
    if spec_hash(spec) != evaluation.hashes.get(EVALUATION_SPEC):
        yield Fault(f"{FILE}: spec", "a spec of another hash", "the one that hashes.evaluation names")
    pairs = {
        "verdict.margin": (evaluation.verdict.margin, spec.margin),
        "confidence": (evaluation.confidence, spec.confidence),
        "episodes": (evaluation.episodes, spec.episodes),
        "scenarios": (evaluation.scenarios, tuple(one.name for one in spec.scenarios)),
        "faulty_scenarios": (evaluation.faulty_scenarios, tuple(one.name for one in spec.scenarios if one.faults)),
    }
    for name, (told, declared) in pairs.items():
        if told != declared:
            yield Fault(f"{FILE}: {name}", f"{told}", f"{declared} as in the spec that was used")
    model = Manifest.read(run_dir).hashes.get("model") if (run_dir / MANIFEST).exists() else None
    if model is not None and evaluation.hashes.get(CHECKPOINT) != model:
        weights = (evaluation.hashes.get(CHECKPOINT) or "none")[:16]
        yield Fault(f"{FILE}: hashes.{CHECKPOINT}", f"weights {weights}…", f"{model[:16]}… as in the manifest")


def _sets(evaluation: Evaluation, episodes: pa.Table) -> Iterator[Fault]:
    """Check that rows and episodes are of the same controllers, each of them in every scenario unless it says that it was skipped."""
    told = [(row.arm, row.mode, row.shield, row.scenario) for row in evaluation.rows]
    arms, modes, scenarios = (texts(episodes, name) for name in ("arm", "mode", "scenario"))
    there = set(zip(arms, modes, episodes["shield"].to_pylist(), scenarios, strict=True))
    for key in sorted(there - set(told)):
        yield Fault(f"{FILE}: rows", f"no row of {_title(*key)}", f"one: {EPISODES} has its episodes")
    for key in sorted({key for key in told if told.count(key) > 1}):
        yield Fault(f"{FILE}: rows", f"two rows of {_title(*key)}", "one")
    skipped = {(one.arm, one.scenario) for one in evaluation.skipped}
    for arm, mode, shield in sorted({key[:3] for key in told}):
        for scenario in evaluation.scenarios:
            if (arm, mode, shield, scenario) not in told and (arm, scenario) not in skipped:
                yield Fault(
                    f"{FILE}: rows", f"no row of {_title(arm, mode, shield, scenario)}", "one in every scenario"
                )


def _title(arm: str, mode: str, shield: bool, scenario: str) -> str:
    return f"{' '.join(filter(None, (arm, mode)))}, {scenario}, shield {'on' if shield else 'off'}"


def _of(table: pa.Table, arm: str, mode: str, shield: bool, scenario: str) -> pa.Table:
    keep = pc.equal(table["shield"], shield)
    for name, value in (("arm", arm), ("mode", mode), ("scenario", scenario)):
        keep = pc.and_(keep, pc.equal(pc.fill_null(pc.cast(table[name], pa.string()), ""), value))
    return table.filter(keep)


def _rows(evaluation: Evaluation, episodes: pa.Table) -> Iterator[Fault]:
    """Compare every row of the evaluation with its episodes."""
    for row in evaluation.rows:
        where = f"{FILE}: {_title(row.arm, row.mode, row.shield, row.scenario)}"
        own = _of(episodes, row.arm, row.mode, row.shield, row.scenario)
        if own.num_rows != row.n or row.n != evaluation.episodes:
            yield Fault(where, f"{own.num_rows} episodes", f"{evaluation.episodes}, and {row.n} as the row says")
            continue
        returns = column(own, "return")
        certain = row.violations.independent == 1 and row.n > 1
        if certain and not alike(returns):
            yield Fault(where, "episodes that differ", "equal ones: they count as one")
        again = estimate_of(returns, evaluation.confidence, evaluation.seed, certain=certain)
        if not same_estimate(again, row.returns):
            yield Fault(where, f"mean return {_told(again)} over its episodes", f"{_told(row.returns)} as the row says")
        yield from _safety(row, own, where)
        yield from _goals(row, own, where, evaluation, certain=certain)


def _goals(row: Row, own: pa.Table, where: str, evaluation: Evaluation, *, certain: bool) -> Iterator[Fault]:
    """Compare how each goal was kept."""
    names = {name.removeprefix("goal.") for name in own.schema.names if name.startswith("goal.")}
    if names != row.goals.keys():
        yield Fault(where, f"goals {', '.join(sorted(names))}", f"{', '.join(sorted(row.goals))} as the row says")
        return
    for name, told in row.goals.items():
        shares, robustness = column(own, f"goal.{name}"), column(own, f"robustness.{name}")
        counted, margins = shares[np.isfinite(shares)], robustness[np.isfinite(robustness)]
        again = GoalResult(
            satisfaction=estimate_of(counted, evaluation.confidence, evaluation.seed, certain=certain),
            episodes_in_full=int((counted >= 1.0).sum()),
            robustness_min=float(margins.min()) if len(margins) else None,
        )
        if (
            not same_estimate(again.satisfaction, told.satisfaction)
            or again.episodes_in_full != told.episodes_in_full
            or not same(again.robustness_min, told.robustness_min)
        ):
            yield Fault(f"{where}, goal {name}", _kept(again), f"{_kept(told)} as the row says")


def _kept(goal: GoalResult) -> str:
    return f"kept {_told(goal.satisfaction)}, in full {goal.episodes_in_full} times, least {goal.robustness_min}"


def _safety(row: Row, own: pa.Table, where: str) -> Iterator[Fault]:
    """Compare violations, interventions and margins."""
    beyond = violated(own)
    told = row.violations
    upper = clopper_pearson_upper(min(beyond, max(told.independent, 1)), max(told.independent, 1))
    if (beyond, row.n) != (told.episodes_with, told.n):
        yield Fault(where, f"{beyond} episodes beyond a hard limit", f"{told.episodes_with} as the row says")
    elif told.independent not in (1, row.n) or not same(upper, told.upper95):
        yield Fault(where, f"an upper bound of {upper:.9g}", f"{told.upper95:.9g} as the row says")
    share = 100.0 * float(column(own, "interventions").sum()) / max(1, int(column(own, "steps").sum()))
    if not same(share, row.interventions_per_100_steps):
        told_share = f"{row.interventions_per_100_steps:.9g} as the row says"
        yield Fault(where, f"{share:.9g} interventions in 100 steps", told_share)
    limits = {name.removeprefix("margin_min.") for name in own.schema.names if name.startswith("margin_min.")}
    if limits != row.margins_min.keys():
        yield Fault(where, f"limits {', '.join(sorted(limits))}", f"{', '.join(sorted(row.margins_min))} as it says")
        return
    for limit, margin in row.margins_min.items():
        least = float(column(own, f"margin_min.{limit}").min())
        if not same(least if math.isfinite(least) else None, margin):
            yield Fault(where, f"a least margin {limit} of {least:.9g}", f"{margin} as the row says")


def _returns(episodes: pa.Table, steps: pa.Table, log_episodes: int) -> Iterator[Fault]:
    """Compare the return of every episode whose steps shall be logged with the sum of their rewards."""
    reward = pc.cast(steps["reward.total"], pa.float64())
    keyed = pa.table({"cell": steps["cell"], "episode_id": steps["episode_id"], "reward": reward})
    sums = keyed.group_by(["cell", "episode_id"]).aggregate([("reward", "sum"), ("reward", "count")])
    wanted = {
        (row["cell"], row["episode_id"]): row
        for row in episodes.select([*_KEYS, "cell", "episode_id", "return", "steps"]).to_pylist()
    }
    due = {key for key in wanted if key[1] < log_episodes}
    there = set(zip(*(sums[name].to_pylist() for name in ("cell", "episode_id")), strict=True))
    for key in sorted(due - there):
        row = wanted[key]
        title = _title(row["arm"], row["mode"] or "", row["shield"], row["scenario"])
        yield Fault(f"steps/stage={_STAGE}", f"no steps of episode {key[1]} of {title}", "every step of it")
    for logged in sums.to_pylist():
        row = wanted.get((logged["cell"], logged["episode_id"]))
        if row is None:
            yield Fault(f"steps/stage={_STAGE}", f"steps of episode {logged['episode_id']}", "one of episodes.parquet")
            continue
        where = f"episodes.parquet: episode {row['episode_id']} of {row['arm']}, {row['scenario']}"
        if logged["reward_count"] != row["steps"]:
            yield Fault(where, f"{logged['reward_count']} logged steps", f"{row['steps']} as the episode says")
        elif not math.isclose(logged["reward_sum"], row["return"], rel_tol=LOGGED, abs_tol=LOGGED):
            found = f"return {logged['reward_sum']:.6g} over its steps"
            yield Fault(where, found, f"{row['return']:.6g} as the episode says")


def _weights(evaluation: Evaluation, steps: pa.Table) -> Iterator[Fault]:
    """Check that the steps of each policy were flown by the weights that the evaluation names."""
    pairs = steps.select(["arm", "model_hash"]).group_by(["arm", "model_hash"]).aggregate([])
    for arm, flown in zip(texts(pairs, "arm"), texts(pairs, "model_hash"), strict=True):
        told = evaluation.hashes.get(arm) if arm in evaluation.deployments else ""
        if flown != told:
            where = f"{FILE}: hashes.{arm}"
            yield Fault(
                where, f"steps flown by weights {flown[:16] or 'none'}…", f"{(told or 'none')[:16]}… as it says"
            )


def _verdict(evaluation: Evaluation, episodes: pa.Table) -> Iterator[Fault]:
    """Judge again on the episodes, and compare with the verdict that was recorded."""
    told = evaluation.verdict
    where = f"{FILE}: verdict"
    chosen = next(iter(evaluation.deployments.values()), None)
    if evaluation.deployment != chosen:
        yield Fault(f"{FILE}: deployment", "another than the first of deployments", "that of the candidate")
    due = None if chosen is None else Candidate(arm=chosen.arm, mode=chosen.label, shield=_has_shield(evaluation))
    if told.candidate != due:
        yield Fault(where, f"a verdict on {told.candidate}", f"on {due}, which is deployed")
        return
    incumbent = Candidate(arm=_INCUMBENT, shield=_has_shield(evaluation))
    if told.incumbent != (incumbent if due and any(row.arm == _INCUMBENT for row in evaluation.rows) else None):
        yield Fault(where, f"a verdict against {told.incumbent}", f"against {incumbent}")
        return
    if told.candidate is None or told.incumbent is None:
        if told.result != "inconclusive":
            yield Fault(where, "nothing to compare", f"{told.result} as recorded")
        return
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
        if one.deterministic and not (alike(pair.candidate) and alike(pair.incumbent)):
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
        yield Fault(f"{FILE}: verdict", found, f"{told.result}, by {told.scenario} as recorded")
    if again.difference is not None and (
        told.difference is None or not same_estimate(again.difference, told.difference)
    ):
        recorded_as = "none" if told.difference is None else _told(told.difference)
        yield Fault(f"{FILE}: verdict", f"a difference of {_told(again.difference)}", f"{recorded_as} as recorded")
    for one, recorded in zip(again.by_scenario, told.by_scenario, strict=True):
        where = f"{FILE}: verdict: {one.scenario}"
        if one.result != recorded.result:
            yield Fault(where, one.result, f"{recorded.result} as recorded")
        elif not same_estimate(one.difference, recorded.difference):
            found, expected = (_told(estimate) for estimate in (one.difference, recorded.difference))
            yield Fault(where, f"a difference of {found}", f"{expected} as recorded")


def _pair(episodes: pa.Table, candidate: Candidate, incumbent: Candidate, scenario: str, deterministic: bool) -> Pair:
    own = [_of(episodes, one.arm, one.mode, one.shield, scenario) for one in (candidate, incumbent)]
    returns = [column(table, "return") for table in own]
    beyond = [violated(table) for table in own]
    return Pair(
        scenario=scenario,
        candidate=returns[0],
        incumbent=returns[1],
        candidate_violations=beyond[0],
        incumbent_violations=beyond[1],
        deterministic=deterministic,
    )


def _has_shield(evaluation: Evaluation) -> bool:
    return any(row.shield for row in evaluation.rows)


def _told(estimate: Estimate) -> str:
    return f"{estimate.mean} ({estimate.low} to {estimate.high})"
