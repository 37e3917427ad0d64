"""From a plant to its record: requirements, campaign, bounds, the worst trajectories, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import torch

import fpo_pilot
from fpo_pilot.certification.adversaries import POLICY_WAYS, Proposer, TurnedPolicy, sequence_names, sequences
from fpo_pilot.certification.campaign import Outcome, run_batch, search_sequences
from fpo_pilot.certification.code import shields_hash
from fpo_pilot.certification.conditions import CampaignCondition, campaign_conditions, corner_count
from fpo_pilot.certification.record import Acted, Binding, Condition, Finding, Record, Row, Side, Worst
from fpo_pilot.certification.requirements import finding, missing_requirements
from fpo_pilot.certification.words import ASSUMPTIONS
from fpo_pilot.errors import CertificateError
from fpo_pilot.evidence import clopper_pearson_upper, rate_interval
from fpo_pilot.learn.policy import Policy
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import build_stack
from fpo_pilot.shields.model_stages import needs_model
from fpo_pilot.shields.stack import ShieldStack
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.safety import SafetySpec

LIMIT_RATE = 0.01
"""Shapes the confidence sequence that may be looked at at any time; fixed beforehand."""
CORNERS = 256
KEPT = 3
"""Worst trajectories that are kept of the conditions that decide, and of those that do not."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Plan:
    """What is run."""

    episodes: int = 16
    seed: int = 0
    corners: int = CORNERS
    command: str = ""
    full: bool = False
    """Run every condition even where a requirement is missing, so that nothing can certify the plant."""
    policy: Policy | None = None
    model_hash: str | None = None

    def size(self, plant: Plant) -> int:
        """Count the conditions that will be run."""
        return len(planned(plant, self)[0])


@dataclass(eq=False)
class Validation:
    """A record, and the steps of its worst trajectories."""

    record: Record
    traces: pa.Table


def binding_of(plant: Plant, model_hash: str | None = None) -> Binding:
    """Return the hashes that a record of a plant is bound to.

    Raises:
        CertificateError: the plant has no safety spec.
    """
    safety = _safety(plant)
    return Binding(
        plant_spec=spec_hash(plant.spec),
        safety_spec=spec_hash(safety),
        dynamics=plant.dynamics_hash,
        shields=shields_hash(),
        model=model_hash,
    )


def validate(
    plant: Plant, plan: Plan, *, shield: ShieldStack | None = None, progress: Progress | None = None
) -> Validation:
    """Run the campaign of a plant, and certify or refuse.

    Args:
        plant: with its safety spec.
        plan: episodes of each row, seed, policy.
        shield: what is tried; by default the stack that the safety spec declares. Another one is never certified: the record would
            speak for a spec that was not run.
        progress: is told how many conditions are done and which is next.

    Raises:
        CertificateError: the plant has no safety spec.
    """
    safety = _safety(plant)
    conditions, reasons = planned(plant, plan)
    if shield is not None:
        reasons.append(finding("foreign_shield", type(shield).__name__))
    stack = shield
    if stack is None and not any(reason.code == "terminal_set_left" for reason in reasons):
        stack = build_stack(safety, plant.spec, dynamics=Prediction(plant) if needs_model(safety) else None)
    collected = _Collected()
    for index, condition in enumerate(conditions if stack is not None else ()):
        if progress is not None:
            progress(index, condition.name)
        if stack is not None:
            _run_condition(plant, condition, replace(plan, seed=plan.seed + index), stack, collected)
    kinds = {layer.kind for layer in safety.shields}
    reasons += _found_reasons(collected.rows, barrier="barrier" in kinds)
    record = Record(
        plant=plant.name,
        shield="declared" if shield is None else "given",
        verdict="refused" if reasons else "certified",
        reasons=tuple(reasons),
        date=datetime.now(UTC).date().isoformat(),
        fpo_pilot_version=fpo_pilot.__version__,
        command=plan.command,
        seed=plan.seed,
        episodes=plan.episodes,
        binding=binding_of(plant, plan.model_hash),
        assumptions=ASSUMPTIONS,
        conditions=tuple(_written(condition) for condition in conditions),
        rows=tuple(collected.rows),
        worst=tuple(kept.worst for kept in collected.kept()),
    )
    return Validation(record.sealed(), _traces(collected))


