"""A reading that integrity does not believe: no later stage certifies, resets or goes on by it, and a single interlock still trips."""

from __future__ import annotations

import math
from itertools import count

import pytest
import torch

from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields import ShieldContext, ShieldStack, build_stack
from fpo_pilot.specs.safety import (
    BoxRateShield,
    IntegrityShield,
    Interlock,
    SensorIntegrity,
    Sequence,
    SequenceShield,
    Vote,
)

PLANT = load_plant("cstr_safety")
HOT = Interlock(id="HOT", trip_when="T >= 345 K", reset_when="T < 335 K", set={"Tc": 290.0})
TICK = count()


def stack(*rules: Interlock, sequences: tuple[Sequence, ...] = ()) -> ShieldStack:
    assert PLANT.safety is not None
    change = {"interlocks": rules, "sequences": sequences, "sensors": {"T": SensorIntegrity(stale_after=60.0)}}
    if sequences:
        change["shields"] = (IntegrityShield(), SequenceShield(), BoxRateShield())
    return build_stack(PLANT.safety.model_copy(update=change), PLANT.spec)


def cycle(temperature: float, *, quality: int = 0, age: float = 0.0) -> ShieldContext:
    noise = 1e-6 * next(TICK)
    return ShieldContext(
        measurement=torch.tensor([[0.87 + noise, temperature + noise]], dtype=torch.float64),
        quality=torch.tensor([[0, quality]], dtype=torch.uint8),
        age=torch.tensor([[0.0, age]], dtype=torch.float64),
        previous=torch.tensor([[300.0]], dtype=torch.float64),
        fallback=torch.tensor([[299.0]], dtype=torch.float64),
        period=26.0,
    )


PROPOSAL = torch.tensor([[301.0]], dtype=torch.float64)
DISTRUSTED = [
    pytest.param({"quality": 1}, id="bad"),
    pytest.param({"age": 600.0}, id="stale"),
    pytest.param({"age": -1e9}, id="from the future"),
    pytest.param({"age": math.inf}, id="never read"),
]


@pytest.mark.parametrize("how", DISTRUSTED)
def test_a_latch_is_not_reset_by_it(how: dict[str, float]) -> None:
    shield = stack(HOT)
    shield(cycle(346.0), PROPOSAL)
    shield(cycle(330.0, **how), PROPOSAL)
    assert not shield.reset_latch("A. Sato").any()
    shield(cycle(330.0), PROPOSAL)
    assert shield.reset_latch("A. Sato").all()


@pytest.mark.parametrize("how", DISTRUSTED)
def test_a_single_condition_trips_on_it_all_the_same(how: dict[str, float]) -> None:
    shield = stack(HOT)
    assert shield(cycle(346.0, **how), PROPOSAL).action.item() == 297.0


@pytest.mark.parametrize("how", DISTRUSTED)
def test_in_a_vote_it_abstains_or_trips_as_declared(how: dict[str, float]) -> None:
    trips = ("T >= 345 K", "Ca < 0.3 mol/L")
    for lost, latched in (("abstains", False), ("trips", True)):
        rule = Interlock(id="V", vote=Vote(least=1, of=trips, lost=lost), reset_when="T < 335 K", set={"Tc": 290.0})
        shield = stack(rule)
        shield(cycle(330.0, **how), PROPOSAL)
        assert shield.interlock is not None
        assert shield.interlock.latched.tolist() == [[latched]]


@pytest.mark.parametrize("how", DISTRUSTED)
def test_a_sequence_does_not_go_on_by_it(how: dict[str, float]) -> None:
    rule = Sequence.model_validate(
        {
            "id": "S",
            "start": "cold",
            "phases": {"cold": {"hold": {"Tc": 299.0}, "next": [{"to": "warm", "when": "T >= 330 K"}]}, "warm": {}},
        }
    )
    shield = stack(sequences=(rule,))
    shield(cycle(335.0, **how), PROPOSAL)
    assert shield.sequence is not None
    assert shield.sequence.phases.tolist() == [[0]]
    shield(cycle(335.0), PROPOSAL)
    assert shield.sequence.phases.tolist() == [[1]]
