"""The write-ahead log: rows are in a file as soon as they are given, and on the disk within a second.

What was given survives a process that is killed, whole; a machine that loses its power loses at most the last second.
The file lies in ``wal/`` of the run folder, one for the segment under way, and goes when that segment is in its place.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import sync_folder
from fpo_pilot.logs.frames import encode
from fpo_pilot.logs.protocol import reached
from fpo_pilot.logs.rows import encode_row

FOLDER = "wal"
ENDING = ".wal"
LOCK = "writer.lock.tmp"
"""In the same folder; its name keeps it out of the ledger."""
VERSION = 1
SYNC_SECONDS = 0.5
"""Rows wait so long for the disk; with the time that forcing takes it stays below a second."""
RESERVE = 32 * 2**20
"""Bytes that must stay free beside what the segment under way may need: the guard fires before the disk is full."""

HEADER, SCHEMA, NAMES, ROW, BATCH = b"H", b"S", b"K", b"R", b"B"
"""Kinds of frames. The first three are written twice: without them no row of the file can be read."""


def wal_path(run_dir: Path, stage: str, index: int) -> Path:
    """Return the place of the write-ahead log of a segment under way."""
    return run_dir / FOLDER / f"{stage}-{index:05d}{ENDING}"


def wal_files(run_dir: Path) -> tuple[Path, ...]:
    """List the write-ahead logs of a run that no segment has taken over, oldest segment first."""
    return tuple(sorted((run_dir / FOLDER).glob(f"*{ENDING}")))


def is_wal(path: Path) -> bool:
    """Tell whether a file is a write-ahead log, by its place."""
    return path.name.endswith(ENDING) and path.parent.name == FOLDER


@dataclass
class _State:
    """What the writer and the thread that forces to the disk share."""

    descriptor: int = -1
    lock: threading.Lock = field(default_factory=threading.Lock)
    dirty: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    problem: OSError | None = None
    """Why forcing to the disk failed; what was written since may be lost, whatever a second try says."""


class WriteAheadLog:
    """Appends rows to the write-ahead log of one segment after the other.

    Args:
        run_dir: the run folder.
        schema: of the step log.
    """

    def __init__(self, run_dir: Path, schema: pa.Schema) -> None:
        self._run_dir = run_dir
        self._schema = schema
        self._bare = pa.schema([one.remove_metadata() for one in schema])  # the metadata is written once, not a batch
        self._state = _State()
        self._thread: threading.Thread | None = None
        self._names: tuple[str, ...] = ()
        self._names_number = 0
        self.path: Path | None = None
        """Of the file that is open; None before the first row of a segment."""
        self.size = 0
        weakref.finalize(self, _release, self._state)

    def row(self, stage: str, index: int, seq: int, names: tuple[str, ...], values: Sequence[Any]) -> None:
        """Append a single row.

        Raises:
            LogError: it could not be written; it is not in the log.
        """
        self._open(stage, index)
        number = self._names_number + (names != self._names)
        frame = encode(ROW, encode_row(seq, number, values))
        if number != self._names_number:
            frame = 2 * encode(NAMES, json.dumps([number, *names]).encode()) + frame
        self._write(frame)
        self._names, self._names_number = names, number

    def batch(self, stage: str, index: int, table: pa.Table) -> None:
        """Append rows that are columns, numbered in ``seq``.

        Raises:
            LogError: they could not be written; none of them is in the log.
        """
        self._open(stage, index)
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(sink, self._bare, options=options) as stream:
            stream.write_table(table.cast(self._bare))
        self._write(encode(BATCH, sink.getvalue().to_pybytes()))

    def sync(self) -> None:
        """Force what was appended to the disk now.

        Raises:
            LogError: the disk does not take it.
        """
        state = self._state
        if state.descriptor < 0:
            return
        try:
            with state.lock:
                state.dirty.clear()
                os.fsync(state.descriptor)
        except OSError as problem:
            state.problem = problem
        self._raise_if_lost()
        reached("wal synced")

    def remove(self) -> None:
        """Take the file away: its rows are in a segment."""
        path = self.path
        if path is None:
            return
        self._close()
        try:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)  # one that came back after a loss of power could be taken for rows of a later run
        except OSError as problem:
            raise _error(path, f"that it could not be removed ({problem})") from problem
        reached("wal removed")

    def close(self) -> None:
        """Stop; a file that is there stays, for the recovery."""
        self._close()
        self._state.stopped.set()
        self._state.dirty.set()

    def _open(self, stage: str, index: int) -> None:
        if self.path is not None:
            return
        path = wal_path(self._run_dir, stage, index)
        header = {"version": VERSION, "stage": stage, "index": index}
        schema = self._schema.serialize().to_pybytes()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND  # one that is there may have rows in it
            self._state.descriptor, self.size = os.open(path, flags, 0o644), 0
            self._state.problem = None
        except OSError as problem:
            raise _error(path, f"that it could not be made ({problem})") from problem
        self.path = path
        try:
            sync_folder(path.parent)
            self._write(2 * (encode(HEADER, json.dumps(header).encode()) + encode(SCHEMA, schema)))
        except (OSError, LogError) as problem:
            self._discard(path)
            if isinstance(problem, LogError):
                raise
            raise _error(path, f"that it could not be made ({problem})") from problem
        reached("wal opened")

    def _discard(self, path: Path) -> None:
        """Take away a file without its header: it says nothing, and no row is in it."""
        self._close()
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return  # the next row finds it in its way and is refused; a recovery takes it away

    def _write(self, data: bytes) -> None:
        """Append ``data`` whole or not at all."""
        path, state = self.path, self._state
        if path is None:
            raise LogError("write-ahead log: found none open, expected one. This is a fault of fpo-pilot: report it.")
        self._raise_if_lost()
        self._check_room(path, len(data))
        written = 0
        try:
            while written < len(data):
                written += os.write(state.descriptor, memoryview(data)[written:])
            self.size += len(data)
        except OSError as problem:
            self._cut(written)
            raise _error(path, f"that it could not be written ({problem})") from problem
        except BaseException:  # interrupted: how much of it is there is not known
            state.problem = OSError("interrupted while writing")
            raise
        if self._thread is None:
            self._thread = threading.Thread(target=_keep_synced, args=(state,), name="fpo-pilot-wal", daemon=True)
            self._thread.start()
        state.dirty.set()
        reached("rows appended")

    def _cut(self, written: int) -> None:
        """Take back the part of a record that was written; if that fails, nothing may follow it."""
        try:
            if written:
                os.ftruncate(self._state.descriptor, self.size)
        except OSError as problem:
            self._state.problem = problem

    def _check_room(self, path: Path, size: int) -> None:
        try:
            disk = os.statvfs(path.parent)
        except OSError as problem:
            raise _error(path, f"a folder that cannot be asked for its room ({problem})") from problem
        free, needed = disk.f_bavail * disk.f_frsize, RESERVE + self.size + 2 * size
        if free < needed:
            raise _error(path, f"{free / 2**20:.1f} MiB free on its disk, too few for what is logged ({_mib(needed)})")

    def _raise_if_lost(self) -> None:
        if self._state.problem is not None:
            raise _error(self.path or self._run_dir, f"that the disk did not take it ({self._state.problem})")

    def _close(self) -> None:
        _close_descriptor(self._state)
        self.path, self.size, self._names, self._names_number = None, 0, (), 0
        self._state.problem = None


def _keep_synced(state: _State) -> None:
    """Force what was written to the disk, soon after it was; the writer itself never waits for it."""
    while True:
        state.dirty.wait()
        if state.stopped.wait(SYNC_SECONDS):
            return
        with state.lock:
            state.dirty.clear()
            if state.descriptor < 0:
                continue
            try:
                os.fsync(state.descriptor)
            except OSError as problem:
                state.problem = problem


def _close_descriptor(state: _State) -> None:
    with state.lock:
        if state.descriptor >= 0:
            os.close(state.descriptor)
            state.descriptor = -1


def _release(state: _State) -> None:
    state.stopped.set()
    state.dirty.set()
    _close_descriptor(state)


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _error(path: Path, found: str) -> LogError:
    return LogError(
        f"{path}: found {found}, expected a log that takes every row: no log, no authority. What was logged before stays. "
        "Free space or mend the folder, then run again."
    )
