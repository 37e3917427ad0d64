"""``fpo-pilot logs``: what tables and decisions a run has, questions in SQL, and rows that a crash left made whole."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

from fpo_pilot.commands.console import note, say, say_json, table
from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import without_nan
from fpo_pilot.logs.decisions import DecisionLine, decision_lines
from fpo_pilot.logs.ledger import FILE as LEDGER
from fpo_pilot.logs.ledger import interrupted, read_ledger, torn_bytes
from fpo_pilot.logs.listing import TableFile, table_files
from fpo_pilot.logs.query import query
from fpo_pilot.logs.recovery import waiting
from fpo_pilot.logs.writing import RECOVERY, writing


def run_logs(
    run_dir: Path,
    *,
    sql: str | None,
    limit: int,
    recover: bool,
    as_json: bool,
    begin_ledger: bool = False,
    decisions: bool = False,
) -> int:
    """List the tables of a run or its decisions, or answer a query; 0."""
    if not run_dir.is_dir():
        raise LogError(f"{run_dir}: found no such folder, expected a run folder. Name one, such as runs/cstr-fpo-0.")
    if begin_ledger:
        _begin_ledger(run_dir)
    if recover:
        _recover(run_dir)
    if sql is not None:
        return _answer(run_dir, sql, limit=limit, as_json=as_json)
    if decisions:
        return _list_decisions(run_dir, limit=limit, as_json=as_json)
    files = table_files(run_dir)
    if as_json:
        say_json({"tables": [asdict(one) for one in files]})
        return 0
    shown = files[:limit]
    table(f"{run_dir}: tables", ("file", "rows", "seq", "from", "to", "bytes", "note"), map(_cells, shown))
    if len(files) > len(shown):
        say(f"{len(files) - len(shown)} more files; --limit {len(files)} shows all")
    rows = sum(one.rows for one in files if one.table == "wal")
    if rows:
        say(f"{rows} rows wait in a write-ahead log: a command is writing, or `fpo-pilot logs {run_dir} --recover`")
    return 0


def _begin_ledger(run_dir: Path) -> None:
    """Begin a ledger in a run that has none, and mark all that is there as recovered."""
    if (run_dir / LEDGER).exists():
        raise LogError(
            f"{run_dir / LEDGER}: found a ledger, expected none: it is never begun again. Run `fpo-pilot verify {run_dir}`."
        )
    with writing(run_dir, RECOVERY, (), begin_ledger=True):
        pass
    note(f"{run_dir / LEDGER}: begun; all files that were there are marked as recovered")


def _recover(run_dir: Path) -> None:
    """Make segments of what waits and close what was interrupted; where there is neither, nothing is written."""
    notes: tuple[str, ...] = ()
    records, problem = read_ledger(run_dir)
    if waiting(run_dir) or interrupted(records) is not None or (problem is None and torn_bytes(run_dir, records)):
        with writing(run_dir, RECOVERY, ()) as held:
            notes = held.notes
    for text in notes or ("nothing to recover",):
        note(text)


def _list_decisions(run_dir: Path, *, limit: int, as_json: bool) -> int:
    """List the lines of decisions, in their order, each with its event."""
    lines = decision_lines(run_dir)
    if as_json:
        say_json({"decisions": [_whole(one) for one in lines[:limit]], "more": len(lines) > limit})
        return 0
    heads = ("line", "entered", "kind", "seq", "reason", "file", "note")
    table(f"{run_dir}: {len(lines)} decisions", heads, map(_decision_cells, lines[:limit]))
    if len(lines) > limit:
        say(f"{len(lines) - limit} more decisions; --limit {len(lines)} shows all")
    return 0


def _whole(one: DecisionLine) -> dict[str, object]:
    """Return a line with the text that its hash covers, so that it can be hashed again."""
    record = one.record
    return {
        "line": record.i + 1,
        "ts": record.ts,
        "kind": record.kind,
        "seq": record.seq_first,
        "file": one.path,
        "sha256": record.sha256,
        "recovered": record.recovered,
        "event": None if one.decision is None else one.decision.text,
    }


def _decision_cells(one: DecisionLine) -> list[str]:
    record = one.record
    reason = "" if one.decision is None else str(json.loads(one.decision.text).get("reason", ""))
    remarks = ["recovered"] if record.recovered else []
    remarks += ["its event is not there"] if one.decision is None else []
    return [str(record.i + 1), record.ts, record.kind, str(record.seq_first), reason, one.path, ", ".join(remarks)]


def _answer(run_dir: Path, sql: str, *, limit: int, as_json: bool) -> int:
    found = query(run_dir, sql, limit=limit)
    if as_json:
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        say_json({"columns": list(found.columns), "rows": without_nan(rows), "more": found.more})
        return 0
    table(f"{run_dir}: {len(found.rows)} rows", found.columns, ([_text(value) for value in row] for row in found.rows))
    if found.more:
        say(f"there are more rows; --limit {limit} was shown")
    return 0


def _cells(one: TableFile) -> list[str]:
    seq = "" if one.seq_first is None else f"{one.seq_first} to {one.seq_last}"
    remarks = ["recovered"] if one.recovered else []
    remarks += ["waits for its segment"] if one.table == "wal" else []
    remarks += [f"clock back {one.clock_back}x"] if one.clock_back else []
    return [one.path, f"{one.rows:,}", seq, one.first or "", one.last or "", f"{one.size:,}", ", ".join(remarks)]


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)
