"""Decisions are lines of the ledger: whoever adds, removes or alters one afterwards is told which."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.decisions import decision_lines, decisions_of
from fpo_pilot.logs.ledger import FILE, Ledger, current, files_of, read_ledger
from fpo_pilot.logs.proof import prove
from fpo_pilot.logs.tables import read_parquet, write_table_atomic
from fpo_pilot.logs.verify import verify_run
from fpo_pilot.logs.writing import REPORT, ROLLOUT, writing

EVENTS = "events.parquet"
AT = 1_700_000_000_123_456_789
SCHEMA = pa.schema(
    [
        ("t", pa.timestamp("ns", tz="UTC")),
        ("seq", pa.int64()),
        ("kind", pa.string()),
        ("to_stage", pa.string()),
        ("authority_to", pa.float64()),
        ("reason", pa.string()),
    ]
)


def event(kind: str, seq: int, **others: object) -> dict[str, Any]:
    return {
        "t": AT + seq,
        "seq": seq,
        "kind": kind,
        "to_stage": "bounded",
        "authority_to": 0.2,
        "reason": "温度",
        **others,
    }


CLIMB = (
    event("note", 0),
    event("gate", 40, reason="band: pass"),
    event("gate", 40, reason="hard: pass"),
    event("transition", 40),
    event("guard", 77, to_stage=None, authority_to=0.0, reason="integrity.nan:T"),
)


def table_of(events: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(events), schema=SCHEMA)


def roll(run: Path, events: Sequence[dict[str, Any]] = CLIMB, *, enters: bool = True) -> None:
    """A roll-out without a plant: earlier events are set aside, new ones come block by block."""
    with writing(run, "rollout", ROLLOUT) as held:
        path = run / EVENTS
        if path.exists():
            target = run / "earlier" / f"rollout-{sum(1 for _ in (run / 'earlier').glob('*')):03d}"
            target.mkdir(parents=True)
            path.rename(target / EVENTS)
        for number in range(1, len(events) + 1):
            write_table_atomic(path, table_of(events[:number]))
            if enters:
                held.decide(path, decisions_of(table_of(events[number - 1 : number])))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    roll(folder)
    return folder


def places(run: Path) -> list[str]:
    return [fault.where for fault in verify_run(run).faults]


def rewritten(run: Path, change: Callable[[list[dict[str, Any]]], object], name: str = EVENTS) -> None:
    """Change the events, and enter the file anew, as whoever may write the folder can."""
    rows = [dict(one) for one in CLIMB]
    change(rows)
    pq.write_table(table_of(rows), run / name)
    Ledger(run).enter([run / name])


def test_the_text_of_an_event_is_json_of_its_named_columns_and_loses_nothing() -> None:
    (decision,) = decisions_of(table_of([event("gate", 7, to_stage=None, authority_to=0.1 + 0.2)]))
    text = '{"authority_to":0.30000000000000004,"kind":"gate","reason":"温度","seq":7,"t":1700000000123456796}'
    assert (decision.kind, decision.seq, decision.text) == ("gate", 7, text)
    assert decision.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_column_that_is_added_later_and_the_way_over_the_disk_leave_the_text_as_it_was(tmp_path) -> None:
    table = table_of(CLIMB)
    more = table.append_column("added", pa.array(["new"] * len(CLIMB)))
    write_table_atomic(tmp_path / EVENTS, more)
    assert decisions_of(read_parquet(tmp_path / EVENTS)) == decisions_of(table)


def test_each_decision_has_a_line_as_it_happens_and_a_remark_has_none(run) -> None:
    records, problem = read_ledger(run)
    assert problem is None
    assert [r.kind for r in records] == ["begin", "gate", "gate", "transition", "guard", "events", "end"]
    assert [(r.path, r.seq_first, r.seq_last) for r in records[1:5]] == [(EVENTS, seq, seq) for seq in (40, 40, 40, 77)]
    found = verify_run(run, deep=True)
    assert (found.faults, found.recovered) == ((), 0)
    assert (found.decisions, found.decided_before) == ({"gate": 2, "transition": 1, "guard": 1}, ())


def test_a_line_of_a_decision_is_not_taken_for_one_of_a_file(run) -> None:
    records, _ = read_ledger(run)
    assert {path: record.kind for path, record in current(records).items()} == {EVENTS: "events"}
    assert Ledger(run).differing() == []
    assert prove(run, EVENTS).record.kind == "events"
    half = writing(run, "rollout", ROLLOUT)
    held = half.__enter__()
    held.decide(run / EVENTS, decisions_of(table_of([event("guard", 90)])))
    assert not half.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert prove(run, EVENTS).record.kind == "events"  # though its newest line is of a decision


@pytest.mark.parametrize(
    ("change", "where", "told"),
    [
        (lambda rows: rows[3].update(authority_to=1.0), "transition at seq 40", "altered"),
        (lambda rows: rows[1].update(t=AT), "gate at seq 40", "altered"),
        (lambda rows: rows[4].update(reason=None), "guard at seq 77", "altered"),
        (lambda rows: rows.pop(4), "guard at seq 77", "no such event"),
        (lambda rows: rows[4].update(kind="note"), "guard at seq 77", "no such event"),
        (lambda rows: rows.append(event("transition", 80)), "transition at seq 80", "without a line"),
        (lambda rows: rows.append(event("approval", 80)), "approval at seq 80", "without a line"),
        (lambda rows: rows.append(dict(rows[3])), "transition at seq 40", "without a line"),
    ],
    ids=["authority", "time", "null", "removed", "made a remark", "added", "approval", "doubled"],
)
def test_an_event_that_is_not_as_it_was_decided_is_named_though_its_file_was_entered_anew(
    run, change, where: str, told: str
) -> None:
    rewritten(run, change)
    (fault,) = verify_run(run).faults
    assert fault.where == f"{EVENTS}: {where}"
    assert told in fault.found


def test_an_event_added_to_a_roll_out_without_decisions_is_told(tmp_path) -> None:
    """It has no line to miss; that it owes one follows from the begin."""
    roll(tmp_path, CLIMB[:1])
    assert places(tmp_path) == []
    pq.write_table(table_of(CLIMB[:2]), tmp_path / EVENTS)
    Ledger(tmp_path).enter([tmp_path / EVENTS])
    assert places(tmp_path) == [f"{EVENTS}: gate at seq 40"]


def test_events_without_a_table_that_can_be_read_are_told(run) -> None:
    (run / EVENTS).write_bytes(b"no table")
    Ledger(run).enter([run / EVENTS])
    assert places(run)[0] == EVENTS
    assert len(places(run)) == 5  # and its four decisions


def test_lines_of_decisions_cannot_be_dropped_from_the_chain(run) -> None:
    lines = (run / FILE).read_bytes().splitlines(keepends=True)
    (run / FILE).write_bytes(b"".join(lines[:1] + lines[5:]))
    assert f"{FILE}:2" in places(run)
    with pytest.raises(LogError, match="edited or damaged"):
        roll(run)


def test_an_earlier_roll_out_goes_on_to_verify_and_is_told_when_altered(run) -> None:
    roll(run, [event("gate", 5), event("transition", 5)])
    roll(run, [event("guard", 3)])
    found = verify_run(run)
    assert (found.faults, found.recovered) == ((), 0)
    assert found.decisions == {"gate": 3, "transition": 2, "guard": 2}
    name = f"earlier/rollout-000/{EVENTS}"
    rewritten(run, lambda rows: rows.pop(3), name)
    (fault,) = verify_run(run).faults
    assert fault.expected == f"the one of {FILE}:4"
    rewritten(run, lambda rows: rows[3].update(reason="forged"), name)
    assert places(run) == [f"{name}: transition at seq 40"]


def test_a_later_roll_out_does_not_vouch_for_an_event_that_was_added_before_it(run) -> None:
    rewritten(run, lambda rows: rows.append(event("transition", 80)))
    roll(run, CLIMB[:1])
    assert places(run) == [f"earlier/rollout-000/{EVENTS}: transition at seq 80"]


def test_a_decision_that_was_moved_into_an_earlier_roll_out_is_told(run) -> None:
    earlier = run / "earlier" / "rollout-000" / EVENTS
    earlier.parent.mkdir(parents=True)
    pq.write_table(table_of(CLIMB[:4]), run / EVENTS)
    pq.write_table(table_of(CLIMB[4:]), earlier)
    Ledger(run).enter([run / EVENTS, earlier])
    (fault,) = verify_run(run).faults
    assert (fault.where, fault.found) == (
        f"earlier/rollout-000/{EVENTS}: guard at seq 77",
        "an event of another roll-out",
    )


def test_two_roll_outs_that_were_exchanged_are_told(run) -> None:
    roll(run, [event("gate", 5), event("transition", 5)])
    files = run / EVENTS, run / "earlier" / "rollout-000" / EVENTS
    newer, older = (file.read_bytes() for file in files)
    files[0].write_bytes(older)
    files[1].write_bytes(newer)
    Ledger(run).enter(files)
    assert f"earlier/rollout-000/{EVENTS}" in {where.split(":")[0] for where in places(run)}


def test_the_newest_roll_out_cannot_be_passed_off_as_an_earlier_one(run) -> None:
    earlier = run / "earlier" / "rollout-000" / EVENTS
    earlier.parent.mkdir(parents=True)
    (run / EVENTS).rename(earlier)
    ledger = Ledger(run)
    ledger.lose([EVENTS])
    ledger.enter([earlier])
    assert places(run) == [f"earlier/rollout-000/{EVENTS}"]


def test_an_older_roll_out_cannot_be_passed_off_as_the_newest(run) -> None:
    roll(run, CLIMB[:1])  # a remark alone
    assert places(run) == []
    (run / "earlier" / "rollout-000" / EVENTS).replace(run / EVENTS)
    ledger = Ledger(run)
    ledger.lose([f"earlier/rollout-000/{EVENTS}"])
    ledger.enter([run / EVENTS])
    assert places(run) == [EVENTS]


def test_decisions_in_another_order_are_told(run) -> None:
    pq.write_table(table_of(CLIMB[::-1]), run / EVENTS)
    Ledger(run).enter([run / EVENTS])
    (fault,) = verify_run(run).faults
    assert (fault.where, "another order" in fault.found) == (EVENTS, True)


def test_drills_have_lines_of_their_own(run) -> None:
    drill = run / "drills" / "T-nan"
    for number in range(2):
        with writing(run, "rollout of drills/T-nan", ("drills/T-nan/*",)) as held:
            if number:
                (drill / "earlier" / "rollout-000").mkdir(parents=True)
                (drill / EVENTS).rename(drill / "earlier" / "rollout-000" / EVENTS)
            drill.mkdir(parents=True, exist_ok=True)
            write_table_atomic(drill / EVENTS, table_of(CLIMB))
            held.decide(drill / EVENTS, decisions_of(table_of(CLIMB)))
    assert places(run) == []
    (drill / EVENTS).unlink()
    assert sum("guard at seq 77" in where for where in places(run)) == 1


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("reason", pa.array([b"x"] * 5)),
        ("t", pa.array([1] * 5, pa.date32())),
        ("t", pa.array([2**40] * 5, pa.timestamp("s", tz="UTC"))),
        ("seq", pa.array([1] * 5, pa.decimal128(5, 0))),
    ],
    ids=["bytes", "date", "far time", "decimal"],
)
def test_events_of_types_that_no_roll_out_writes_are_told_and_do_not_hide_other_faults(run, name, column) -> None:
    table = table_of(CLIMB)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), run / EVENTS)
    Ledger(run).enter([run / EVENTS])
    assert places(run)[0] == EVENTS
    with pytest.raises(LogError, match=f"column {name}"):
        decision_lines(run)
    with writing(run, "report", REPORT):
        pass  # a command that writes something else comes to its end


KILLED = """
import os, signal, sys
from pathlib import Path

