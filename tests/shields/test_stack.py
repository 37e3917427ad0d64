"""The promise of the whole stack, for any floats at all; each layer's removal makes a test here fail."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fpo_pilot.errors import ShieldError
from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields import Envelope, ShieldContext, ShieldStack, Verdict, build_stack

PLANT = load_plant("cstr_safety")
assert PLANT.safety is not None
LOW, HIGH, RATE, SAFE = 290.0, 310.0, 3.0, PLANT.safety.actions["Tc"].fallback
ANY = st.floats(width=64)  # NaN, infinities, denormals and 1e308 included
COLD = (0.87, 324.0)


def stack() -> ShieldStack:
    assert PLANT.safety is not None
    return build_stack(PLANT.safety, PLANT.spec)


def context(
    seen: tuple[float, float] = COLD, last: float = 300.0, fallback: float = 300.0, *, rows: int = 1, **change
) -> ShieldContext:
    def column(*values: float) -> torch.Tensor:
        return torch.tensor([values] * rows, dtype=torch.float64)

    fields = {
        "measurement": column(*seen),
        "quality": torch.zeros(rows, 2, dtype=torch.uint8),
        "age": torch.zeros(rows, 2, dtype=torch.float64),
        "previous": column(last),
        "fallback": column(fallback),
        "period": 26.0,
    }
    return ShieldContext(**{**fields, **change})


def ask(shield: ShieldStack, given_context: ShieldContext, proposal: float):
    rows = given_context.batch
    return shield(given_context, torch.full((rows, 1), proposal, dtype=torch.float64))


@settings(max_examples=300, deadline=None)
@given(ANY, ANY, ANY, ANY, ANY)
def test_whatever_comes_in_a_finite_action_goes_out_within_box_and_rate(
    proposal, ca, temperature, previous, fallback
) -> None:
    shield = stack()
    for _ in range(2):
        verdict = ask(shield, context((ca, temperature), previous, fallback), proposal)
        action = verdict.action.item()
        assert math.isfinite(action)
        if math.isfinite(previous) and LOW <= previous <= HIGH:
            assert LOW <= action <= HIGH
            assert abs(action - previous) <= RATE * (1 + 1e-6)
        elif math.isfinite(previous) and abs(previous) < 1e6:  # outside: toward the box at the rate
            edge = LOW if previous < LOW else HIGH
            assert abs(action - edge) <= abs(previous - edge)


@settings(max_examples=100, deadline=None)
@given(st.floats(LOW, HIGH), st.floats(-RATE, RATE))
def test_a_safe_proposal_passes_unchanged_and_twice_is_once(previous: float, change: float) -> None:
    proposal = min(max(previous + change * 0.999, LOW), HIGH)
    verdict = ask(stack(), context(last=previous), proposal)
    assert verdict.action.item() == proposal
    assert verdict.feasible.all()
    assert not verdict.altered(torch.tensor([[proposal]], dtype=torch.float64)).any()
    again = ask(stack(), context(last=previous), verdict.action.item())
    assert again.action.item() == verdict.action.item()


def test_box_and_rate_count_from_the_read_back() -> None:
    verdict = ask(stack(), context(last=300.0), 309.0)
    assert verdict.action.item() == pytest.approx(303.0)
    assert "rate:Tc" in verdict.reasons_of(0)
    verdict = ask(stack(), context(last=309.0), 400.0)
    assert verdict.action.item() == pytest.approx(310.0)
    assert "box:Tc" in verdict.reasons_of(0)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("nan", {"measurement": torch.tensor([[0.87, math.nan]], dtype=torch.float64)}),
        ("infinite", {"measurement": torch.tensor([[0.87, math.inf]], dtype=torch.float64)}),
        ("range", {"measurement": torch.tensor([[0.87, 270.0]], dtype=torch.float64)}),
        ("quality", {"quality": torch.tensor([[0, 1]], dtype=torch.uint8)}),
        ("stale", {"age": torch.tensor([[0.0, 1e6]], dtype=torch.float64)}),
    ],
)
def test_a_measurement_that_is_not_to_be_believed_gives_the_fallback(
    name: str, change: dict[str, torch.Tensor]
) -> None:
    verdict = ask(stack(), context(fallback=299.0, **change), 302.5)
    assert verdict.action.item() == pytest.approx(299.0)
    assert any(code.startswith("integrity.") and code.endswith(":T") for code in verdict.reasons_of(0)), name


@pytest.mark.parametrize("proposal", [math.nan, math.inf, -math.inf])
def test_a_proposal_that_is_no_number_gives_the_fallback(proposal: float) -> None:
    verdict = ask(stack(), context(fallback=299.0), proposal)
    assert verdict.action.item() == pytest.approx(299.0)
    assert "integrity.proposal" in verdict.reasons_of(0)


@pytest.mark.parametrize("fallback", [math.nan, math.inf, 1e38, 200.0])
def test_a_fallback_that_is_no_use_gives_the_declared_safe_value_at_the_rate(fallback: float) -> None:
    verdict = ask(stack(), context(last=300.0, fallback=fallback), math.nan)
    assert verdict.action.item() == pytest.approx(300.0 + max(-RATE, min(RATE, SAFE - 300.0)))


def test_a_sensor_that_is_frozen_is_noticed_after_the_declared_number_of_cycles() -> None:
    assert PLANT.safety is not None
    limit = PLANT.safety.sensors["T"].frozen_after
    if limit is None:
        pytest.skip("the spec declares none for T")
    shield = stack()
    for cycle in range(limit + 1):
        verdict = ask(shield, context((0.87 + cycle * 1e-4, 324.0)), 300.0)
    assert any(code.startswith("integrity.frozen:T") for code in verdict.reasons_of(0))


def test_an_interlock_beats_the_policy_at_the_rate_limit_and_never_resets_itself() -> None:
    shield = stack()
    hot = (0.6, 346.0)
    verdict = ask(shield, context(hot, last=305.0), 310.0)
    for _ in range(5):  # the interlock may ask for more than one sample
        if any(code.startswith("interlock:") for code in verdict.reasons_of(0)):
            break
        verdict = ask(shield, context(hot, last=305.0), 310.0)
    assert verdict.action.item() == pytest.approx(302.0)
    previous = 302.0
    for cycle in range(50):  # cold again for long: still latched
        verdict = ask(shield, context((0.87, 320.0 + 0.01 * cycle), last=previous), 310.0)
        previous = verdict.action.item()
    assert previous == pytest.approx(290.0)
    assert any(code.startswith("interlock:") for code in verdict.reasons_of(0))
    assert shield.reset_latch("shift supervisor").all()
    verdict = ask(shield, context((0.87, 321.0), last=previous), 310.0)
    assert verdict.action.item() == pytest.approx(293.0)


def test_a_latch_is_not_taken_away_while_it_is_hot() -> None:
    shield = stack()
    for _ in range(5):
        ask(shield, context((0.6, 346.0)), 300.0)
    assert not shield.reset_latch("shift supervisor").any()
    verdict = ask(shield, context((0.6, 346.0)), 310.0)
    assert any(code.startswith("interlock:") for code in verdict.reasons_of(0))


def test_a_batch_is_its_rows() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = 64
    measurement = torch.stack(
        [torch.rand(rows, generator=generator), 300 + 60 * torch.rand(rows, generator=generator)], dim=1
    ).double()
    measurement[5, 1], measurement[6, 0] = math.nan, math.inf
    previous = 285 + 30 * torch.rand(rows, 1, generator=generator, dtype=torch.float64)
    proposal = 270 + 60 * torch.rand(rows, 1, generator=generator, dtype=torch.float64)
    proposal[7] = math.nan
    whole = stack()(context(rows=rows, measurement=measurement, previous=previous), proposal)
    for row in range(rows):
        one = slice(row, row + 1)
        single = stack()(context(measurement=measurement[one], previous=previous[one]), proposal[one])
        assert torch.equal(single.action, whole.action[one])
        assert single.reasons_of(0) == whole.reasons_of(row)
        assert torch.equal(single.feasible, whole.feasible[one])


def test_a_stage_that_raises_gives_the_fallback_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shield = stack()

    def broken(context: ShieldContext, proposal: torch.Tensor) -> None:
        raise RuntimeError("a bug")

    shield.stages = tuple((name, broken if name == "integrity" else stage) for name, stage in shield.stages)  # type: ignore[assignment]
    verdict = ask(shield, context(fallback=299.0), 302.0)
    assert verdict.action.item() == pytest.approx(299.0)
    assert not verdict.feasible.any()
    assert "stage_failed:integrity" in verdict.reasons_of(0)


def test_a_stage_that_lies_is_caught_by_the_verification_after_it() -> None:
    shield = stack()
    final = shield.stages[-1][1]

    def lying(given_context: ShieldContext, proposal: torch.Tensor):
        verdict = final(given_context, proposal)
        return type(verdict)(proposal + 50.0, verdict.reasons, verdict.margin, verdict.feasible)

    class Liar:
        promise = "none"
        holds = staticmethod(final.holds)
        __call__ = staticmethod(lying)

    shield.stages = (*shield.stages[:-1], ("box_rate", Liar()))  # type: ignore[assignment]
    verdict = ask(shield, context(last=300.0), 300.0)
    assert LOW <= verdict.action.item() <= HIGH
    assert abs(verdict.action.item() - 300.0) <= RATE + 1e-9
    assert not verdict.feasible.any()


def test_a_stage_that_raises_is_not_passed_by_the_proposal_even_where_its_check_would_allow_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    shield = stack()
    monkeypatch.setattr(type(shield.stages[0][1]), "__call__", broken)
    verdict = ask(shield, context(fallback=299.0), 302.0)
    assert "stage_failed:integrity" in verdict.reasons_of(0)
    assert not any(code.startswith("reverify:") for code in verdict.reasons_of(0))
    assert verdict.action.item() == 299.0


def test_the_last_resort_goes_to_the_fallback_at_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    shield = stack()
    final = type(shield.stages[-1][1])
    honest = final.__call__

    def beyond(self: object, seen: ShieldContext, proposal: torch.Tensor):
        verdict = honest(self, seen, proposal)
        return type(verdict)(verdict.action + 50.0, verdict.reasons, verdict.margin, verdict.feasible)

    monkeypatch.setattr(final, "__call__", beyond)
    assert ask(shield, context(last=300.0, fallback=308.0), 300.0).action.item() == 303.0
    assert ask(shield, context(last=300.0, fallback=298.5), 300.0).action.item() == 298.5


def test_a_stage_that_returns_what_is_no_number_gives_the_fallback_and_says_so() -> None:
    def blind(given_context: ShieldContext, proposal: torch.Tensor):
        verdict = build_stack(PLANT.safety, PLANT.spec)(given_context, proposal)  # type: ignore[arg-type]
        return type(verdict)(proposal * math.nan, {}, verdict.margin, verdict.feasible)

    shield = stack()
    shield.stages = tuple((name, blind if name == "interlock" else stage) for name, stage in shield.stages)  # type: ignore[assignment]
    verdict = ask(shield, context(fallback=299.0), 302.0)
    assert verdict.action.item() == 299.0
    assert "stage_failed:interlock" in verdict.reasons_of(0)
    assert not verdict.feasible.any()


def test_a_stage_whose_check_raises_certifies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("a bug")

    shield = stack()
    monkeypatch.setattr(type(shield.stages[0][1]), "holds", broken)
    verdict = ask(shield, context(fallback=299.0), 302.0)
    assert verdict.action.item() == 299.0
    assert "reverify:integrity" in verdict.reasons_of(0)
    assert not verdict.feasible.any()


def test_the_last_resort_obeys_a_latched_interlock(monkeypatch: pytest.MonkeyPatch) -> None:
    shield = stack()
    final = type(shield.stages[-1][1])
    honest = final.__call__
    monkeypatch.setattr(final, "__call__", lambda self, seen, proposal: honest(self, seen, proposal + 20.0))
    for _ in range(5):
        verdict = ask(shield, context((0.6, 346.0), fallback=299.0), 300.0)
    assert "reverify:interlock" in verdict.reasons_of(0)
    assert verdict.action.item() == 297.0  # toward 290 K, and not the fallback


def test_a_shape_that_does_not_fit_is_the_callers_mistake_and_is_told() -> None:
    with pytest.raises(ShieldError, match="proposal"):
        stack()(context(), torch.zeros(2, 1))
    with pytest.raises(ShieldError, match="measurement"):
        stack()(context(measurement=torch.zeros(1, 3)), torch.zeros(1, 1))


def test_it_runs_where_a_value_cannot_be_asked_for() -> None:
    at = {"device": "meta", "dtype": torch.float64}
    meta = ShieldContext(
        measurement=torch.zeros(4, 2, **at),  # type: ignore[arg-type]
        quality=torch.zeros(4, 2, dtype=torch.uint8, device="meta"),
        age=torch.zeros(4, 2, **at),  # type: ignore[arg-type]
        previous=torch.zeros(4, 1, **at),  # type: ignore[arg-type]
        fallback=torch.zeros(4, 1, **at),  # type: ignore[arg-type]
        period=26.0,
    )
    assert PLANT.safety is not None
    verdict = build_stack(PLANT.safety, PLANT.spec, device="meta")(meta, torch.zeros(4, 1, **at))  # type: ignore[arg-type]
    assert verdict.action.device.type == "meta"
    assert verdict.action.shape == (4, 1)


class Malformed:
    """A stage whose answer is wrong in one field."""

    promise = "none"

    def __init__(self, **change: object) -> None:
        self.change = change

    def __call__(self, given_context: ShieldContext, proposal: torch.Tensor) -> Verdict:
        rows = given_context.batch
        fields = {
            "action": proposal,
            "reasons": {},
            "margin": torch.zeros(rows, dtype=torch.float64),
            "feasible": torch.ones(rows, dtype=torch.bool),
        }
        return Verdict(**{**fields, **{key: value for key, value in self.change.items() if key != "holds"}})

    def holds(self, given_context: ShieldContext, action: torch.Tensor) -> torch.Tensor:
        return self.change.get("holds", torch.ones(given_context.batch, dtype=torch.bool))

    def reset(self, mask: torch.Tensor | None = None) -> None: ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state_dict(self, state) -> None: ...


@pytest.mark.parametrize(
    "change",
    [
        {"margin": None},
        {"margin": torch.zeros(3)},
        {"feasible": torch.ones(1)},
        {"feasible": torch.ones(2, dtype=torch.bool)},
        {"reasons": None},
        {"reasons": {"odd": torch.zeros(1)}},
        {"action": torch.zeros(1, 1, dtype=torch.complex128)},
        {"action": torch.zeros(1, 2)},
        {"alpha": torch.zeros(1, 1)},
        {"margins": {"odd": torch.zeros(1, dtype=torch.int64)}},
        {"holds": torch.ones(1)},
        {"holds": torch.ones(3, dtype=torch.bool)},
        {"holds": None},
    ],
)
def test_a_stage_whose_answer_is_none_is_a_reason_and_never_a_way_out(change: dict[str, object]) -> None:
    whole = stack()
    whole.stages = (whole.stages[0], ("odd", Malformed(**change)), *whole.stages[1:])
    verdict = ask(whole, context(), 301.0)
    assert not verdict.feasible.any()
    assert {"stage_failed:odd", "reverify:odd"} & set(verdict.reasons_of(0))
    assert abs(verdict.action.item() - 300.0) <= RATE


def test_a_state_without_that_of_a_stage_is_refused_as_a_latch_would_be_lost() -> None:
    whole = stack()
    for _ in range(3):
        ask(whole, context((0.87, 349.0)), 301.0)
    state = whole.state_dict()
    with pytest.raises(ShieldError, match="interlock"):
        stack().load_state_dict(
            {key: value for key, value in state.items() if not key.startswith("interlock.")} | {"x.y": LOW}
        )
    with pytest.raises(ShieldError, match="interlock"):
        whole.load_state_dict({key: value for key, value in state.items() if not key.startswith("interlock.")})
    fresh = stack()
    with pytest.raises(ShieldError, match="interlock"):
        fresh.load_state_dict({key: value for key, value in state.items() if not key.startswith("interlock.")})
    fresh.load_state_dict(state)
    assert ask(fresh, context((0.87, 330.0)), 301.0).action.item() == 297.0


def test_a_rate_that_single_precision_cannot_follow_is_refused() -> None:
    narrow = Envelope(("p",), (101_000.0,), (102_000.0,), (0.003,), (101_000.0,))
    with pytest.raises(ShieldError, match="apart"):
        narrow.limit(torch.full((1, 1), 101_325.0), torch.full((1, 1), 101_000.0))
    wide = torch.full((1, 1), 101_325.0, dtype=torch.float64)
    assert narrow.limit(wide, wide - 1.0).item() == pytest.approx(101_324.997)


def test_the_last_resort_from_an_unknown_read_back_is_the_safe_value() -> None:
    envelope = Envelope(("p",), (0.0,), (1.0,), (0.1,), (0.25,))
    unknown, target = torch.full((1, 1), math.nan), torch.full((1, 1), 0.75)
    assert envelope.toward(unknown, target).item() == 0.25
    assert envelope.permits(unknown, envelope.toward(unknown, target)).all()
