"""One writer at a time: a lock that the system gives back when its process ends, and that says who holds it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from fpo_pilot.errors import LogError


class Lock:
    """A lock that is held until :meth:`release`, or until the process ends, however it does.

    Args:
        path: the lock file; it stays, since one that is removed could be held twice. A name that ends in ``.tmp`` keeps
            it out of the ledger.
        doing: what it is held for, for the one who is refused.

    Raises:
        LogError: another process, or another writer of this one, holds it (the message names both file and process), or
            the folder or its disk takes no lock.
    """

    def __init__(self, path: Path, doing: str) -> None:
        self.path = path
        self.taken_over: str | None = None
        """What is known of a holder that ended without giving the lock back; None if there was none."""
        self._descriptor = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            _lock(self._descriptor, path)
            left = _holder(self._descriptor)
            self.taken_over = f"{path}: taken over from {left}, which ended without giving it back" if left else None
            since = datetime.now(UTC).isoformat(timespec="seconds")
            self._write(json.dumps({"pid": os.getpid(), "doing": doing, "since": since}).encode())
        except BaseException as problem:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if isinstance(problem, OSError):
                raise LogError(
                    f"{path}: found that it cannot be locked ({problem}), expected a folder that one writer can have for "
                    "itself. Mend its permissions, free space, or use a disk that knows locks."
                ) from problem
            raise

    def release(self) -> None:
        """Give the lock back; does nothing the second time."""
        if self._descriptor < 0:
            return
        try:
            self._write(b"")
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, content: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)


def _lock(descriptor: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system; there is nothing to hold
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        holder = _holder(descriptor) or "a process that is not named"
        raise LogError(
            f"{path.parent}: found another command that writes there now ({holder}, by {path.name}), "
            "expected to be alone. Wait for it, or stop it."
        ) from problem


def _holder(descriptor: int) -> str:
    """Tell who is written in a lock file; nothing if it was given back."""
    content = os.pread(descriptor, 4096, 0)
    if not content.strip():
        return ""
    try:
        found = json.loads(content)
        return f"process {int(found['pid'])}, {found['doing']}, since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that is not named"
