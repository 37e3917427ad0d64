"""Sequences by hand: what must wait, rows of a batch, interlocks above them, and a file that means nothing."""

from __future__ import annotations

import math
from itertools import count
from typing import Any

import pytest
import torch

from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields import ShieldContext, ShieldStack, build_stack
from fpo_pilot.specs.safety import Interlock, SafetySpec, Sequence, SequenceShield
from fpo_pilot.specs.safety_rules import safety_findings

PLANT = load_plant("vdv_cstr")  # two actions: the feed F waits for the cooling Q
COOL = Sequence.model_validate(
    {
        "id": "S-cool",
        "start": "waiting",
        "phases": {
            "waiting": {"hold": {"F": 14.0}, "next": [{"to": "feeding", "when": "Q <= -2000 kJ/h", "samples": 2}]},
            "feeding": {"next": [{"to": "waiting", "when": "Q > -1000 kJ/h"}]},
        },
    }
)
TICK = count()


def spec(*sequences: Sequence, interlocks: tuple[Interlock, ...] = ()) -> SafetySpec:
    assert PLANT.safety is not None
    shields = [shield for shield in PLANT.safety.shields if shield.kind != "sequence"]
    with_it = (shields[0], SequenceShield(), *shields[1:])
    return PLANT.safety.model_copy(update={"sequences": sequences, "shields": with_it, "interlocks": interlocks})


def cycle(shield: ShieldStack, *last: tuple[float, float], ask: tuple[float, float] = (30.0, -3000.0)) -> list[Any]:
    """One cycle with the read-backs ``last`` of F and Q; return the actions."""
    rows, noise = len(last), 1e-6 * next(TICK)
    seen = torch.tensor([[2.14, 1.09, 114.2, 112.9]] * rows, dtype=torch.float64) + noise
    names = PLANT.measured_names
    context = ShieldContext(
        measurement=seen[:, : len(names)],
        quality=torch.zeros(rows, len(names), dtype=torch.uint8),
        age=torch.zeros(rows, len(names), dtype=torch.float64),
        previous=torch.tensor(last, dtype=torch.float64),
        fallback=torch.tensor([[20.0, -1500.0]] * rows, dtype=torch.float64),
        period=PLANT.period,
    )
    return shield(context, torch.tensor([ask] * rows, dtype=torch.float64)).action.tolist()


def made(*sequences: Sequence, **options: Any) -> ShieldStack:
    return build_stack(spec(*sequences, **options), PLANT.spec)


def feeds(shield: ShieldStack, *cooling: float) -> list[float]:
    return [cycle(shield, (14.0, q))[0][0] for q in cooling]


def test_the_plant_is_as_the_tests_need_it() -> None:
    assert PLANT.action_names == ("F", "Q")
    assert PLANT.measured_names == ("CA", "CB", "T", "TK")


def test_the_feed_waits_until_the_cooling_has_been_on_for_two_cycles() -> None:
    # by at most 3 /h a step; what counts is the read-back of Q, not what is asked for
    assert feeds(made(COOL), -1500.0, -2500.0, -1500.0, -2500.0, -2500.0, -1500.0) == [
        14.0,
        14.0,
        14.0,
        14.0,
        17.0,
        17.0,
    ]


def test_the_hold_is_set_by_the_layer_and_not_by_the_last_resort() -> None:
    shield = made(COOL)
    assert cycle(shield, (14.0, -1500.0), ask=(30.0, -1600.0)) == [[14.0, -1600.0]]  # Q is nobody else's business
    assert shield.infeasible_count.tolist() == [0]


def test_it_goes_back_when_the_cooling_stops_at_the_rate_limit() -> None:
    shield = made(COOL)
    feeds(shield, -2500.0, -2500.0)
    assert cycle(shield, (30.0, -500.0))[0][0] == 27.0
    assert cycle(shield, (27.0, -2500.0))[0][0] == 24.0  # it must wait for two cycles again
    assert cycle(shield, (24.0, -2500.0))[0][0] == 27.0


def test_each_row_has_a_phase_of_its_own() -> None:
    shield = made(COOL)
    for _ in range(2):
        actions = cycle(shield, (14.0, -2500.0), (14.0, -1500.0))
    assert [row[0] for row in actions] == [17.0, 14.0]
    assert shield.sequence is not None
    assert shield.sequence.phases.tolist() == [[1], [0]]
    shield.reset(torch.tensor([True, False]))
    assert shield.sequence.phases.tolist() == [[0], [0]]


def test_a_read_back_that_is_no_number_takes_no_way() -> None:
    shield = made(COOL)
    feeds(shield, -2500.0)
    cycle(shield, (14.0, math.nan))
    assert shield.sequence is not None
    assert shield.sequence.phases.tolist() == [[0]]
    assert feeds(shield, -2500.0) == [17.0]  # which neither counts nor begins the count again


