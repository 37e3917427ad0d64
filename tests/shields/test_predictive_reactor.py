"""The predictive shield on the reactor near runaway: what it promises, and that the tests of the promise can fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import Envelope, ModelStages, ShieldContext, ShieldStack, build_stack, check_shield
from fpo_pilot.specs.safety import PredictiveShield, SafetySpec, UncertaintySet

PLANT = load_plant("cstr_safety")
assert PLANT.safety is not None
TERMINAL = {"T": {"high": 316.0}, "Ca": {"low": 0.9}}
EXACT: dict[str, Any] = {"parameters": {}, "states": {"T": 0.0, "Ca": 0.0}}
K0, UA = (PLANT.parameter_names.index(name) for name in ("rate_constant", "heat_transfer"))


def safety(uncertainty: dict[str, Any] = EXACT, *, rate: float | None = None, **shield: Any) -> SafetySpec:
    """The safety spec of the reactor with a predictive shield; without a rate limit and interlock it runs away fastest."""
    assert PLANT.safety is not None
    settings: dict[str, Any] = {"terminal_set": TERMINAL, "margin": {"T": 0.25}, "substeps": 2} | shield
    shields = [kind for kind in PLANT.safety.shields if kind.kind in ("integrity", "box_rate")]
    actions = {"Tc": PLANT.safety.actions["Tc"].model_copy(update={"rate": rate})}
    return PLANT.safety.model_copy(
        update={
            "actions": actions,
            "interlocks": (),
            "sensors": {},
            "shields": (shields[0], PredictiveShield.model_validate(settings), shields[1]),
            "uncertainty": UncertaintySet.model_validate(uncertainty),
        }
    )


def stack(spec: SafetySpec) -> ShieldStack:
    return build_stack(spec, PLANT.spec, dynamics=Prediction(PLANT))


def context(state: Tensor, previous: Tensor) -> ShieldContext:
    rows = len(state)
    return ShieldContext(
        state,
        torch.zeros(rows, 2, dtype=torch.uint8),
        torch.zeros(rows, 2, dtype=torch.float64),
        previous,
        torch.full_like(previous, 300.0),
        PLANT.period,
    )


@torch.inference_mode()
def violations(
    shield: ShieldStack | None, *, k0: float = 1.0, policy: str = "max", rows: int = 64, steps: int = 60
) -> tuple[float, float]:
    """Return the share of runs that pass 350 K, and of decisions without a certificate."""
    generator = torch.Generator().manual_seed(3)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(rows, 1, generator=generator, dtype=torch.float64)

    state = torch.cat((uniform(0.8, 0.9), uniform(318.0, 332.0)), dim=-1)
    parameters = PLANT.nominal_parameters_like(state).clone()
    parameters[:, K0] *= k0
    applied = torch.full((rows, 1), 300.0, dtype=torch.float64)
    tripped, infeasible = torch.zeros(rows, dtype=torch.bool), 0.0
    asked = applied
    for index in range(steps):
        if policy == "random" or (policy == "slow" and index % 10 == 0):
            asked = uniform(290.0, 310.0)
        elif policy == "max":
            asked = torch.full_like(applied, 310.0)
        applied = asked
        if shield is not None:
            verdict = shield(context(state, applied), asked)
            applied = verdict.action
            infeasible += float((~verdict.feasible & ~tripped).double().mean())
        state, trip = PLANT.step(state, applied, None, parameters)
        tripped |= trip
    return float(tripped.double().mean()), infeasible / steps


@pytest.mark.parametrize("policy", ["random", "slow", "max"])
def test_no_run_passes_the_limit_with_the_exact_model_and_most_do_without_the_shield(policy: str) -> None:
    assert violations(None, policy=policy)[0] > 0.5
    assert violations(stack(safety()), policy=policy)[0] == 0.0


@pytest.mark.slow
def test_a_hundred_thousand_adversarial_steps_pass_no_limit() -> None:
    for policy in ("random", "slow", "max"):
        # with the plant's own integrator, so that the model is exact: a certificate once given is never lost
        assert violations(stack(safety(substeps=4)), policy=policy, rows=560) == (0.0, 0.0)


def test_a_rate_constant_that_is_not_in_the_set_breaks_it_and_one_that_is_does_not() -> None:
    share, infeasible = violations(stack(safety()), k0=1.05)
    assert share > 0.5
    assert infeasible > 0.0
    wide = {"parameters": {"rate_constant": {"half_width": 0.05}}, "states": {"T": 0.0, "Ca": 0.0}}
    assert violations(stack(safety(wide)), k0=1.05) == (0.0, 0.0)
    assert violations(stack(safety(wide)), k0=1.10)[0] > 0.5


def test_coarse_checks_without_a_margin_miss_peaks_between_them() -> None:
    assert violations(stack(safety(substeps=1, margin={})))[0] > 0.1


def test_without_the_layer_the_rest_of_the_stack_lets_the_reactor_run_away() -> None:
    shield = stack(safety())
    shield.stages = tuple((name, stage) for name, stage in shield.stages if name != "predictive")
    assert violations(shield)[0] > 0.5


def test_without_verification_a_stage_after_the_shield_could_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hot = torch.tensor([[0.8, 331.0]], dtype=torch.float64)
    last = torch.tensor([[300.0]], dtype=torch.float64)
    shield = stack(safety(rate=3.0))
    final = shield.stages[-1][1]
    honest = type(final).__call__

    def pushes(self: Any, seen: ShieldContext, proposal: Tensor) -> Any:
        return honest(self, seen, proposal + 6.0)

    monkeypatch.setattr(type(final), "__call__", pushes)
    seen = context(hot, last)
    hotter = torch.tensor([[0.8, 341.0]], dtype=torch.float64)
    assert "reverify:predictive" not in shield(seen, last).reasons_of(0)  # 303 K is still certified there
    shield.reset()
    caught = shield(context(hotter, last), last)
    assert "reverify:predictive" in caught.reasons_of(0)
    assert caught.action.item() == 297.0  # the backup at the rate, not the incumbent
    assert not caught.feasible.any()


def test_the_incumbent_is_certified_like_everybody_else() -> None:
    last = torch.tensor([[300.0]], dtype=torch.float64)
    shield = stack(safety(rate=3.0))
    hot = context(torch.tensor([[0.8, 341.0]], dtype=torch.float64), last)
    shield(hot, last)
    assert shield.enforce(hot, torch.tensor([[303.0]], dtype=torch.float64)).action.item() == 297.0
    cool = context(torch.tensor([[0.87, 324.0]], dtype=torch.float64), last)
    shield.reset()
    shield(cool, last)
    assert shield.enforce(cool, torch.tensor([[301.0]], dtype=torch.float64)).action.item() == 301.0


def test_the_conformance_checks_pass_for_the_whole_stack() -> None:
    assert PLANT.safety is not None
    spec = safety({}, rate=3.0).model_copy(update={"interlocks": PLANT.safety.interlocks})
    shield = stack(spec)
    findings = check_shield(
        shield, measured=2, actions=1, envelope=shield.envelope, normal=(280.0, 345.0), batch=8, dtype=torch.float32
    )
    assert [finding for finding in findings if not finding.passed] == []


def test_a_decision_is_timed_only_live() -> None:
    seen = context(torch.tensor([[0.87, 324.0]], dtype=torch.float64), torch.tensor([[300.0]], dtype=torch.float64))
    asked = torch.tensor([[301.0]], dtype=torch.float64)
    assert stack(safety())(seen, asked).seconds is None
    live = build_stack(safety(budget=100.0), PLANT.spec, dynamics=Prediction(PLANT), live=True)(seen, asked)
    assert live.seconds is not None
    assert live.seconds > 0.0
    late = build_stack(safety(budget=1e-9), PLANT.spec, dynamics=Prediction(PLANT), live=True)(seen, asked)
    assert "predictive.late" in late.reasons_of(0)
    assert late.action.item() == 290.0
    offline = build_stack(safety(budget=1e-9), PLANT.spec, dynamics=Prediction(PLANT))(seen, asked)
    assert offline.action.item() == 301.0


def test_a_stack_that_needs_a_model_is_refused_without_one() -> None:
    with pytest.raises(ShieldError, match="found no model"):
        build_stack(safety(), PLANT.spec)


def made() -> ModelStages:
    spec = safety({})
    return ModelStages(spec, PLANT.spec, Prediction(PLANT), Envelope.from_spec(spec.actions, ("Tc",)), ("Ca", "T"))


def test_the_declared_set_takes_the_plant_at_its_word() -> None:
    points = made().points()
    assert points.count == 8  # the rate constant, both readings
    assert sorted({row[K0] for row in points.parameters}) == pytest.approx([0.95 * 7.2e10, 1.05 * 7.2e10])
    assert sorted({row[1] for row in points.errors}) == pytest.approx([-0.9, 0.9])  # 0.3 K cut at three
    assert sorted({row[0] for row in points.errors}) == pytest.approx([-0.003, 0.003])


def test_the_terminal_set_is_checked_and_the_worst_point_named() -> None:
    def check(bounds: dict[str, Any]) -> Any:
        return made().terminal_check(PredictiveShield.model_validate({"terminal_set": bounds, "substeps": 4}))

    good = check(TERMINAL)
    assert good.passed
    assert 0.0 < good.margin < 0.1
    assert good.tried == 2 * (256 * 3 + 4)
    # At 330 K and 0.95 mol/L the reaction gives more heat than a jacket of 290 K takes.
    hot = check({"T": {"high": 345.0}, "Ca": {"low": 0.9}})
    assert not hot.passed
    assert hot.state[1] > 330.0
    assert hot.parameters[K0] == pytest.approx(1.05 * 7.2e10)
    with pytest.raises(ShieldError, match=r"terminal_set: found that the backup leads out of it \(from Ca = "):
        stack(safety({}, terminal_set={"T": {"high": 345.0}, "Ca": {"low": 0.9}}))
