"""Ten thousand rows of random stacks, readings and proposals: what goes out is finite, within rate and box, and what was promised."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fpo_pilot.shields import (
    BoxRateShield,
    Envelope,
    FallbackAction,
    IntegrityShield,
    InterlockRule,
    InterlockShield,
    PredictiveShield,
    SensorCheck,
    Shield,
    ShieldContext,
    ShieldStack,
    UncertaintyPoints,
)
from fpo_pilot.shields.conditions import Ballot, Condition
from fpo_pilot.shields.model import Estimator, Lookahead, Model, StateSet
from fpo_pilot.specs.expression import bind, parse
from fpo_pilot.specs.safety import Limit, StateBounds

STACKS, ROWS, CYCLES = 80, 64, 2
WILD = torch.tensor([math.nan, math.inf, -math.inf, 1e38, -1e300, 5e-324, 0.0], dtype=torch.float64)

actuators = st.tuples(
    st.floats(-50.0, 50.0),
    st.floats(0.1, 40.0),
    st.one_of(st.just(math.inf), st.floats(0.01, 20.0)),
    st.floats(0.0, 1.0),
)


def step(state: Tensor, action: Tensor, disturbance: Any, parameters: Tensor | None) -> tuple[Tensor, Tensor]:
    assert parameters is not None
    return 0.9 * state + parameters[:, :1] * action[:, :1], torch.zeros_like(state[:, 0], dtype=torch.bool)


def envelope_of(actions: list[tuple[float, float, float, float]]) -> Envelope:
    names = tuple(f"a{index}" for index in range(len(actions)))
    low = tuple(bottom for bottom, _, _, _ in actions)
    high = tuple(bottom + span for bottom, span, _, _ in actions)
    safe = tuple(min(bottom + share * span, bottom + span) for bottom, span, _, share in actions)
    return Envelope(names, low, high, tuple(rate for _, _, rate, _ in actions), safe)


def stack_of(envelope: Envelope, layers: set[str], trip: float) -> ShieldStack:
    fallback = FallbackAction("incumbent", envelope)
    stages: list[tuple[str, Shield]] = []
    if "integrity" in layers:
        stages.append(("integrity", IntegrityShield((SensorCheck("level", -100.0, 100.0),), fallback)))
    interlock = None
    if "interlock" in layers:
        target = tuple(envelope.safe[i] if i == 0 else None for i in range(len(envelope.names)))
        condition = [
            Condition.build(bind(parse(text), {"level": "1"}, 1.0), ("level", *envelope.names), (200.0,) * 4)
            for text in (f"level >= {trip:.3f}", f"level < {trip - 1.0:.3f}")
        ]
        interlock = InterlockShield(
            (InterlockRule("I", Ballot((condition[0],)), condition[1], 1, target),), envelope, 1
        )
        stages.append(("interlock", interlock))
    if "predictive" in layers:
        model = Model(step, 1)
        limits = StateSet.of_limits(
            (Limit(id="top", signal="level", high=60.0, kind="hard"),), ("level",), (200.0,), {}
        )
        terminal = StateSet.of_box({"level": StateBounds(high=50.0)}, ("level",), (200.0,))
        points = UncertaintyPoints.build((0.5,), {0: 0.1}, (0.5,))
        ahead = Lookahead(model, limits, terminal, envelope, 6)
        estimator = Estimator(model, points, (0,), delay=0, actions=len(envelope.names))
        stages.append(("predictive", PredictiveShield(ahead, estimator, tolerance=(1e-6,), candidates=5)))
    stages.append(("box_rate", BoxRateShield(envelope)))
    backup = FallbackAction("value", envelope) if "predictive" in layers else None
    return ShieldStack(
        stages, envelope=envelope, fallback=fallback, measured=("level",), interlock=interlock, backup=backup
    )


def strange(shape: tuple[int, ...], middle: Tensor, spread: Tensor, generator: torch.Generator) -> Tensor:
    """Draw values about the middle, one in seven anything at all."""
    usual = middle + spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    odd = WILD[torch.randint(len(WILD), shape, generator=generator)]
    return torch.where(torch.rand(shape, generator=generator) < 1 / 7, odd, usual)


@settings(max_examples=STACKS, deadline=None)
@given(
    actions=st.lists(actuators, min_size=1, max_size=3),
    layers=st.sets(st.sampled_from(["integrity", "interlock", "predictive"])),
    trip=st.floats(-20.0, 80.0),
    seed=st.integers(0, 2**31),
)
def test_whatever_comes_in_what_goes_out_keeps_the_promise(
    actions: list[tuple[float, float, float, float]], layers: set[str], trip: float, seed: int
) -> None:
    envelope = envelope_of(actions)
    shield, generator = stack_of(envelope, layers, trip), torch.Generator().manual_seed(seed)
    low, high, rate, safe = (
        torch.tensor(side, dtype=torch.float64) for side in (envelope.low, envelope.high, envelope.rate, envelope.safe)
    )
    shape = (ROWS, len(actions))
    for _ in range(CYCLES):
        middle, spread = (low + high) / 2.0, (high - low) / 2.0
        previous = strange(shape, middle, 0.6 * spread, generator)
        context = ShieldContext(
            measurement=strange((ROWS, 1), torch.tensor(20.0), torch.tensor(30.0), generator),
            quality=(torch.rand(ROWS, 1, generator=generator) < 0.1).to(torch.uint8),
            age=torch.zeros(ROWS, 1, dtype=torch.float64),
            previous=previous,
            fallback=strange(shape, middle, spread, generator),
            period=1.0,
        )
        verdict = shield(context, strange(shape, middle, 3.0 * spread, generator))
        action = verdict.action
        assert action.isfinite().all()
        known, inside = previous.isfinite(), (previous >= low) & (previous <= high)
        slack = 1e-12 * (1.0 + previous.abs().nan_to_num(0.0, 0.0, 0.0))
        assert (~inside | ((action >= low) & (action <= high))).all()
        assert (~inside | ((action - previous).abs() <= rate + slack)).all()
        near = known & ~inside & (previous.abs() < 1e9)
        edge = torch.minimum(torch.maximum(previous, low), high)
        wanted = edge.clamp(previous - rate, previous + rate)
        assert (
            ~near | ((action - wanted).abs() <= slack + 1e-9 * wanted.abs()) | ((action >= low) & (action <= high))
        ).all()
        if shield.interlock is not None:
            latched = shield.interlock.latched[:, 0]
            goal = safe[0].clamp(previous[:, 0] - rate[0], previous[:, 0] + rate[0])
            obeyed = (action[:, 0] - goal).abs() <= slack[:, 0] + 1e-9 * goal.abs()
            assert (~(latched & inside[:, 0]) | obeyed).all()


@settings(max_examples=60, deadline=None)
@given(actions=st.lists(actuators, min_size=1, max_size=3), seed=st.integers(0, 2**31))
def test_a_look_ahead_drives_the_backup_exactly_as_box_and_rate_will(
    actions: list[tuple[float, float, float, float]], seed: int
) -> None:
    envelope, generator = envelope_of(actions), torch.Generator().manual_seed(seed)
    shield = stack_of(envelope, {"predictive"}, 0.0)
    ahead = next(stage for name, stage in shield.stages if name == "predictive")
    assert isinstance(ahead, PredictiveShield)
    low, high = (torch.tensor(side, dtype=torch.float64) for side in (envelope.low, envelope.high))
    place = low + (high - low) * torch.rand(16, len(actions), generator=generator, dtype=torch.float64)
    plan = ahead.lookahead.plan(place)
    safe = envelope.bounds(place).safe.expand_as(place)
    assert len(plan) == ahead.lookahead.horizon + 2
    for now, following in itertools.pairwise(plan):
        assert torch.equal(following, envelope.limit(now, safe))
