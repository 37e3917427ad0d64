"""The ledger of a run: one line a file, command or decision, each with the hash of the line before it.

``ledger.jsonl`` is canonical JSON (keys sorted, no spaces, no floats). A line's own hash covers the previous one's, so
that no line can be changed, dropped or moved without breaking every line after it. What it cannot show is that all of
it was rewritten by whoever could write the folder: for that a root is signed (:mod:`fpo_pilot.logs.keys`) or printed
in a report that lies elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import TEMPORARY
from fpo_pilot.logs.merkle import leaf_hash, tree_root
from fpo_pilot.logs.wal import FOLDER as WAL_FOLDER
from fpo_pilot.logs.wal import LOCK as WAL_LOCK

if TYPE_CHECKING:
    from fpo_pilot.logs.decisions import Decision

FILE = "ledger.jsonl"
ATTESTATIONS = "attestations"
SIGNATURE = re.compile(r"[0-9]{4,}\.json")
"""Name of a signature in that folder."""
LOCK = "writing.lock.tmp"
"""Of the command that writes into a run; its name keeps it out of the ledger."""
START = "0" * 64
"""What the first line names as the hash before it."""

FileKind = Literal["segment", "manifest", "metrics", "checkpoint", "events", "table", "document", "report"]
DecisionKind = Literal["gate", "transition", "guard", "approval"]
Kind = FileKind | DecisionKind | Literal["begin", "end", "gone"]
"""What a line is of: a file, a decision, the begin or end of a command that writes, or a file that such a command took away."""
COMMAND = ("begin", "end")
DECISIONS: tuple[str, ...] = get_args(DecisionKind)
EVENTS = "events.parquet"
REPORTING = "report"
"""Name of the command that writes the reports."""
_Digest = Field(pattern="^[0-9a-f]{64}$")


class Record(BaseModel):
    """One line: a file of the run as it was when the line was written, a decision of a roll-out, or a command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    i: int
    ts: str
    """ISO 8601, UTC."""
    kind: Kind
    path: str
    """Relative to the run folder, with forward slashes; of a command, its name; of a decision, where its event was then."""
    size: int | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Of a file; of a decision, that of its event (:mod:`fpo_pilot.logs.decisions`)."""
    covers: tuple[str, ...] | None = None
    """Of a command: patterns of the paths that it may write."""
    decisions: bool = False
    """Of a begin: whether decisions have lines from here on. Earlier releases entered none."""
    rows: int | None = None
    seq_first: int | None = None
    seq_last: int | None = None
    counts: dict[str, int] | None = None
    """Of the events of a roll-out: how many of each kind, such as gate, transition and guard."""
    recovered: bool = False
    """Whether the file or decision was found without a line, as after a crash, or missing though no command took it away."""
    prev: str = _Digest
    hash: str = _Digest

    def line(self) -> bytes:
        """Return the line as it is written, without its end."""
        return canonical(self.model_dump())


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return canonical JSON: keys sorted, no spaces, UTF-8; None and False are left out, and floats are refused."""
    kept = {key: item for key, item in value.items() if item is not None and item is not False}
    if any(isinstance(item, float) for item in kept.values()):
        raise TypeError("a ledger holds no floats: their text differs between writers")
    return json.dumps(kept, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def line_hash(fields: Mapping[str, Any]) -> str:
    """Return the hash of a line over all of its fields but ``hash``."""
    return hashlib.sha256(canonical({key: value for key, value in fields.items() if key != "hash"})).hexdigest()


def read_ledger(run_dir: Path) -> tuple[tuple[Record, ...], str | None]:
    """Read the ledger as far as it is sound.

    Returns:
        The records up to the first line that is wrong, and what is wrong with that line; None if all are sound. A last
        line without its end, which a crash leaves, is passed over: it was never promised.
    """
    path = run_dir / FILE
    records: list[Record] = []
    previous = START
    for index, line in enumerate(_whole_lines(path)):
        problem = None
        try:
            record = Record.model_validate_json(line)
        except ValidationError as error:
            return tuple(records), f"{path}:{index + 1}: found a line that is no record ({error.errors()[0]['msg']})"
        if record.i != index:
            problem = f"number {record.i}, expected {index}"
        elif record.prev != previous:
            problem = "a line that does not follow from the one before it"
        elif record.hash != line_hash(record.model_dump()) or record.line() != line:
            problem = "a line whose hash is not its own"
        if problem is not None:
            return tuple(records), f"{path}:{index + 1}: found {problem}"
        records.append(record)
        previous = record.hash
    return tuple(records), None


def root_of(records: Iterable[Record]) -> str:
    """Return the Merkle root over the lines of ``records``, in hexadecimal."""
    return tree_root([leaf_hash(record.line()) for record in records]).hex()


def current(records: Iterable[Record]) -> dict[str, Record]:
    """Return the newest record of each file that shall be there."""
    newest = {record.path: record for record in records if record.kind not in (*COMMAND, *DECISIONS)}
    return {path: record for path, record in newest.items() if record.kind != "gone"}


def interrupted(records: Sequence[Record]) -> Record | None:
    """Return the begin of a command that has no end; None if every command came to its end."""
    last = next((record for record in reversed(records) if record.kind in COMMAND), None)
    return last if last is not None and last.kind == "begin" else None


def settled(records: Sequence[Record]) -> Sequence[Record]:
    """Return the records up to the end of the last command that was no report: a report cannot name a root with itself in."""
    ends = [record.i for record in records if record.kind == "end" and record.path != REPORTING]
    return records[: ends[-1] + 1] if ends else ()


def is_covered(path: str, patterns: Sequence[str]) -> bool:
    """Tell whether one of ``patterns`` (shell style; ``*`` crosses folders) matches ``path``."""
    return any(fnmatchcase(path, pattern) for pattern in patterns)


class Ledger:
    """Appends to the ledger of a run, one writer at a time.

    Args:
        run_dir: the run folder.

    Raises:
        LogError: the ledger that is there is not sound: nothing may be added to it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.path = run_dir / FILE
        records, problem = read_ledger(run_dir)
        if problem is not None:
            raise LogError(
                f"{problem}, expected the ledger as it was written. It was edited or damaged: nothing is added to it. "
                f"Restore it from a copy; `fpo-pilot verify {run_dir}` says more."
            )
        self.records = list(records)
        self._size = sum(len(record.line()) + 1 for record in records)
        self._is_behind = False
        self.cut = torn_bytes(run_dir, records)
        """Bytes of a last line without its end, which were taken away: what follows must begin on a line of its own."""
        if self.cut:
            self._cut_torn_line()

    def begin(self, command: str, covers: Sequence[str]) -> Record:
        """Enter that ``command`` begins to write what ``covers`` matches."""
        record = self._record({"kind": "begin", "path": command, "covers": tuple(covers), "decisions": True})
        self._write([record])
        return record

    def end(self, command: str, covers: Sequence[str], *, recovered: bool = False) -> None:
        """Enter what ``command`` wrote and took away, and that it came to its end."""
        found = {path.relative_to(self.run_dir).as_posix(): path for path in files_of(self.run_dir)}
        lost = [name for name in current(self.records) if name not in found and is_covered(name, covers)]
        new = [self._record({"kind": "gone", "path": name}) for name in sorted(lost)]
        new += self._changed((path for name, path in found.items() if is_covered(name, covers)), recovered=recovered)
        self._write([*new, self._record({"kind": "end", "path": command, "covers": tuple(covers)})])

    def decide(self, events: Path, decisions: Iterable[Decision], *, recovered: bool = False) -> None:
        """Enter decisions that are in an events file on the disk.

        Args:
            events: the file, inside the run folder.
            decisions: those of its rows that have no line yet.
            recovered: they were found without a line.

        Raises:
            LogError: the disk does not take them; then none of them is entered.
        """
        name = events.relative_to(self.run_dir).as_posix()
        facts = [{"kind": d.kind, "sha256": d.sha256, "seq_first": d.seq, "seq_last": d.seq} for d in decisions]
        self._write([self._record({**fact, "path": name, "recovered": recovered}) for fact in facts])

    def lose(self, names: Iterable[str]) -> None:
        """Enter that files are missing which no command took away."""
        self._write([self._record({"kind": "gone", "path": name, "recovered": True}) for name in sorted(names)])

    def enter(self, paths: Iterable[Path], *, recovered: bool = False) -> list[Record]:
        """Enter files as they are now, in the order of their paths; those that are as already recorded are passed over.

        Args:
            paths: inside the run folder.
            recovered: they were found without a record.

        Returns:
            The new records; they are on the disk.
        """
        new = self._changed(paths, recovered=recovered)
        self._write(new)
        return new

    def differing(self) -> list[str]:
        """List the files that are not as recorded, those that are missing included."""
        wrong = []
        for name, record in current(self.records).items():
            path = self.run_dir / name
            if not path.is_file() or file_hash(path) != (record.sha256, record.size):
                wrong.append(name)
        return wrong

    def _changed(self, paths: Iterable[Path], *, recovered: bool) -> list[Record]:
        known = current(self.records)
        new: list[Record] = []
        for path in sorted(set(paths)):
            name = path.relative_to(self.run_dir).as_posix()
            digest, size = file_hash(path)
            before = known.get(name)
            if before is not None and (before.sha256, before.size) == (digest, size):
                continue
            facts = {"kind": kind_of(name), "path": name, "size": size, "sha256": digest, "recovered": recovered}
            new.append(self._record({**facts, **_rows(path)}))
        return new

    def _write(self, records: Sequence[Record]) -> None:
        """Append records that were just made; those that the disk does not take are forgotten, so that none follows from them."""
        if not records:
            return
        data = b"".join(record.line() + b"\n" for record in records)
        try:
            _append(self.path, data, self._size if self._is_behind else None)
        except LogError:
            del self.records[-len(records) :]
            self._is_behind = True  # a part may be there: the next write begins where this one did
            raise
        self._size += len(data)
        self._is_behind = False

    def _record(self, facts: Mapping[str, Any]) -> Record:
        fields = {
            **facts,
            "i": len(self.records),
            "ts": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "prev": self.records[-1].hash if self.records else START,
        }
        record = Record(**fields, hash=line_hash(fields))
        self.records.append(record)
        return record

    def _cut_torn_line(self) -> None:
        with self.path.open("r+b") as file:
            file.truncate(self.path.stat().st_size - self.cut)
            file.flush()
            os.fsync(file.fileno())


def files_of(run_dir: Path) -> list[Path]:
    """List all files of a run that the ledger must know: all but itself, signatures over it, and temporary files."""
    return sorted(
        path
        for path in run_dir.rglob("*")
        if path.is_file() and not _is_apart(path.relative_to(run_dir)) and not path.name.endswith(TEMPORARY)
    )


def leftovers(run_dir: Path) -> list[Path]:
    """List what no command leaves when it comes to its end: temporary files that are no lock, and links that lead to no file."""
    return sorted(
        path
        for path in run_dir.rglob("*")
        if (path.name.endswith(TEMPORARY) and path.is_file() and not _is_lock(path.relative_to(run_dir)))
        or (path.is_symlink() and not path.is_file())
    )


def torn_bytes(run_dir: Path, records: Sequence[Record]) -> int:
    """Return how many bytes lie behind the last whole line of a ledger that is sound."""
    path = run_dir / FILE
    whole = sum(len(record.line()) + 1 for record in records)
    return path.stat().st_size - whole if path.exists() else 0


def _is_apart(path: Path) -> bool:
    """Tell whether a path in a run is the ledger itself, or a signature over it: by its exact place, not by its name."""
    in_attestations = path.parts[:-1] == (ATTESTATIONS,)
    return path.parts == (FILE,) or (in_attestations and SIGNATURE.fullmatch(path.name) is not None)


def _is_lock(path: Path) -> bool:
    return path.parts == (LOCK,) or path.parts[-2:] == (WAL_FOLDER, WAL_LOCK)


def file_hash(path: Path) -> tuple[str, int]:
    """Return SHA-256 and size of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def kind_of(name: str) -> Kind:
    """Tell what a file of a run is by its path."""
    first, last = name.split("/")[0], name.split("/")[-1]
    if "steps/stage=" in f"/{name}":
        return "segment"
    if first == "checkpoints":
        return "checkpoint"
    by_name: dict[str, Kind] = {"manifest.json": "manifest", "metrics.parquet": "metrics", EVENTS: "events"}
    if last in by_name:
        return by_name[last]
    if last.startswith("report."):
        return "report"
    return "table" if last.endswith(".parquet") else "document"


def _rows(path: Path) -> dict[str, Any]:
    """Return rows, sequence numbers and counts of a Parquet file that can be read; nothing of any other."""
    if path.suffix != ".parquet":
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        kinds = (
            pq.read_table(path, columns=["kind"], partitioning=None)["kind"].to_pylist() if path.name == EVENTS else []
        )
    except (OSError, pa.ArrowException, KeyError):
        return {}
    plain = metadata.metadata or {}
    rows: dict[str, Any] = {"rows": metadata.num_rows}
    if path.name == EVENTS:
        rows["counts"] = {kind: kinds.count(kind) for kind in sorted({str(one) for one in kinds})}
    if b"seq_first" in plain:
        rows |= {"seq_first": int(plain[b"seq_first"]), "seq_last": int(plain[b"seq_last"])}
    return rows


def _whole_lines(path: Path) -> list[bytes]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise LogError(
            f"{path}: found that it cannot be read ({problem.strerror}), expected the ledger of a run. "
            "Mend the permissions, then run again."
        ) from problem
    return data.split(b"\n")[:-1]


def _append(path: Path, data: bytes, cut_to: int | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if cut_to is not None:
                file.truncate(cut_to)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise LogError(
            f"{path}: found that it could not be written ({problem}), expected the ledger to take a line. "
            "Free space or mend the permissions of the folder, then run again."
        ) from problem
