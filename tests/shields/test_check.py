"""The conformance checks pass for our stack, and each of them can fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import BoxRateShield, Envelope, ShieldContext, Verdict, build_stack, check_shield
from fpo_pilot.specs.content import list_plants

ENVELOPE = Envelope(("u", "v"), (0.0, -5.0), (10.0, 5.0), (1.0, float("inf")), (2.0, 0.0))


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, torch.float64) for name in sorted(list_plants())), ("cstr_safety", torch.float32)]
)
def test_the_stack_of_every_shipped_plant_passes(name: str, dtype: torch.dtype) -> None:
    plant = load_plant(name)
    assert plant.safety is not None
    stack = build_stack(plant.safety, plant.spec, dynamics=Prediction(plant))
    low, high = zip(*(plant.spec.signals[signal].range for signal in stack.measured), strict=True)
    findings = check_shield(
        stack,
        measured=len(stack.measured),
        actions=len(stack.envelope.names),
        envelope=stack.envelope,
        normal=(max(low), min(high)),
        batch=24,
        dtype=dtype,
    )
    assert [finding for finding in findings if not finding.passed] == []


def test_a_layer_alone_is_checked_without_an_envelope() -> None:
    findings = check_shield(BoxRateShield(ENVELOPE), measured=1, actions=2)
    assert all(finding.passed for finding in findings)
    assert "in the box, within the rate of the read-back" not in {finding.name for finding in findings}


class Broken(BoxRateShield):
    """Passes what it is given, with one fault of each kind below."""


class PassesAll(Broken):
    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        return replace(super().__call__(context, proposal), action=proposal)


class LooksAtNumbers(Broken):
    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        if bool(proposal.isnan().any()):
            proposal = proposal.nan_to_num()
        return super().__call__(context, proposal)


class MixesRows(Broken):
    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        return super().__call__(context, proposal.nan_to_num() + 1e-3 * proposal.nan_to_num().clamp(-1, 1).mean(dim=0))


class Creeps(Broken):
    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        return super().__call__(context, proposal + 1e-3)


class HasNoReasonToday(Broken):
    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        verdict = super().__call__(context, proposal)
        return replace(verdict, reasons={}) if proposal.isfinite().all() else verdict


class BreaksItsWord(Broken):
    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        return torch.zeros(context.batch, dtype=torch.bool)


class Forgets(Broken):
    count = 0

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        self.count += 1
        shift = 0.5 if self.count > 3 else 0.0
        return super().__call__(context, proposal - shift)

    def reset(self, mask: Tensor | None = None) -> None:
        self.count = 0


@pytest.mark.parametrize(
    ("broken", "finding"),
    [
        (PassesAll, "a finite action for any floats"),
        (PassesAll, "in the box, within the rate of the read-back"),
        (HasNoReasonToday, "verdict has its shapes, dtypes and reasons"),
        (MixesRows, "the same for a batch and for its rows one by one"),
        (Creeps, "judging its own action again changes nothing"),
        (BreaksItsWord, "its verdict keeps its own promise"),
        (Forgets, "memory restored gives the same verdicts"),
        (LooksAtNumbers, "runs where numbers cannot be looked at (device meta)"),
    ],
)
def test_a_shield_that_breaks_a_rule_is_found_out(broken: type[Broken], finding: str) -> None:
    found = check_shield(broken(ENVELOPE), measured=1, actions=2, envelope=ENVELOPE)
    failed = {check.name: check.detail for check in found if not check.passed}
    assert finding in failed
    assert failed[finding]
