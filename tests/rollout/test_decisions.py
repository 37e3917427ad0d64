"""A roll-out enters what it decides in the ledger of its run, when it puts it on the disk and before it acts on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from fpo_pilot.errors import LogError, RolloutError
from fpo_pilot.logs.decisions import Decision
from fpo_pilot.logs.ledger import DECISIONS, read_ledger
from fpo_pilot.logs.verify import verify_run
from fpo_pilot.logs.writing import ROLLOUT, Held, writing
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.rollout import Injection, RolloutResult, run_rollout
from fpo_pilot.rollout.record import Recorder
from fpo_pilot.specs.safety import RateGate, Stage


@pytest.fixture(scope="module")
def plant() -> Plant:
    return load_plant("cstr_safety")


def rollout(plant: Plant, folder: Path, **options) -> RolloutResult:
    """A policy that acts as the incumbent does, behind gates that a few blocks decide."""
    assert plant.safety is not None
    band = RateGate(id="band", event="outside_band", limit_rate=0.5, confidence=0.8)
    hard = RateGate(id="hard", event="hard_violation", limit_rate=0.5, confidence=0.8)
    stages = (
        Stage(name="shadow", min_blocks=2, max_blocks=12, gates=(band,), agreement_band=0.3),
        Stage(name="bounded", authority=(0.2,), min_blocks=2, max_blocks=12, gates=(hard,)),
        Stage(name="full", min_blocks=2, max_blocks=12, gates=(hard,)),
    )
    middle, half = ((plant.action_high[0] + sign * plant.action_low[0]) / 2 for sign in (1, -1))

    def act(obs: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return (300.25 + 200.0 * 0.05 * obs[:, 2:3] - middle) / half, {}

    safety = plant.safety.model_copy(update={"stages": stages})
    with writing(folder, "rollout", ROLLOUT) as held:
        return run_rollout(plant, safety, act, folder, seed=7, enter=held.decide, **options)


def decided(folder: Path) -> list[tuple[str, int | None]]:
    return [(line.kind, line.seq_first) for line in read_ledger(folder)[0] if line.kind in DECISIONS]


def events_of(folder: Path) -> list[tuple[str, int]]:
    events = pd.read_parquet(folder / "events.parquet")
    chosen = events[events["kind"].isin(DECISIONS)]
    return list(zip(chosen["kind"], chosen["seq"].tolist(), strict=True))


def test_every_decision_of_a_roll_out_is_a_line_and_the_next_roll_out_leaves_it_so(plant: Plant, tmp_path) -> None:
    assert rollout(plant, tmp_path).final_stage == "full"
    assert decided(tmp_path) == events_of(tmp_path)
    assert {kind for kind, _ in decided(tmp_path)} == {"gate", "transition"}
    rollout(plant, tmp_path, inject=Injection("T", "nan", "bounded"))
    assert {kind for kind, _ in events_of(tmp_path)} == {"gate", "transition", "guard"}
    found = verify_run(tmp_path, deep=True)
    assert (found.faults, found.recovered) == ((), 0)
    assert sum(found.decisions.values()) == len(events_of(tmp_path)) + len(events_of(tmp_path / "earlier/rollout-000"))


def test_a_promotion_is_in_the_ledger_before_its_authority_is_used(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Recorder.cycle
    seen: dict[float, int] = {}

    def watching(self: Recorder, cycle, **where) -> None:
        if cycle.authority > 0.0:
            promotions = sum(kind == "transition" for kind, _ in decided(tmp_path))
            seen.setdefault(cycle.authority, promotions)
        real(self, cycle, **where)

    monkeypatch.setattr(Recorder, "cycle", watching)
    rollout(plant, tmp_path)
    assert seen == {0.2: 1, 1.0: 2}


def test_a_guard_takes_authority_away_without_waiting_for_the_ledger(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[tuple[int, tuple[str, ...]]] = []
    fired: list[int] = []
    enter, guard, cycle = Held.decide, Recorder.guard, Recorder.cycle
    after: list[tuple[int, float]] = []

    def entering(self: Held, events: Path, decisions: Sequence[Decision]) -> None:
        entered.append((len(after), tuple(one.kind for one in decisions)))
        enter(self, events, decisions)

    def firing(self: Recorder, reason: str, **where) -> None:
        fired.append(len(after))
        guard(self, reason, **where)

    def logging(self: Recorder, made, **where) -> None:
        after.append((where["step"], made.authority))
        cycle(self, made, **where)

    monkeypatch.setattr(Held, "decide", entering)
    monkeypatch.setattr(Recorder, "guard", firing)
    monkeypatch.setattr(Recorder, "cycle", logging)
    rollout(plant, tmp_path, inject=Injection("T", "nan", "bounded"))
    when = next(clock for clock, kinds in entered if "guard" in kinds)
    assert after[fired[0]][1] == 0.0  # the cycle of the guard itself
    assert when > fired[0]  # the line came later,
    assert after[when - 1][0] == max(step for step, _ in after[fired[0] : when])  # after the last cycle of the block


def test_decisions_that_the_ledger_does_not_take_give_no_authority(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[float] = []
    cycle, enter = Recorder.cycle, Held.decide

    def watching(self: Recorder, made, **where) -> None:
        used.append(made.authority)
        cycle(self, made, **where)

    def full(self: Held, events: Path, decisions: Sequence[Decision]) -> None:
        if decisions:
            raise LogError("disk full")
        enter(self, events, decisions)

    monkeypatch.setattr(Recorder, "cycle", watching)
    monkeypatch.setattr(Held, "decide", full)
    with pytest.raises(RolloutError, match="authority was taken away"):
        rollout(plant, tmp_path)
    assert max(used) == 0.0
    assert decided(tmp_path) == events_of(tmp_path)  # entered at the end, when the disk took lines again
    assert ("guard", len(used)) in decided(tmp_path)
    found = verify_run(tmp_path)
    assert (found.faults, found.recovered) == ((), len(decided(tmp_path)))


def test_a_roll_out_killed_between_its_events_and_their_lines_is_put_right_by_the_next(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Held, events: Path, decisions: Sequence[Decision]) -> None:
        if decisions:
            raise KeyboardInterrupt

    def gone(self: Recorder) -> None:
        """A kill closes nothing; the lock goes with the process."""
        assert self._log is not None
        self._log.abandon()

    with monkeypatch.context() as dying:
        dying.setattr(Held, "decide", killed)
        dying.setattr(Recorder, "abandon", gone)
        with pytest.raises(KeyboardInterrupt):
            rollout(plant, tmp_path)
    assert decided(tmp_path) == []
    told = [str(fault) for fault in verify_run(tmp_path).faults]
    assert any("transition at seq" in text and "an event without a line" in text for text in told)
    rollout(plant, tmp_path, max_episodes=2)
    lines = [line for line in read_ledger(tmp_path)[0] if line.kind in DECISIONS]
    earlier = events_of(tmp_path / "earlier/rollout-000")
    assert [(line.kind, line.seq_first) for line in lines if line.recovered] == earlier
    assert len(earlier) > 0
    assert verify_run(tmp_path, deep=True).faults == ()