import pyarrow as pa

from fpo_pilot.logs.decisions import decisions_of
from fpo_pilot.logs.tables import write_table_atomic
from fpo_pilot.logs.writing import ROLLOUT, writing

run = Path(sys.argv[1])
table = pa.table({"seq": [0, 40, 40, 77], "kind": ["note", "gate", "transition", "guard"]})
with writing(run, "rollout", ROLLOUT) as held:
    write_table_atomic(run / "events.parquet", table[:2])
    held.decide(run / "events.parquet", decisions_of(table[:2]))
    write_table_atomic(run / "events.parquet", table)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["rollout", "report"])
def test_a_kill_between_the_events_and_their_lines_is_put_right_by_the_next_command(tmp_path, name: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    without = [fault.where for fault in verify_run(tmp_path).faults if "an event without a line" in fault.found]
    assert without == [f"{EVENTS}: {what}" for what in ("transition at seq 40", "guard at seq 77")]
    with writing(tmp_path, name, ROLLOUT if name == "rollout" else REPORT):
        pass
    found = verify_run(tmp_path)
    assert (found.faults, found.recovered) == ((), 3)  # two decisions and their file
    lines = [(r.kind, r.recovered) for r in read_ledger(tmp_path)[0]]
    assert lines[1:5] == [("gate", False), ("transition", True), ("guard", True), ("events", True)]


def test_an_event_altered_while_a_roll_out_lay_cut_short_is_told_for_good(tmp_path) -> None:
    half = writing(tmp_path, "rollout", ROLLOUT)
    held = half.__enter__()
    write_table_atomic(tmp_path / EVENTS, table_of(CLIMB))
    held.decide(tmp_path / EVENTS, decisions_of(table_of(CLIMB)))
    assert not half.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    write_table_atomic(tmp_path / EVENTS, table_of(CLIMB[:4]))
    roll(tmp_path, CLIMB[:1])
    assert places(tmp_path) == [f"{EVENTS}: guard at seq 77"]


def test_a_roll_out_of_before_decisions_were_lines_goes_on_to_verify(tmp_path) -> None:
    pq.write_table(table_of(CLIMB), tmp_path / EVENTS)
    Ledger(tmp_path).enter(files_of(tmp_path))
    found = verify_run(tmp_path)
    assert (found.intact, found.decisions, found.decided_before) == (True, {}, (EVENTS,))
    roll(tmp_path, [event("guard", 3)])
    found = verify_run(tmp_path)
    earlier = f"earlier/rollout-000/{EVENTS}"
    assert (found.faults, found.recovered, found.decided_before) == ((), 0, (earlier,))
    assert found.decisions == {"guard": 1}
    rewritten(tmp_path, lambda rows: rows.pop(), earlier)  # whose content is then not of before
    assert places(tmp_path) == [f"{earlier}: {k} at seq 40" for k in ("gate", "gate", "transition")]
    shutil.copy(tmp_path / EVENTS, tmp_path / earlier)
    Ledger(tmp_path).enter([tmp_path / earlier])
    assert places(tmp_path) == [f"{earlier}: guard at seq 3"]  # one line is of one event, and that of the newest file


@pytest.mark.parametrize("name", ["rollout", "report"])
def test_a_roll_out_of_an_earlier_release_that_was_killed_goes_on_to_verify(tmp_path, name: str) -> None:
    ledger = Ledger(tmp_path)
    ledger._write(
        [ledger._record({"kind": "begin", "path": "rollout", "covers": tuple(ROLLOUT)})]
    )  # without the mark of now
    pq.write_table(table_of(CLIMB), tmp_path / EVENTS)
    if name == "rollout":
        roll(tmp_path, [event("guard", 3)])
    else:
        with writing(tmp_path, name, REPORT):
            pass
    found = verify_run(tmp_path)
    assert found.faults == ()
    assert found.decisions == ({"guard": 1} if name == "rollout" else {})


def test_decisions_are_listed_with_the_text_that_their_hash_covers(run) -> None:
    rewritten(run, lambda rows: rows.pop(4))
    roll(run, [event("gate", 5)])
    found = decision_lines(run)
    assert [(one.record.i, one.record.kind) for one in found] == [
        (1, "gate"),
        (2, "gate"),
        (3, "transition"),
        (4, "guard"),
        (9, "gate"),
    ]
    assert [one.path for one in found] == [*[f"earlier/rollout-000/{EVENTS}"] * 3, EVENTS, EVENTS]
    assert found[3].decision is None
    for one in (found[0], found[4]):
        assert one.decision is not None
        assert hashlib.sha256(one.decision.text.encode()).hexdigest() == one.record.sha256
