"""A command that writes into a run: nobody else does at the same time, and what it wrote is in the ledger afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fpo_pilot.errors import FpoPilotError, LogError
from fpo_pilot.logs.atomic import TEMPORARY
from fpo_pilot.logs.decisions import Decision, events_files, missing_lines, place_of
from fpo_pilot.logs.ledger import FILE as LEDGER
from fpo_pilot.logs.ledger import LOCK, Ledger, current, file_hash, files_of, interrupted, is_covered, leftovers
from fpo_pilot.logs.lock import Lock
from fpo_pilot.logs.manifest import FILE as MANIFEST
from fpo_pilot.logs.reader import TRAINING_STAGE
from fpo_pilot.logs.recovery import Recovered, recover_all, waiting
from fpo_pilot.logs.wal import FOLDER as WAL_FOLDER
from fpo_pilot.logs.wal import is_wal

TRAINING = ("manifest.json", "metrics.parquet", "checkpoints/*", f"steps/stage={TRAINING_STAGE}/*", "wal/*")
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


class Held:
    """A run into which one command writes.

    Args:
        ledger: of the run. Whatever that command enters goes through this one: a second would not know its lines.
        notes: what was found and put right on the way, one line each: a lock taken over, rows recovered.
    """

    def __init__(self, ledger: Ledger, notes: tuple[str, ...]) -> None:
        self._ledger = ledger
        self.notes = notes

    def decide(self, events: Path, decisions: Sequence[Decision]) -> None:
        """Enter decisions that are in an events file on the disk, as they happen; their lines are on the disk then.

        Raises:
            LogError: they are not.
        """
        self._ledger.decide(events, decisions)


@contextmanager
def writing(run_dir: Path, command: str, covers: Sequence[str], *, begin_ledger: bool = False) -> Iterator[Held]:
    """Let ``command`` write the files that ``covers`` matches, and enter them in the ledger when it has come to its end.

    What was recorded before must still be as recorded, and what ``covers`` matches must have been recorded: otherwise a change
    by hand would be entered as if the command had made it. Two things are excepted. What a command that was interrupted may
    have written is entered as recovered. A file that ``covers`` matches and that is only missing may be written again; that it
    was missing is entered first.

    A folder without a ledger gets one if it is no run yet; what lies there already is entered as recovered. A run whose ledger
    is gone is refused: a new one would know nothing of what the old one knew.

    Rows of the step log that a crash left in a write-ahead log are recovered first.

    Args:
        run_dir: the run folder.
        command: its name.
        covers: patterns of what it may write.
        begin_ledger: begin a ledger although the folder is a run already, and enter all that is there as recovered.

    Decisions are entered as they happen (:meth:`Held.decide`). Those in an events file that have no line when the command ends, or
    when the next one closes it after a crash, are entered then, as recovered.

    Yields:
        The run, with what was found and put right on the way.

    Raises:
        LogError: the ledger or a recorded file was changed, a file was put there, or another command writes now.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = Lock(run_dir / LOCK, f"`{command}`")
    try:
        ledger = Ledger(run_dir)
        notes = (() if lock.taken_over is None else (lock.taken_over,)) + _settle(ledger, covers, begin_ledger)
        ledger.begin(command, covers)
        try:
            yield Held(ledger, notes)
        except FpoPilotError:
            _end(ledger, command, covers)  # it refused to go on, and said so; whatever it had written is entered
            raise
        _end(ledger, command, covers)
    finally:
        lock.release()


def _end(ledger: Ledger, command: str, covers: Sequence[str], *, recovered: bool = False) -> None:
    """Enter decisions that came onto the disk without their lines, then what the command wrote, and that it ended.

    A file whose content is in the ledger already, such as one that was only moved, gets none: what it lacks was not lost in a
    crash of this command, and stays for `verify` to find.
    """
    run_dir, recorded = ledger.run_dir, {record.sha256 for record in ledger.records}
    for name in events_files(path.relative_to(run_dir).as_posix() for path in files_of(run_dir)):
        if place_of(name) != name or not is_covered(name, covers) or file_hash(run_dir / name)[0] in recorded:
            continue
        try:
            missing = missing_lines(run_dir, ledger.records, name)
        except LogError:
            continue  # `verify` names a file that cannot be read
        ledger.decide(run_dir / name, missing, recovered=True)
    ledger.end(command, covers, recovered=recovered)


