"""Is a run folder what its ledger says? Everything that is not is found, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fpo_pilot.errors import LogError
from fpo_pilot.logs.decisions import decision_faults, events_files, unmatched
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.keys import Attestation
from fpo_pilot.logs.ledger import (
    DECISIONS,
    FILE,
    Record,
    current,
    file_hash,
    files_of,
    interrupted,
    leftovers,
    read_ledger,
    root_of,
    torn_bytes,
)
from fpo_pilot.logs.reader import TRAINING_STAGE
from fpo_pilot.logs.recovery import DAMAGED, read_wal
from fpo_pilot.logs.signatures import check_signatures
from fpo_pilot.logs.wal import FOLDER, is_wal

_ALONE = (TRAINING_STAGE, "offline")
"""Stages that count their steps by themselves."""
_LEFT = "a temporary file, or a link to no file, that no command at its end leaves"


@dataclass(frozen=True)
class Verification:
    """What a verification found."""

    records: int
    files: int
    size: int
    """Bytes of all files."""
    root: str
    signatures: int
    """That hold for the key that was given."""
    faults: tuple[Fault, ...]
    recovered: int = 0
    """Lines that were entered for what was found, not for what a command did: after a crash, or where a ledger was begun late."""
    signed: int | None = None
    """Lines that are signed; None if neither a key nor a checkpoint was given."""
    unsigned: tuple[str, ...] = ()
    """Files that were recorded, changed or taken away, or whose decisions were entered, after the last signed line."""
    decisions: Mapping[str, int] = field(default_factory=dict)
    """Lines of decisions, of each kind that there is."""
    decided_before: tuple[str, ...] = ()
    """Events files of before decisions had lines of their own: only the hash of the file tells a change of their events."""

    @property
    def whole_is_signed(self) -> bool:
        """Whether no line came after the last signed one; True where nobody asked."""
        return self.signed is None or self.signed == self.records

    @property
    def intact(self) -> bool:
        """Whether nothing was found. Lines after the last signed one are told apart: :attr:`whole_is_signed`."""
        return not self.faults


def verify_run(
    run_dir: Path,
    *,
    public_keys: Sequence[Ed25519PublicKey] = (),
    checkpoint: Attestation | None = None,
    deep: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """Compare a run folder with its ledger, and the ledger with its signatures.

    Args:
        run_dir: the run folder.
        public_keys: every signature of the run must be by one of these, and there must be one.
        checkpoint: a signature kept elsewhere: the ledger must have grown out of what it signed.
        deep: read every page of every table with its checksum, and check that ``seq`` has no gap.
        progress: told the bytes read so far.

    Raises:
        LogError: there is no ledger to compare with.
    """
    if not (run_dir / FILE).exists():
        raise LogError(
            f"{run_dir}: found no {FILE}, expected the ledger of a run. Name a run folder that this release made."
        )
    records, problem = read_ledger(run_dir)
    known = current(records)
    present = {path.relative_to(run_dir).as_posix(): path for path in files_of(run_dir)}
    differing, read = _file_faults(known, present, deep=deep, progress=progress)
    faults = [*([] if problem is None else [_ledger_fault(problem)]), *differing]
    faults += [Fault(name, "no file", "the one in the ledger") for name in known if name not in present]
    faults += _sequence_faults(known.values())
    decided = unmatched(run_dir, records, events_files(present))
    faults += decision_faults(decided) if problem is None else []  # of lines that cannot be read nothing is missed
    faults += [
        Fault(path.relative_to(run_dir).as_posix(), _LEFT, "none: delete it, or run the killed command again")
        for path in leftovers(run_dir)
    ]
    torn = torn_bytes(run_dir, records) if problem is None else 0
    if torn:
        expected = "none: the next command, or `fpo-pilot logs RUN --recover`, cuts what a crash left"
        faults.append(Fault(f"{FILE}:{len(records) + 1}", f"{torn} bytes without an end of line", expected))
    half = interrupted(records)
    if half is not None:
        faults.append(Fault(f"{FILE}:{half.i + 1}", f"no end of `{half.path}`", "one: run the command again"))
    signed = check_signatures(run_dir, records, public_keys, checkpoint)
    return Verification(
        records=len(records),
        files=len(present),
        size=read,
        root=root_of(records),
        signatures=signed.good,
        faults=(*faults, *signed.faults),
        recovered=sum(record.recovered for record in records),
        signed=signed.lines,
        unsigned=signed.tail,
        decisions={kind: n for kind in DECISIONS if (n := sum(record.kind == kind for record in records))},
        decided_before=decided.before,
    )


def _file_faults(
    known: Mapping[str, Record],
    present: Mapping[str, Path],
    *,
    deep: bool,
    progress: Callable[[int], None] | None,
) -> tuple[list[Fault], int]:
    """Compare each file with its line; return what differs, and the bytes that were read."""
    faults: list[Fault] = []
    read = 0
    for name, path in present.items():
        record = known.get(name)
        if is_wal(path):
            faults.append(_wal_fault(name, path))
        elif path.name.endswith(DAMAGED) and path.parent.name == FOLDER:
            faults.append(Fault(name, "a damaged write-ahead log: rows of it may be lost", "a step log without a hole"))
        if record is None:
            faults.append(
                Fault(name, "a file without a line in the ledger", "one that was recorded when it was written")
            )
            continue
        digest, size = file_hash(path)
        read += size
        if (digest, size) != (record.sha256, record.size):
            expected = f"{record.size}, {(record.sha256 or '')[:16]}…"
            faults.append(Fault(name, f"{size} bytes, SHA-256 {digest[:16]}…", expected))
        elif deep and path.suffix == ".parquet":
            faults += _page_faults(name, path)
        if progress is not None:
            progress(read)
    return faults, read


def _ledger_fault(problem: str) -> Fault:
    where, _, found = problem.partition(": found ")
    return Fault(Path(where).name, found, "the ledger as it was written; lines from here on say nothing")


def _wal_fault(name: str, path: Path) -> Fault:
    """Rows that are in no segment: a writer is at work, or one did not come to its end."""
    try:
        found = f"{read_wal(path).rows} rows that are in no segment"
    except LogError:
        found = "a write-ahead log that cannot be read"
    return Fault(name, found, "none once a log is closed: `fpo-pilot logs RUN --recover` makes a segment of them")


def _page_faults(name: str, path: Path) -> list[Fault]:
    """Read a table whole; check that its rows are as many, and numbered, as its footer says."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            plain = file.schema_arrow.metadata or {}
            counted = b"seq_first" in plain and "seq" in file.schema_arrow.names
            numbers = [np.empty(0, np.int64)]
            for group in range(file.num_row_groups):  # one after the other: the table need not fit into memory
                table = file.read_row_group(
                    group, use_threads=False
                )  # a thread for each column costs more than it saves
                numbers += [table["seq"].to_numpy()] if counted else []
    except (OSError, pa.ArrowException) as problem:
        return [Fault(name, f"a page that cannot be read ({str(problem).splitlines()[0]})", "sound pages")]
    if not counted:
        return []
    first, last = int(plain[b"seq_first"]), int(plain[b"seq_last"])
    if not np.array_equal(np.concatenate(numbers), np.arange(first, last + 1)):
        return [Fault(name, "rows whose seq has a gap", f"{first} to {last} without one")]
    return []


def _sequence_faults(records: Iterable[Record]) -> list[Fault]:
    """Check that the segments of a stage follow each other: a segment that is gone with its line leaves a hole.

    A stage may leave out numbers that another stage of the same roll-out has; so holes are looked for over all of them,
    and over the stages of training and evaluation by themselves, which count from 0.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.kind == "segment" and record.seq_first is not None and record.seq_last is not None:
            folder, _, stage = record.path.rpartition("steps/stage=")
            name = stage.partition("/")[0]
            groups.setdefault(f"{folder}{name if name in _ALONE else 'rollout'}", []).append(record)
    faults = []
    for group in groups.values():
        expected = 0
        for record in sorted(group, key=lambda one: one.seq_first or 0):
            if record.seq_first != expected:
                faults.append(Fault(record.path, f"seq from {record.seq_first}", f"from {expected}: rows are missing"))
            expected = (record.seq_last or 0) + 1
    return faults
