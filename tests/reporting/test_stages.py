from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.reporting import write_report
from fpo_pilot.reporting.labels import event_reason
from fpo_pilot.reporting.run_folder import read_run
from fpo_pilot.reporting.stages import read_moments, stage_spans
from fpo_pilot.reporting.texts import load_speaker
from fpo_pilot.reporting.views import RolloutView

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("gates passed after 5 blocks: none is asked for", "5 blocks done; no gate is asked for"),
        ("no decision after 400 blocks: cost", "No decision after 400 blocks: cost"),
        ("gate failed: cost", "Gate failed: cost"),
        ("the clock went back from 9 to 3", "The clock went back"),
        ("model, plant or safety spec changed", "Model, plant or safety spec changed"),
        ("hold by operator", "Hold by operator"),
        ("resumed by operator", "Resumed by operator"),
        ("hard_violation", "Hard limit passed hard_violation"),
        ("something new", "something new"),
        ("", "–"),
    ],
)
def test_reasons_of_the_log_are_said_in_words_where_their_form_is_known(reason: str, told: str) -> None:
    assert load_speaker("en").text(event_reason(reason)) == told


def spans(folder: Path) -> list[tuple[str, float, float, float]]:
    run = read_run(folder)
    assert run.rollout is not None
    return [(s.stage, s.start, s.end, s.authority) for s in stage_spans(run.rollout, read_moments(run))]


def test_the_roll_out_is_split_at_its_transitions(make_run: Make) -> None:
    assert spans(make_run()) == [
        ("shadow", 0, 74, 0.0),
        ("bounded", 74, 154, 0.1),
        ("bounded", 154, 240, 0.3),
        ("full", 240, 300, 1.0),
    ]


def test_a_roll_out_that_never_left_a_stage_is_one_span() -> None:
    rollout = RolloutView(schema_version=1, plant="p", final_stage="shadow", final_authority=None, episodes=40)
    assert [(s.stage, s.start, s.end, s.authority) for s in stage_spans(rollout, [])] == [("shadow", 0.0, 40.0, 0.0)]


def test_a_roll_out_without_an_episode_has_no_time_line() -> None:
    rollout = RolloutView(schema_version=1, plant="p", final_stage="shadow", episodes=0)
    assert stage_spans(rollout, []) == ()


def test_guards_are_listed_with_their_reason_and_marked_in_the_time_line(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()
    rows = pq.read_table(folder / "events.parquet").to_pylist()
    guard = {
        **rows[-1],
        "seq": 15012,
        "episode": 250,
        "step": 12,
        "kind": "guard",
        "from_stage": "full",
        "to_stage": "full",
    }
    back = {
        **guard,
        "kind": "transition",
        "to_stage": "rolled_back",
        "authority_from": 1.0,
        "authority_to": 0.0,
    }
    both = [
        {**row, "reason": "integrity.nan:T"} for row in (guard, back, {**guard, "seq": 15013}, {**guard, "seq": 15014})
    ]
    pq.write_table(pa.Table.from_pylist([*rows, *both]), folder / "events.parquet")
    edit_json(folder / "rollout.json", lambda d: d.update(final_stage="rolled_back", final_authority=0.0))
    english, japanese = (path.read_text(encoding="utf-8") for path in write_report(folder))
    assert ">guard</text>" in english
    assert "No guard fired" not in english
    assert english.index("<td>Guard</td>") < english.index("Full → Rolled back")
    assert "Measurement not to be believed <code>integrity.nan:T</code>" in english
    assert "Gates passed after 74 blocks: <code>agrees</code>" in english
    assert english.count("<td>Guard</td>") == 1
    assert "for the same reason are left out here: 2." in english
    assert "全権自動運転 → 切戻し" in japanese
    assert "74 ブロックで移行判定に合格：<code>agrees</code>" in japanese
    assert "ガードが 3 回働いた" in japanese


def test_a_long_roll_out_shows_the_first_forty_events_and_says_how_many_there_are(make_run: Make) -> None:
    folder = make_run()
    row = pq.read_table(folder / "events.parquet").to_pylist()[-1]
    rows = [{**row, "seq": seq, "kind": "note", "reason": f"n{seq}"} for seq in range(1, 61)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "events.parquet")
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    assert "The first 40 of 60 events are shown" in page
    assert "<code>n40</code>" in page
    assert "<code>n41</code>" not in page
