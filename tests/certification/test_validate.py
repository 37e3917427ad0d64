"""A certificate is given where nothing breaks the shield inside its assumptions, and refused, with reasons, everywhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fpo_pilot.certification.adversaries import (
    POLICY_WAYS,
    Sequence,
    TurnedPolicy,
    in_limits,
    sequence_names,
    sequences,
)
from fpo_pilot.certification.campaign import run_batch, search_sequences
from fpo_pilot.certification.conditions import campaign_conditions
from fpo_pilot.certification.validate import Plan, Validation, validate
from fpo_pilot.errors import CertificateError
from fpo_pilot.evidence import clopper_pearson_upper
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import build_stack
from fpo_pilot.shields.stack import ShieldStack
from fpo_pilot.specs.evaluation import Scenario

MakeTank = Callable[..., Plant]
PLAN = Plan(episodes=4, seed=3)


def stack_of(plant: Plant) -> ShieldStack:
    assert plant.safety is not None
    return build_stack(plant.safety, plant.spec, dynamics=Prediction(plant))


def codes(found: Validation) -> list[str]:
    return [reason.code for reason in found.record.reasons]


@pytest.fixture(scope="module")
def certified(make_tank: MakeTank) -> Validation:
    return validate(make_tank(), PLAN)


def test_a_shield_that_holds_is_certified_and_without_it_the_same_proposals_overflow(certified: Validation) -> None:
    record = certified.record
    assert (record.verdict, record.reasons) == ("certified", ())
    rows = {(row.condition, row.adversary): row for row in record.rows}
    full = rows["corner -", "max"]
    assert (full.shielded.violations, full.unshielded.violations) == (0, 4)
    assert full.shielded.least_margin["level.high"] >= 0.0 > full.unshielded.least_margin["level.high"]
    assert (full.shielded.episodes, full.shielded.distinct) == (
        4,
        1,
    )  # no noise, one start: the same episode four times
    assert full.shielded.upper == pytest.approx(0.95)
    drawn = rows["corner -", "random"].shielded
    assert drawn.distinct == 4
    assert drawn.upper == pytest.approx(clopper_pearson_upper(0, 4)) == pytest.approx(1 - 0.05**0.25)
    assert drawn.anytime_upper > drawn.upper
    assert full.shielded.intervention_rate > 0.0
    assert all(row.unshielded.intervention_rate == 0.0 for row in record.rows)
    assert {"nominal", "corner -", "corner +", "inside 0", "level nan", "level bias -0.05", "inflow stuck"} <= {
        c for c, _ in rows
    }
    assert ("nominal", "search") in rows


def test_what_the_assumptions_do_not_cover_is_run_and_does_not_decide(certified: Validation) -> None:
    outside = [row for row in certified.record.rows if not row.covered]
    assert {row.kind for row in outside} == {"outside", "sensor fault", "actuator fault"}
    far = [row for row in outside if row.kind == "outside" and row.shielded.violations]
    assert far, "a plant outside of its declared set must be able to break the shield"
    assert certified.record.verdict == "certified"


def test_the_worst_trajectories_are_kept_and_drawn_again_from_seed_and_condition(
    certified: Validation, make_tank: MakeTank
) -> None:
    worst = certified.record.worst[0]
    assert worst.covered
    table = certified.traces.to_pandas()
    kept = table[(table.condition == worst.condition) & (table.adversary == worst.adversary) & table.shielded]
    assert kept["margin.level.high"].min() / 4.0 == pytest.approx(worst.margin)
    plant = make_tank()
    assert plant.safety is not None
    conditions = {one.name: one for one in campaign_conditions(plant, plant.safety, corners=8)}
    scenario = conditions[worst.condition].scenario
    backup = torch.zeros(plant.horizon, 4, 1, dtype=torch.float64)
    proposals = Sequence(torch.cat((backup, sequences(plant, 4, worst.seed).actions), dim=1))
    again = run_batch(plant, scenario, proposals, episodes=24, seed=worst.seed, shield=stack_of(plant))
    assert float(again.score[worst.episode]) == worst.margin


@pytest.mark.usefixtures("brief")
def test_a_stack_that_was_handed_over_is_never_certified(make_tank: MakeTank) -> None:
    plant = make_tank()
    found = validate(plant, PLAN, shield=stack_of(plant))  # even the declared one: nothing shows that it is
    assert (found.record.verdict, codes(found)) == ("refused", ["foreign_shield"])


@pytest.mark.usefixtures("brief")
def test_what_layers_did_is_counted_in_episodes(make_tank: MakeTank) -> None:
    rule = {"id": "I-level", "trip_when": "level >= 2.0 m", "reset_when": "level < 1.8 m", "set": {"inflow": 0.0}}
    shields = [{"kind": kind} for kind in ("integrity", "interlock", "box_rate")]
    found = validate(make_tank(safety={"interlocks": [rule], "shields": shields}), PLAN).record
    rows = {(row.condition, row.adversary): row for row in found.rows}
    full, empty = rows["corner -", "max"], rows["corner -", "min"]
    assert full.shielded.acted["interlock:I-level"].episodes == 4  # one start, full inflow: all pass 2 m
    assert full.shielded.acted["interlock:I-level"].violations == full.shielded.violations
    assert empty.shielded.acted == {}
    assert full.unshielded.acted == {}


def test_what_layers_do_after_the_end_of_an_episode_counts_for_nothing(make_tank: MakeTank) -> None:
    plant = make_tank(predictive=None)
    fault = Scenario.model_validate({"faults": [{"signal": "level", "kind": "nan", "from_step": 9}]})
    full = Sequence(in_limits(plant, torch.ones(plant.horizon, 2, 1, dtype=torch.float64)))
    ended = run_batch(plant, fault, full, episodes=2, seed=0, shield=stack_of(plant))
    assert int(ended.steps.max()) < 9  # it ran over before the sensor failed
    assert not any(bool(flag.any()) for flag in ended.acted.values())
    empty = Sequence(torch.zeros_like(full.actions))
    lasted = run_batch(plant, fault, empty, episodes=2, seed=0, shield=stack_of(plant))
    assert bool(lasted.acted["integrity.nan:level"].all())


@pytest.mark.usefixtures("brief")
def test_a_shield_weakened_on_purpose_gets_no_certificate(make_tank: MakeTank) -> None:
    plant = make_tank()
    weak = stack_of(plant)
    weak.stages = tuple((name, stage) for name, stage in weak.stages if name != "predictive")
    found = validate(plant, PLAN, shield=weak)
    assert found.record.verdict == "refused"
    assert codes(found) == ["foreign_shield", "covered_violation"]
    assert found.record.shield == "given"
    optimist = make_tank(half_width=0.01)  # a shield that is told less than it is tried with
    assert codes(validate(plant, PLAN, shield=stack_of(optimist)))[-1:] == ["covered_violation"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"predictive": None}, "no_model_layer"),
        ({"half_width": None}, "no_uncertainty_set"),
        ({"safety": {"limits": ()}, "predictive": None}, "no_hard_limit"),
        (
            {"safety": {"actions": {"inflow": {"low": 0.0, "high": 1.0, "rate": 0.2, "fallback": 0.9}}}},
            "terminal_set_left",
        ),
    ],
)
def test_each_missing_requirement_is_a_reason(make_tank: MakeTank, change: dict[str, object], code: str) -> None:
    found = validate(make_tank(**change), PLAN)
    assert found.record.verdict == "refused"
    assert code in codes(found)
    assert {row.kind for row in found.record.rows} <= {"nominal", "corner"}  # nothing could certify it: not all is run


@pytest.mark.usefixtures("brief")
def test_a_backup_that_overflows_and_corners_left_out_are_reasons(make_tank: MakeTank) -> None:
    actions = {"inflow": {"low": 0.0, "high": 1.0, "rate": 0.2, "fallback": 0.9}}
    found = validate(make_tank(predictive=None, safety={"actions": actions}), PLAN)
    assert "backup_violates" in codes(found)
    one = validate(make_tank(), Plan(episodes=4, corners=1))
    assert [(reason.code, reason.detail) for reason in one.record.reasons] == [("corners_left_out", "1 of 2")]


@pytest.mark.usefixtures("brief")
def test_a_barrier_that_finds_no_action_is_refused(make_tank: MakeTank) -> None:
    tight = {"kind": "barrier", "decay": 0.02, "model_error": {"level": 0.3}}
    assert "barrier_infeasible" in codes(validate(make_tank(predictive=tight), PLAN))


def test_a_plant_without_a_safety_spec_cannot_be_validated(make_tank: MakeTank) -> None:
    from dataclasses import replace

    with pytest.raises(CertificateError, match="found no safety spec"):
        validate(replace(make_tank(), safety=None), PLAN)


def test_faults_inside_the_declared_error_are_covered_and_others_are_not(make_tank: MakeTank) -> None:
    plant = make_tank(safety={"sensors": {"level": {"stale_after": 5.0}}})
    assert plant.safety is not None
    covered = {one.name: one.covered for one in campaign_conditions(plant, plant.safety, corners=8)}
    assert covered["level nan"]
    assert covered["level range"]
    assert covered["level bias +0.05"]  # a reading without an error of its own, and 0.05 m declared
    assert not covered["level bias +0.12"]  # 3 % of 4 m
    assert not covered["level stale"]  # believed for 5 s
    assert not covered["level stuck"]
    fresh = make_tank(safety={"sensors": {"level": {"stale_after": 1.0}}})
    assert fresh.safety is not None
    again = {one.name: one.covered for one in campaign_conditions(fresh, fresh.safety, corners=8)}
    assert again["level stale"]


def test_sequences_are_what_their_names_say(make_tank: MakeTank) -> None:
    plant = make_tank()
    names = sequence_names(plant)
    assert names == ("random", "slow", "bang-bang", "max", "min")
    actions = sequences(plant, 4, seed=1).actions.reshape(plant.horizon, len(names), 4)
    assert set(actions[:, names.index("max")].unique().tolist()) == {1.0}
    assert set(actions[:, names.index("min")].unique().tolist()) == {0.0}
    assert set(actions[:, names.index("bang-bang")].unique().tolist()) == {0.0, 1.0}
    slow = actions[:, names.index("slow")]
    assert bool((slow[:10] == slow[0]).all())
    assert not bool((slow[10] == slow[9]).any())
    assert float(in_limits(plant, torch.tensor([0.25]))) == 0.25


def test_the_search_comes_nearer_to_the_limit_than_chance(make_tank: MakeTank) -> None:
    plant = make_tank(predictive=None)
    shield = stack_of(plant)
    scenario = campaign_conditions(plant, plant.safety, corners=1)[0].scenario  # type: ignore[arg-type]
    found = search_sequences(plant, scenario, episodes=8, seed=2, shield=shield)
    searched = run_batch(plant, scenario, found, episodes=8, seed=2, shield=shield)
    slow = sequences(plant, 8, 2).actions[:, 8:16]
    chance = run_batch(plant, scenario, type(found)(slow), episodes=8, seed=2, shield=shield)
    assert float(searched.score.mean()) < float(chance.score.mean())
    assert bool(searched.violated.all())


class Gentle:
    """A policy that asks for a tenth of its range below the middle, moved by noise."""

    def sample(self, obs: torch.Tensor, noise: torch.Tensor, scale: float, **_: object) -> torch.Tensor:
        return (-0.1 + scale * noise).clamp(-1.0, 1.0)


def test_a_policy_is_tried_mirrored_and_at_its_worst_by_prediction(make_tank: MakeTank) -> None:
    plant = make_tank()
    found = {}
    for way in POLICY_WAYS:
        proposer = TurnedPolicy(Gentle(), plant, way, seed=5)  # type: ignore[arg-type]
        found[way] = run_batch(plant, Scenario(), proposer, episodes=4, seed=5, shield=None, traced=True)
    asked = {way: outcome.trace["proposed.inflow"] for way, outcome in found.items()}
    assert float((asked["policy"] - 0.45).abs().max()) < 1e-6
    assert float((asked["policy mirrored"] - 0.55).abs().max()) < 1e-6
    assert float(asked["policy worst of 8"][:3].min()) > 0.6  # the greatest inflow of eight; later the tank has tripped
    assert float(found["policy worst of 8"].score.max()) < float(found["policy mirrored"].score.min())


@pytest.mark.usefixtures("brief")
def test_the_rows_of_a_policy_are_in_the_record(make_tank: MakeTank) -> None:
    policy = Gentle()
    found = validate(make_tank(), Plan(episodes=4, policy=policy, model_hash="a" * 64))  # type: ignore[arg-type]
    assert {row.adversary for row in found.record.rows} >= set(POLICY_WAYS)
    assert found.record.binding.model == "a" * 64
