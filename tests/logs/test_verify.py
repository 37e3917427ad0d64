"""Every change of a run folder is found, and named."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.keys import make_key, read_private_key, read_public_key, sign
from fpo_pilot.logs.ledger import FILE, Ledger, files_of, line_hash, read_ledger
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.verify import verify_run
from fpo_pilot.logs.writer import StepLog

WORDS = "correct horse battery"


def rows(count: int) -> dict[str, object]:
    steps = np.arange(count)
    return {
        "t": (steps * 2_000_000_000).astype("datetime64[ns]"),
        "episode_id": 7,
        "step": steps,
        "arm": "flow",
        "obs.level": np.linspace(1.0, 2.0, count),
        "terminated": False,
        "truncated": steps == count - 1,
    }


@pytest.fixture
def run(tmp_path, tank_plant, tank_safety) -> Path:
    folder = tmp_path / "run"
    with StepLog(folder, "offline", step_schema(tank_plant, tank_safety), rows_per_segment=50) as log:
        for _ in range(3):
            log.append(rows(50))
    (folder / "manifest.json").write_text('{"a": 1}', "utf-8")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.safetensors").write_bytes(bytes(range(256)))
    Ledger(folder).enter(files_of(folder))
    return folder


def places(run: Path, **options: object) -> list[str]:
    return [fault.where for fault in verify_run(run, **options).faults]


def test_an_untouched_run_is_intact(run) -> None:
    found = verify_run(run, deep=True)
    assert found.intact
    assert (found.records, found.files) == (5, 5)
    assert found.size == sum(path.stat().st_size for path in files_of(run))


def test_a_thousand_changes_of_one_byte_are_all_found_and_named(run, tmp_path) -> None:
    generator = random.Random(0)
    files = [*files_of(run), run / FILE]
    for _ in range(1000):
        path = generator.choice(files)
        before = path.read_bytes()
        place = generator.randrange(len(before))
        path.write_bytes(before[:place] + bytes([before[place] ^ (1 << generator.randrange(8))]) + before[place + 1 :])
        found = verify_run(run, deep=True)
        assert not found.intact
        name = path.relative_to(run).as_posix()
        assert any(fault.where.startswith(name) for fault in found.faults)
        path.write_bytes(before)
    assert verify_run(run).intact


def test_files_that_came_went_or_moved_are_named(run) -> None:
    (run / "extra.json").write_text("{}", "utf-8")
    assert places(run) == ["extra.json"]
    (run / "extra.json").unlink()
    first, second, _ = sorted((run / "steps" / "stage=offline").iterdir())
    second.rename(second.with_name("kept"))
    shutil.copy(first, second)
    (second.with_name("kept")).rename(first)
    assert len(places(run)) == 2
    first.unlink()
    assert "steps/stage=offline/seg-00000.parquet" in places(run)


def test_a_segment_taken_out_with_its_line_leaves_a_hole(run) -> None:
    """The whole chain is made anew, as one who may write the folder can; the numbers still tell."""
    records, _ = read_ledger(run)
    gone = next(record for record in records if record.path.endswith("seg-00001.parquet"))
    (run / gone.path).unlink()
    previous, lines = "0" * 64, []
    for index, record in enumerate(record for record in records if record is not gone):
        fields = {**record.model_dump(), "i": index, "prev": previous}
        previous = fields["hash"] = line_hash(fields)
        lines.append(type(record)(**fields).line() + b"\n")
    (run / FILE).write_bytes(b"".join(lines))
    (fault,) = verify_run(run).faults
    assert fault.where.endswith("seg-00002.parquet")
    assert "rows are missing" in fault.expected


def test_a_history_made_anew_does_not_match_what_was_signed(run, tmp_path) -> None:
    make_key(tmp_path / "key", WORDS)
    key = read_public_key(tmp_path / "key.pub")
    kept = sign(run, tuple(Ledger(run).records), read_private_key(tmp_path / "key", WORDS))
    assert verify_run(run, public_keys=(key,), checkpoint=kept).signatures == 1
    (run / "manifest.json").write_text('{"a": 2}', "utf-8")
    Ledger(run).enter([run / "manifest.json"])
    grown = verify_run(run, public_keys=(key,), checkpoint=kept)
    assert (grown.intact, grown.whole_is_signed) == (True, False)  # it grew out of what was signed
    (run / FILE).unlink()
    Ledger(run).enter(files_of(run))
    assert places(run) == ["attestations/0000.json"]
    shutil.rmtree(run / "attestations")
    assert places(run, checkpoint=kept) == [FILE]
    assert places(run, public_keys=(key,)) == ["attestations"]


@pytest.mark.parametrize("asked", ["key", "checkpoint"])
def test_what_came_after_the_last_signature_is_told_by_name(run, tmp_path, asked) -> None:
    make_key(tmp_path / "key", WORDS)
    private = read_private_key(tmp_path / "key", WORDS)
    kept = sign(run, tuple(Ledger(run).records), private)
    options = {"public_keys": (read_public_key(tmp_path / "key.pub"),)} if asked == "key" else {"checkpoint": kept}
    found = verify_run(run, **options)
    assert (found.signed, found.records, found.unsigned, found.whole_is_signed) == (5, 5, (), True)
    (run / "checkpoints" / "best.safetensors").write_bytes(b"other weights")
    (run / "evil.json").write_text("{}", "utf-8")
    Ledger(run).enter(files_of(run))
    found = verify_run(run, **options)
    assert (found.signed, found.records, found.whole_is_signed) == (5, 7, False)
    assert found.unsigned == ("checkpoints/best.safetensors", "evil.json")
    newer = sign(run, tuple(Ledger(run).records), private)
    found = verify_run(run, **(options if asked == "key" else {"checkpoint": newer}))
    assert (found.signed, found.unsigned, found.whole_is_signed) == (7, (), True)
    assert verify_run(run).signed is None  # nobody asked


def test_another_key_is_told(run, tmp_path) -> None:
    for name in ("ours", "theirs"):
        make_key(tmp_path / name, WORDS)
    sign(run, tuple(Ledger(run).records), read_private_key(tmp_path / "theirs", WORDS))
    assert places(run, public_keys=(read_public_key(tmp_path / "ours.pub"),)) == ["attestations/0000.json"]


def test_a_folder_without_a_ledger_is_no_run_to_verify(tmp_path) -> None:
    with pytest.raises(LogError, match="expected the ledger of a run"):
        verify_run(tmp_path)


def test_seq_is_read_again_when_asked_deep(run) -> None:
    """Rows renumbered inside a segment, and everything recorded anew: only reading them shows it."""
    import pyarrow.parquet as pq

    path = run / "steps" / "stage=offline" / "seg-00002.parquet"
    table = pq.read_table(path, partitioning=None)
    numbers = table["seq"].to_numpy().copy()
    numbers[10] = numbers[9]
    changed = table.set_column(table.schema.get_field_index("seq"), table.schema.field("seq"), [np.asarray(numbers)])
    pq.write_table(changed, path)
    Ledger(run).enter([path])
    assert verify_run(run).intact
    (fault,) = verify_run(run, deep=True).faults
    assert "gap" in fault.found
