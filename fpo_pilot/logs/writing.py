"""A command that writes into a run: nobody else does at the same time, and what it wrote is in the ledger afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fpo_pilot.errors import FpoPilotError, LogError
from fpo_pilot.logs.ledger import Ledger, files_of, interrupted, is_covered
from fpo_pilot.logs.lock import Lock
from fpo_pilot.logs.recovery import Recovered, recover_all

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
RECOVERY = "recovery"
"""In the ledger: that rows of a write-ahead log became segments."""
SAMPLERS = ("samplers.parquet",)
ROLLOUT = ("rollout.json", "events.parquet", "blocks.parquet", "steps/stage=*", "earlier/*", "wal/*")
REPORT = ("report.*",)


@contextmanager
def writing(run_dir: Path, command: str, covers: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Let ``command`` write the files that ``covers`` matches, and enter them in the ledger when it has come to its end.

    What was recorded before must still be as recorded: otherwise a change by hand would be entered as if the command had
    made it. What a command that was interrupted may have written is the exception; it is entered as recovered. A folder
    whose ledger is empty gets one, and what lies there already is entered as recovered too.

    Rows of the step log that a crash left in a write-ahead log are recovered first.

    Yields:
        What was found and put right on the way, one line each: a lock taken over, rows recovered.

    Raises:
        LogError: the ledger or a recorded file was changed, or another command writes now.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = Lock(run_dir / LOCK, f"`{command}`")
    try:
        ledger = Ledger(run_dir)
        half = interrupted(ledger.records)
        open_patterns: tuple[str, ...] = () if half is None else half.covers or ()
        changed = [name for name in ledger.differing() if not is_covered(name, open_patterns)]
        if changed:
            raise LogError(
                f"{run_dir / changed[0]}: found a file that is not as the ledger of the run says, expected it unchanged. "
                f"Nothing was written. Restore it from a copy; `fpo-pilot verify {run_dir}` lists all."
            )
        recovered = recover_all(run_dir)
        if half is not None:
            ledger.end(half.path, (*open_patterns, *_names(run_dir, recovered)), recovered=True)
        elif recovered.removed:
            ledger.end(RECOVERY, _names(run_dir, recovered), recovered=True)
        notes = (() if lock.taken_over is None else (lock.taken_over,)) + recovered.notes
        if not ledger.records:
            ledger.enter(files_of(run_dir), recovered=True)
        ledger.begin(command, covers)
        try:
            yield notes
        except FpoPilotError:
            ledger.end(command, covers)  # it refused to go on, and said so; whatever it had written is entered
            raise
        ledger.end(command, covers)
    finally:
        lock.release()


def _names(run_dir: Path, recovered: Recovered) -> tuple[str, ...]:
    """Return what a recovery made and took away, as paths in the run folder."""
    paths = (*recovered.segments, *recovered.kept, *recovered.removed)
    return tuple(path.relative_to(run_dir).as_posix() for path in paths)
