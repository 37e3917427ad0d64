"""The ladder is climbed again as the machine of the roll-out climbed it, though neither knows the other."""

from __future__ import annotations

import random

import pytest

from fpo_pilot.evidence.blocks import Block, judge
from fpo_pilot.evidence.ladder import climb, ladder
from fpo_pilot.rollout.machine import BlockFinished, GuardFired, advance, stage_name, start
from fpo_pilot.rollout.plan import make_plan, stage_spec
from fpo_pilot.specs.safety import DifferenceGate, RateGate, SafetySpec, Stage

HARD = RateGate(id="hard", event="hard_violation", limit_rate=0.5, confidence=0.8)
CALM = RateGate(id="calm", event="intervention", limit_rate=0.5, confidence=0.8, mode="observe")
BETTER = DifferenceGate(id="return", margin=0.5, range=(-4.0, 4.0), confidence=0.6)


@pytest.fixture(scope="module")
def safety() -> SafetySpec:
    return SafetySpec.model_validate(
        {
            "schema_version": 1,
            "plant": "tank",
            "actions": {"inflow": {"low": 0.0, "high": 0.1, "fallback": 0.0}},
            "incumbent": {"kind": "constant", "values": {"inflow": 0.05}},
            "stages": (
                Stage(name="shadow", min_blocks=2, max_blocks=6, gates=(HARD, CALM)),
                Stage(name="bounded", authority=(0.2, 0.6), min_blocks=4, max_blocks=12, gates=(HARD, BETTER)),
                Stage(name="full", min_blocks=3, max_blocks=4, gates=(HARD,)),
            ),
        }
    )


def block(episode: int, stage: str, rung: int, authority: float, **facts: object) -> Block:
    plain: dict[str, object] = {
        "seq": episode * 10,
        "arm": "incumbent",
        "pair": None,
        "steps": 10,
        "returned": 0.0,
        "violations_hard": 0,
        "interventions": 0,
        "distance": 0.0,
        "outside_band": 0,
        "infeasible": 0,
        "latency_us_p99": 1.0,
    }
    return Block(**{**plain, **facts}, stage=stage, rung=rung, authority=authority, episode=episode)  # type: ignore[arg-type]


def test_the_rungs_are_those_of_the_spec(safety) -> None:
    rungs = [(step.stage.name, step.authority) for step in ladder(safety)]
    assert rungs == [("shadow", 0.0), ("bounded", 0.2), ("bounded", 0.6), ("full", 1.0)]
    assert rungs == [(rung.stage, rung.authority) for rung in make_plan(safety, ()).rungs]


def test_four_clean_blocks_of_shadow_promote_and_three_do_not(safety) -> None:
    """E-process with prior Beta(1/2, 2): E = 2^n B(1/2, 2 + n) / B(1/2, 2) = 4.88 for n = 3, 8.87 for n = 4; asked for is 5."""
    shadow = [block(i, "shadow", 0, 0.0) for i in range(4)]
    assert climb(safety, shadow[:3], {}).changes == ()
    above = climb(safety, shadow, {})
    assert [(c.episode, c.from_stage, c.to_stage, c.authority_to) for c in above.changes] == [
        (3, "shadow", "bounded", 0.2)
    ]
    assert (above.stage, above.authority, above.trouble) == ("bounded", 0.2, ())
    assert [(one.stage, one.result.name, one.result.n) for one in above.judged] == [
        ("shadow", "hard", 4),
        ("shadow", "calm", 4),
    ]
    early = climb(safety, [*shadow[:3], block(3, "bounded", 1, 0.2)], {})
    assert [(number, found) for number, found, _ in early.trouble] == [(3, "bounded with authority 0.2")]


def test_nothing_comes_after_a_guard(safety) -> None:
    shadow = [block(i, "shadow", 0, 0.0) for i in range(2)]
    ended = climb(safety, shadow[:1], {0: "deadline"})
    assert (ended.stage, ended.authority, ended.judged, ended.trouble) == ("rolled_back", 0.0, (), ())
    assert climb(safety, shadow, {0: "deadline"}).trouble[0][0] == 1


@pytest.mark.parametrize("seed", range(20))
def test_it_decides_as_the_machine_does(safety, seed: int) -> None:
    draw = random.Random(seed)
    plan = make_plan(safety, ())
    state, blocks, own, changes, guarded = start(plan), [], [], [], {}
    share = draw.choice((0.0, 0.02, 0.3))
    for episode in range(60):
        rung = plan.rungs[state.rung]
        arm = "policy" if rung.authority > 0.0 and episode % 2 else "incumbent"
        bad = arm == "policy" and draw.random() < share
        facts = {"arm": arm, "pair": episode // 2 if rung.authority > 0.0 else None, "violations_hard": int(bad)}
        finished = block(
            episode,
            rung.stage,
            state.rung,
            rung.authority,
            returned=draw.uniform(-1.0, 2.0 * (arm == "policy")),
            **facts,
        )
        blocks.append(finished)
        own.append(finished)
        if bad or draw.random() < 0.01:
            guarded[episode] = "hard_violation"
            state, told = advance(state, GuardFired(episode, "hard_violation"), plan)
        else:
            before = state.rung
            verdicts = {one.name: one.verdict for one in judge(stage_spec(safety, rung.stage), own)}
            state, told = advance(state, BlockFinished(episode, verdicts), plan)
            own = own if state.rung == before else []
        changes += [(episode, t.from_stage, t.to_stage, t.authority_from, t.authority_to) for t in told]
        if state.mode != "running" or (state.rung == 3 and state.blocks >= 3):
            break
    found = climb(safety, blocks, guarded)
    assert [(c.episode, c.from_stage, c.to_stage, c.authority_from, c.authority_to) for c in found.changes] == changes
    assert (found.stage, found.authority) == (stage_name(state, plan), state.authority)
    assert found.trouble == ()