def _settle(ledger: Ledger, covers: Sequence[str], begin_ledger: bool) -> tuple[str, ...]:
    """Check that a run is as its ledger says, and close what a crash left open; return what there is to say of it."""
    run_dir = ledger.run_dir
    if not ledger.records and (run_dir / MANIFEST).exists() and not begin_ledger:
        raise LogError(
            f"{run_dir / LEDGER}: found no ledger beside a manifest, expected that of the run. Nothing was written. Restore it "
            f"from a copy. If there never was one, `fpo-pilot logs {run_dir} --begin-ledger` begins one, in which all that is "
            "there is marked as recovered."
        )
    half = interrupted(ledger.records)
    open_patterns: tuple[str, ...] = () if half is None else half.covers or ()
    lost = _check_recorded(ledger, covers, open_patterns)
    if not ledger.records:
        ledger.enter((path for path in files_of(run_dir) if not is_wal(path)), recovered=True)
    if half is None and waiting(run_dir):
        half = ledger.begin(RECOVERY, open_patterns := _recovery_patterns(run_dir))
    recovered = recover_all(run_dir)
    if half is not None:
        for path in leftovers(run_dir):
            if is_covered(path.relative_to(run_dir).as_posix().removesuffix(TEMPORARY), open_patterns):
                path.unlink()
        _end(ledger, half.path, (*open_patterns, *_names(run_dir, recovered)), recovered=True)
    if lost:
        ledger.lose(lost)
    cut = (f"{ledger.path}: {ledger.cut} bytes of a line without its end cut",) if ledger.cut else ()
    missing = tuple(f"{run_dir / name}: was missing; entered so" for name in lost)
    return (*cut, *recovered.notes, *missing)


def _check_recorded(ledger: Ledger, covers: Sequence[str], open_patterns: Sequence[str]) -> list[str]:
    """Return recorded files that are missing and may be written again.

    Raises:
        LogError: another file is not as recorded, or one that ``covers`` matches was never recorded.
    """
    run_dir, known = ledger.run_dir, current(ledger.records)
    lost = []
    for name in ledger.differing():
        if is_covered(name, open_patterns):
            continue
        if is_covered(name, covers) and not (run_dir / name).exists():
            lost.append(name)
            continue
        raise LogError(
            f"{run_dir / name}: found a file that is not as the ledger of the run says, expected it unchanged. "
            f"Nothing was written. Restore it from a copy; `fpo-pilot verify {run_dir}` lists all."
        )
    for path in files_of(run_dir) if ledger.records else ():
        name = path.relative_to(run_dir).as_posix()
        if name in known or is_covered(name, open_patterns) or not is_covered(name, covers) or is_wal(path):
            continue
        raise LogError(
            f"{path}: found a file that no command has recorded, expected none there: it would be entered as the work of this "
            f"one. Nothing was written. Move it away; `fpo-pilot verify {run_dir}` lists all."
        )
    return lost


def _recovery_patterns(run_dir: Path) -> tuple[str, ...]:
    """Return what a recovery may write: where it is cut short, the next command closes it."""
    prefixes = [folder.relative_to(run_dir).as_posix() for folder in waiting(run_dir)]
    places = ["" if prefix == "." else f"{prefix}/" for prefix in prefixes]
    return tuple(f"{place}{part}" for place in places for part in (f"{WAL_FOLDER}/*", "steps/stage=*"))


def _names(run_dir: Path, recovered: Recovered) -> tuple[str, ...]:
    """Return what a recovery made and took away, as paths in the run folder."""
    paths = (*recovered.segments, *recovered.kept, *recovered.removed)
    return tuple(path.relative_to(run_dir).as_posix() for path in paths)
