"""Where an export goes: outside of the run, whole or not at all, and never in the place of what is not an export."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fpo_pilot.errors import ExportError

MARK = "fpo_pilot.json"
"""In an exported folder: what it says of itself, and that ``--force`` may replace it."""


def check_target(option: str, run_dir: Path, target: Path, *, force: bool, folder: bool = False) -> None:
    """Refuse a place that is not free, or not fit.

    Args:
        option: how the user named it, such as ``--onnx``.
        run_dir: the run that is exported.
        target: the file or folder to write.
        force: replace a file, or the folder of an earlier export.
        folder: a folder is written.

    Raises:
        ExportError: the place is in the run or holds it, or something else is there.
    """
    place, run = target.resolve(), run_dir.resolve()
    if place.is_relative_to(run):
        raise ExportError(
            f"{option} {target}: found a place in the run folder, expected one outside: what is in a run is in its ledger. "
            "Name another folder."
        )
    if run.is_relative_to(place):
        raise ExportError(
            f"{option} {target}: found a folder that holds the run, expected one for this export alone. Name another folder."
        )
    if Path.cwd().is_relative_to(place):
        raise ExportError(
            f"{option} {target}: found the folder that you stand in, expected one for this export alone. Name another folder."
        )
    if not os.path.lexists(target):
        return
    there = "a folder" if target.is_dir() else "a file"
    if target.is_dir() != folder:
        raise ExportError(f"{option} {target}: found {there} there, expected a free name. Name another.")
    if not force:
        raise ExportError(
            f"{option} {target}: found {there} there, expected a free name. Name another, or replace it with --force."
        )
    if folder and any(target.iterdir()) and not (target / MARK).is_file():
        raise ExportError(
            f"{option} {target}: found a folder without {MARK}, expected one that an export has made: --force replaces no "
            "other. Name another."
        )


def write_mark(folder: Path, facts: Mapping[str, Any]) -> None:
    """Leave in a folder what it says of itself."""
    text = json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False)
    (folder / MARK).write_text(text + "\n", "utf-8")


def write_whole(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file or folder beside its place, force it to the disk, and move it there.

    Args:
        target: where it shall be; an older one there is replaced.
        write: is told a path that does not exist yet, and makes a file or a folder of it.

    Raises:
        ExportError: it could not be written; what was there before is there still.
    """
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    except OSError as problem:
        raise _error(target, problem) from problem
    made, old = holder / target.name, holder / "old"
    try:
        write(made)
        for path in [made, *made.rglob("*")]:
            _sync(path)
        if target.is_dir():
            os.replace(target, old)  # a folder cannot take the place of one that is not empty
        os.replace(made, target)
        _sync(target.parent)
    except OSError as problem:
        raise _error(target, problem) from problem
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(holder, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _error(target: Path, problem: OSError) -> ExportError:
    return ExportError(
        f"{target}: found that it could not be written ({problem.strerror or problem}), expected a place with room. "
        "Free space or mend the permissions of the folder, then run again."
    )