def test_a_phase_survives_a_restart() -> None:
    shield, again = made(COOL), made(COOL)
    feeds(shield, -2500.0, -2500.0)
    again.load_state_dict(shield.state_dict())
    assert feeds(again, -2500.0) == [17.0]


def test_an_interlock_beats_a_sequence_and_is_not_called_a_broken_promise() -> None:
    hot = Interlock(id="HOT", trip_when="T >= 100 degC", reset_when="T < 90 degC", set={"F": 8.0})
    shield = made(COOL, interlocks=(hot,))
    assert cycle(shield, (14.0, -500.0))[0][0] == 11.0
    assert not shield.infeasible_count.any()


def test_the_incumbent_waits_like_everybody_else() -> None:
    shield = made(COOL)
    names = len(PLANT.measured_names)
    context = ShieldContext(
        torch.tensor([[2.14, 1.09, 114.2, 112.9]], dtype=torch.float64),
        torch.zeros(1, names, dtype=torch.uint8),
        torch.zeros(1, names, dtype=torch.float64),
        torch.tensor([[14.0, -500.0]], dtype=torch.float64),
        torch.tensor([[20.0, -1500.0]], dtype=torch.float64),
        PLANT.period,
    )
    asked = torch.tensor([[20.0, -1500.0]], dtype=torch.float64)
    shield(context, asked)
    assert shield.enforce(context, asked).action[0, 0].item() == 14.0


def test_a_stage_that_would_undo_a_hold_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    shield = made(COOL)
    final = type(shield.stages[-1][1])
    honest = final.__call__
    monkeypatch.setattr(final, "__call__", lambda self, seen, proposal: honest(self, seen, proposal + 2.0))
    assert cycle(shield, (14.0, -500.0))[0][0] == 14.0
    assert shield.infeasible_count.tolist() == [1]


def test_two_pumps_never_run_together() -> None:
    """An order of its own for each: whoever is not in turn is held, and the turn passes only when the other one rests."""
    turns = Sequence.model_validate(
        {
            "id": "S-turns",
            "start": "first",
            "phases": {
                "first": {"hold": {"Q": 0.0}, "next": [{"to": "second", "when": "F <= 5 1/h"}]},
                "second": {"hold": {"F": 5.0}, "next": [{"to": "first", "when": "Q >= 0 kJ/h"}]},
            },
        }
    )
    shield, last, generator = made(turns), (14.0, 0.0), torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(400):
        wish = torch.rand(2, generator=generator)
        ask = (35.0 * float(wish[0] > 0.8), -8500.0 * float(wish[1] > 0.5))
        last = tuple(cycle(shield, last, ask=ask)[0])
        assert last[0] <= 5.0 or last[1] >= 0.0
        seen.add((last[0] > 5.0, last[1] < 0.0))
    assert seen == {(True, False), (False, True), (False, False)}


def findings(*sequences: Sequence, **options: Any) -> list[str]:
    return [
        str(finding.path) + " " + str(finding.expected)
        for finding in safety_findings(spec(*sequences, **options), PLANT.spec)
    ]


def changed(**update: Any) -> Sequence:
    return Sequence.model_validate(COOL.model_dump() | update)


WAY = {"to": "feeding", "when": "Q <= -2000 kJ/h"}


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        (changed(start="nowhere"), "a phase of the sequence"),
        (changed(phases={"waiting": {"hold": {"F": 99.0}}}), "a value within the action's limits"),
        (changed(phases={"waiting": {"hold": {"G": 9.0}}}), "an action with limits"),
        (changed(phases={"waiting": {"next": [WAY]}, "feeding": {}}), "a phase that holds an action"),
        (changed(phases={"waiting": {"hold": {"F": 14.0}}, "feeding": {}}), "a phase that can be entered"),
        (changed(phases={"waiting": {"hold": {"F": 14.0}, "next": [WAY | {"to": "away"}]}}), "a phase of the sequence"),
        (changed(phases={"waiting": {"hold": {"F": 14.0}, "next": [WAY | {"when": "Q"}]}, "feeding": {}}), "condition"),
        (changed(hazard="H-999"), "a hazard of the hazard log"),
    ],
)
def test_a_sequence_that_means_nothing_is_refused(sequence: Sequence, message: str) -> None:
    assert any(message in found for found in findings(sequence)), findings(sequence)


def test_a_sound_sequence_is_accepted_and_needs_its_shield() -> None:
    assert findings(COOL) == []
    assert PLANT.safety is not None
    bare = PLANT.safety.model_copy(update={"sequences": (COOL,)})
    assert any("sequence, since sequences are declared" in str(f.expected) for f in safety_findings(bare, PLANT.spec))
    assert any("sequences in this file" in str(f.expected) for f in safety_findings(spec(), PLANT.spec))
