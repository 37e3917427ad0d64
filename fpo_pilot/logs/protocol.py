"""The steps by which a row becomes durable, numbered, so that a crash can be tried at each of them.

Rows are appended to a write-ahead log, which is forced to the disk within a second. At the end of a segment they are
written to a temporary Parquet file, forced to the disk, read back, and moved into place; then the write-ahead log goes.
At any point a reader finds whole segments, and a writer that comes back finds each row in a segment, in the
write-ahead log, or in both; the sequence number tells which of those in both to drop.
"""

from __future__ import annotations

from collections.abc import Callable

STEPS = (
    "wal opened",
    "rows appended",
    "wal synced",
    "file written",
    "file synced",
    "file checked",
    "file moved",
    "folder synced",
    "wal removed",
    "recovery read",
    "recovery done",
)
"""What :func:`reached` is told, in the order in which a segment passes them; the last two are of a recovery."""

_listener: Callable[[str], object] | None = None


def listen(listener: Callable[[str], object] | None) -> None:
    """Have a function told each step as it is reached; None for nobody. For tests: nothing else sets it."""
    global _listener  # noqa: PLW0603  # one process writes one log; a test that kills it has nothing to give back
    _listener = listener


def reached(step: str) -> None:
    """Say that a step of the protocol was reached."""
    if _listener is not None:
        _listener(step)
