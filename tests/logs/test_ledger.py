"""What the ledger remembers, and what it does not let pass."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.ledger import FILE, START, Ledger, canonical, files_of, line_hash, read_ledger, root_of
from fpo_pilot.logs.merkle import leaf_hash, node_hash


def run_of(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}", "utf-8")
    (folder / "checkpoints" / "best.safetensors").write_bytes(b"weights")
    return folder


def test_canonical_json_is_sorted_tight_and_without_floats() -> None:
    assert canonical({"b": 1, "a": "温度", "n": None}) == '{"a":"温度","b":1}'.encode()
    with pytest.raises(TypeError, match="no floats"):
        canonical({"a": 1.5})


def test_a_line_covers_the_one_before_it(tmp_path) -> None:
    run = run_of(tmp_path / "run")
    first, second = Ledger(run).enter(files_of(run))
    assert (first.i, first.prev, first.kind, first.path) == (0, START, "checkpoint", "checkpoints/best.safetensors")
    assert (second.i, second.prev, second.kind) == (1, first.hash, "manifest")
    assert second.hash == line_hash(second.model_dump())
    assert line_hash({**second.model_dump(), "prev": START}) != second.hash
    lines = (run / FILE).read_bytes().split(b"\n")
    assert [json.loads(line)["i"] for line in lines[:-1]] == [0, 1]
    assert root_of([first, second]) == node_hash(leaf_hash(lines[0]), leaf_hash(lines[1])).hex()


def test_only_what_changed_is_entered_again(tmp_path) -> None:
    run = run_of(tmp_path / "run")
    Ledger(run).enter(files_of(run))
    assert Ledger(run).enter(files_of(run)) == []
    (run / "manifest.json").write_text('{"a":1}', "utf-8")
    (new,) = Ledger(run).enter(files_of(run), recovered=True)
    assert (new.i, new.path, new.recovered) == (2, "manifest.json", True)
    assert read_ledger(run) == ((*Ledger(run).records,), None)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda lines: [lines[0].replace(b'"size":7', b'"size":8'), *lines[1:]], 1),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
        (lambda lines: [*lines[:2], b"{}", *lines[2:]], 3),
        (lambda lines: [lines[0], lines[1].replace(b'","', b'", "'), *lines[2:]], 2),
    ],
    ids=["edited", "first dropped", "swapped", "inserted", "respaced"],
)
def test_an_edited_ledger_is_refused_at_its_first_bad_line(tmp_path, edit, line: int) -> None:
    run = run_of(tmp_path / "run")
    Ledger(run).enter(files_of(run))
    (run / "metrics.parquet").write_bytes(b"no table")
    Ledger(run).enter(files_of(run))
    lines = (run / FILE).read_bytes().split(b"\n")
    (run / FILE).write_bytes(b"\n".join(edit(lines)))
    records, problem = read_ledger(run)
    assert len(records) == line - 1
    assert problem is not None
    assert f"{FILE}:{line}:" in problem
    with pytest.raises(LogError, match="edited or damaged"):
        Ledger(run)


def test_a_line_cut_short_by_a_crash_is_taken_away_and_nothing_else(tmp_path) -> None:
    run = run_of(tmp_path / "run")
    Ledger(run).enter(files_of(run))
    whole = (run / FILE).read_bytes()
    for cut in (1, 20, len(whole.split(b"\n")[1])):
        (run / FILE).write_bytes(whole[:-cut])
        records, problem = read_ledger(run)
        assert (len(records), problem) == (1, None)
    (new,) = Ledger(run).enter(files_of(run))
    assert (new.i, new.path) == (1, "manifest.json")
    assert read_ledger(run)[1] is None


def test_lines_that_the_disk_does_not_take_are_forgotten_and_the_next_follow_from_what_is_there(
    tmp_path, monkeypatch
) -> None:
    run = run_of(tmp_path / "run")
    ledger = Ledger(run)
    first = ledger.begin("rollout", ("*",))

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - 20)  # a part of the lines got there
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        for _ in range(2):
            with pytest.raises(LogError, match="could not be written"):
                ledger.enter(files_of(run))
            assert ledger.records == [first]
    ledger.enter(files_of(run))
    ledger.end("rollout", ("*",))
    records, problem = read_ledger(run)
    assert problem is None
    assert [record.kind for record in records] == ["begin", "checkpoint", "manifest", "end"]


def test_what_a_crash_leaves_and_signatures_are_no_files_of_the_ledger(tmp_path) -> None:
    run = run_of(tmp_path / "run")
    (run / "metrics.parquet.tmp").write_bytes(b"half")
    (run / "attestations").mkdir()
    (run / "attestations" / "0000.json").write_text("{}", "utf-8")
    Ledger(run).enter(files_of(run))
    assert [path.name for path in files_of(run)] == ["best.safetensors", "manifest.json"]
