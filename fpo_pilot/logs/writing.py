"""A command that writes into a run: nobody else does at the same time, and what it wrote is in the ledger afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fpo_pilot.errors import FpoPilotError, LogError
from fpo_pilot.logs.ledger import Ledger, files_of, interrupted, is_covered

LOCK = "writing.lock.tmp"
"""Its name keeps it out of the ledger."""
TRAINING = ("manifest.json", "metrics.parquet", "checkpoints/*")
EVALUATION = (
    "evaluation.json",
    "episodes.parquet",
    "selection.parquet",
    "evaluation.partial/*",
    "worst.json",
    "worst.parquet",
    "steps/stage=offline/*",
)
SAMPLERS = ("samplers.parquet",)
ROLLOUT = ("rollout.json", "events.parquet", "blocks.parquet", "steps/stage=*", "earlier/*")
REPORT = ("report.*",)


@contextmanager
def writing(run_dir: Path, command: str, covers: Sequence[str]) -> Iterator[None]:
    """Let ``command`` write the files that ``covers`` matches, and enter them in the ledger when it has come to its end.

    What was recorded before must still be as recorded: otherwise a change by hand would be entered as if the command had
    made it. What a command that was interrupted may have written is the exception; it is entered as recovered. A folder
    whose ledger is empty gets one, and what lies there already is entered as recovered too.

    Raises:
        LogError: the ledger or a recorded file was changed, or another command writes now.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with _alone(run_dir):
        ledger = Ledger(run_dir)
        half = interrupted(ledger.records)
        open_patterns: tuple[str, ...] = () if half is None else half.covers or ()
        changed = [name for name in ledger.differing() if not is_covered(name, open_patterns)]
        if changed:
            raise LogError(
                f"{run_dir / changed[0]}: found a file that is not as the ledger of the run says, expected it unchanged. "
                f"Nothing was written. Restore it from a copy; `fpo-pilot verify {run_dir}` lists all."
            )
        if half is not None:
            ledger.end(half.path, open_patterns, recovered=True)
        if not ledger.records:
            ledger.enter(files_of(run_dir), recovered=True)
        ledger.begin(command, covers)
        try:
            yield
        except FpoPilotError:
            ledger.end(command, covers)  # it refused to go on, and said so; whatever it had written is entered
            raise
        ledger.end(command, covers)


@contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run; the system gives it back when the process ends, however it does."""
    try:
        import fcntl
    except ImportError:  # not on this system; there is nothing to hold
        yield
        return
    descriptor = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise LogError(
                f"{run_dir}: found another command that writes there now, expected to be alone. Wait for it, or stop it."
            ) from problem
        yield
    finally:
        os.close(descriptor)