def planned(plant: Plant, plan: Plan) -> tuple[tuple[CampaignCondition, ...], list[Finding]]:
    """Return the conditions that will be run, and what already keeps the plant from a certificate.

    Where something does, nothing that is run can certify it: unless the plan is ``full``, only nominal and two corners are.
    """
    safety = _safety(plant)
    reasons = list(missing_requirements(plant, safety))
    count = corner_count(plant, safety)
    if count > plan.corners:
        reasons.append(finding("corners_left_out", f"{plan.corners} of {count}"))
    conditions = campaign_conditions(plant, safety, corners=plan.corners)
    return (conditions if plan.full or not reasons else _shortened(conditions)), reasons


def _shortened(conditions: tuple[CampaignCondition, ...]) -> tuple[CampaignCondition, ...]:
    """Keep what shows what the shield that is there does: the nominal plant, and the first and the last corner."""
    corners = [one for one in conditions if one.kind == "corner"]
    kept = {"nominal", *(one.name for one in (corners[:1] + corners[-1:]))}
    return tuple(one for one in conditions if one.name in kept)


@dataclass(eq=False)
class _Kept:
    """A pair of trajectories with their worst margins."""

    worst: Worst
    rank: float
    shielded: dict[str, torch.Tensor]
    unshielded: dict[str, torch.Tensor]


@dataclass(eq=False)
class _Collected:
    rows: list[Row] = field(default_factory=list)
    covered: list[_Kept] = field(default_factory=list)
    outside: list[_Kept] = field(default_factory=list)

    def kept(self) -> list[_Kept]:
        return [*self.covered, *self.outside]

    def offer(self, kept: _Kept) -> None:
        mine = self.covered if kept.worst.covered else self.outside
        mine.append(kept)
        mine.sort(key=lambda one: one.rank)
        del mine[KEPT:]


def _run_condition(
    plant: Plant, condition: CampaignCondition, plan: Plan, stack: ShieldStack, collected: _Collected
) -> None:
    for names, proposers in _adversaries(plant, condition, plan, stack):
        size = plan.episodes * len(names)
        shielded, unshielded = (
            run_batch(plant, condition.scenario, proposer, episodes=size, seed=plan.seed, shield=shield, traced=True)
            for proposer, shield in zip(proposers, (stack, None), strict=True)
        )
        for index, name in enumerate(names):
            chosen = slice(index * plan.episodes, (index + 1) * plan.episodes)
            pair = shielded.rows(chosen), unshielded.rows(chosen)
            collected.rows.append(
                Row(
                    condition=condition.name,
                    kind=condition.kind,
                    covered=condition.covered,
                    adversary=name,
                    seed=plan.seed,
                    shielded=_side(pair[0]),
                    unshielded=_side(pair[1]),
                )
            )
            collected.offer(_kept(condition, name, plan.seed, pair, chosen.start))


def _adversaries(
    plant: Plant, condition: CampaignCondition, plan: Plan, stack: ShieldStack
) -> Iterator[tuple[tuple[str, ...], tuple[Proposer, Proposer]]]:
    """Yield names of adversaries that run as one batch, and their proposer with and without the shield."""
    names = ("backup", *sequence_names(plant))
    open_loop = sequences(plant, plan.episodes, plan.seed)
    backup = torch.tensor([_safety(plant).actions[name].fallback for name in plant.action_names], dtype=torch.float64)
    open_loop = replace(
        open_loop,
        actions=torch.cat((backup.expand(plant.horizon, plan.episodes, -1), open_loop.actions), dim=1),
    )
    yield names, (open_loop, open_loop)
    if condition.searched:
        found = search_sequences(plant, condition.scenario, episodes=plan.episodes, seed=plan.seed, shield=stack)
        yield ("search",), (found, found)
    if plan.policy is not None:
        for way in POLICY_WAYS:
            pair = [TurnedPolicy(plan.policy, plant, way, plan.seed) for _ in range(2)]
            yield (way,), (pair[0], pair[1])


def _side(outcome: Outcome) -> Side:
    steps, episodes = int(outcome.steps.sum()), len(outcome.steps)
    violations = int(outcome.violated.sum())
    trials = torch.stack((outcome.violated, outcome.steps, outcome.altered, *outcome.margins.values()), dim=1)
    trials = torch.unique(trials.to(torch.float64), dim=0)
    distinct, events = len(trials), int(trials[:, 0].sum())
    return Side(
        steps=steps,
        episodes=episodes,
        violations=violations,
        distinct=distinct,
        upper=clopper_pearson_upper(events, distinct),
        anytime_upper=rate_interval(events, distinct, LIMIT_RATE)[1],
        least_margin={name: _number(float(margin.amin())) for name, margin in outcome.margins.items()},
        intervention_rate=int(outcome.altered.sum()) / max(steps, 1),
        infeasible_rate=int(outcome.infeasible.sum()) / max(steps, 1),
        acted={
            name: Acted(episodes=int(flag.sum()), violations=int((flag & outcome.violated).sum()))
            for name, flag in sorted(outcome.acted.items())
            if bool(flag.any())
        },
    )


def _kept(condition: CampaignCondition, adversary: str, seed: int, pair: tuple[Outcome, Outcome], first: int) -> _Kept:
    """Keep the row that came nearest to a hard limit behind the shield; among equals, the one that is worst without it."""
    shielded, unshielded = pair
    row = int((shielded.score + 1e-9 * unshielded.score.clamp(-1.0, 1.0)).argmin())
    worst = Worst(
        condition=condition.name,
        adversary=adversary,
        covered=condition.covered,
        seed=seed,
        episode=first + row,
        margin=_number(float(shielded.score[row])),
        margin_unshielded=_number(float(unshielded.score[row])),
    )
    traces = [{name: column[:, row].clone() for name, column in one.trace.items()} for one in pair]
    return _Kept(worst, float(shielded.score[row]), traces[0], traces[1])


def _traces(collected: _Collected) -> pa.Table:
    """Return the steps of the worst trajectories, with the shield and without it, as long as each was running."""
    columns: dict[str, list[Any]] = {}
    for kept in collected.kept():
        for shielded, trace in ((True, kept.shielded), (False, kept.unshielded)):
            length = int(trace["running"].sum())
            facts = {
                "condition": kept.worst.condition,
                "adversary": kept.worst.adversary,
                "episode": kept.worst.episode,
                "shielded": shielded,
            }
            for name, value in facts.items():
                columns.setdefault(name, []).extend([value] * length)
            columns.setdefault("step", []).extend(range(1, length + 1))
            for name, column in trace.items():
                if name != "running":
                    columns.setdefault(name, []).extend(column[:length].tolist())
    return pa.table(columns)


def _found_reasons(rows: list[Row], *, barrier: bool) -> Iterator[Finding]:
    covered = [row for row in rows if row.covered]
    bad = [row for row in covered if row.shielded.violations > 0]
    alone = [row for row in bad if row.adversary == "backup"]
    if alone:
        yield finding("backup_violates", _most(alone))
    if bad:
        violations, episodes = (
            sum(getattr(row.shielded, name) for row in covered) for name in ("violations", "episodes")
        )
        yield finding(
            "covered_violation", f"{violations} of {episodes} episodes, in {len(bad)} rows; most in {_most(bad)}"
        )
    stuck = [row for row in covered if row.kind != "sensor fault" and row.shielded.infeasible_rate > 0.0]
    if barrier and stuck:
        most = max(stuck, key=lambda row: row.shielded.infeasible_rate)
        yield finding(
            "barrier_infeasible",
            f"in {len(stuck)} rows; most in {most.condition}, {most.adversary}: {most.shielded.infeasible_rate:.2%} of steps",
        )


def _most(rows: list[Row]) -> str:
    """Tell the row with the most violations."""
    most = max(rows, key=lambda row: row.shielded.violations)
    return f"{most.condition}, {most.adversary}: {most.shielded.violations} of {most.shielded.episodes}"


def _written(condition: CampaignCondition) -> Condition:
    scenario = condition.scenario.model_dump(mode="json", exclude_defaults=True)
    return Condition(
        name=condition.name, kind=condition.kind, covered=condition.covered, why=condition.why, scenario=scenario
    )


def _safety(plant: Plant) -> SafetySpec:
    if plant.safety is None:
        raise CertificateError(
            f"plant {plant.name}: found no safety spec, expected one to validate. Write safety/{plant.name}.yaml."
        )
    return plant.safety


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
