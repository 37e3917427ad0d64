"""A file of a run is there whole or not at all: written beside its place, forced to the disk, checked, then moved.

A Parquet file without its footer is lost whole, and half a JSON document is none. So nothing is ever written in place:
``NAME.tmp`` in the same folder → fsync → check → ``os.replace`` → fsync of the folder. A crash at any point leaves
the old file or the new one; what may stay behind is a ``*.tmp``, which no reader looks at and the next write
replaces.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import pyarrow as pa

from fpo_pilot.errors import LogError
from fpo_pilot.logs.protocol import reached

TEMPORARY = ".tmp"


def write_atomic(
    path: Path,
    write: Callable[[IO[bytes]], object],
    check: Callable[[Path], object] | None = None,
    *,
    durable: bool = True,
) -> None:
    """Write a file whole or not at all.

    Args:
        path: where the file shall be; its folder is made when missing.
        write: writes the content to the open file.
        check: looks at the temporary file before it is moved, and raises if it is not as it should be.
        durable: force it to the disk. What can be computed again, and is checked when it is read, need not wait for that.

    Raises:
        LogError: the disk, the content or the check failed; what was at ``path`` before is untouched.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            reached("file written")
            if durable:
                os.fsync(file.fileno())
        reached("file synced")
        if check is not None:
            check(temporary)
        reached("file checked")
        os.replace(temporary, path)
        reached("file moved")
        if durable:
            sync_folder(path.parent)
        reached("folder synced")
    except (OSError, pa.ArrowException, ValueError) as problem:
        _remove(temporary)
        raise LogError(
            f"{path}: found that it could not be written ({problem}), expected a whole file on the disk. "
            "Free space or mend the permissions of the folder, then run again."
        ) from problem


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8")))


def write_json_atomic(path: Path, value: object) -> None:
    """Write a JSON document, whole or not at all; numbers that are not finite become ``null``, since JSON has none."""
    write_text_atomic(path, json.dumps(without_nan(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def without_nan(value: object) -> object:
    """Return ``value`` with every float that is not finite replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value


def sync_folder(folder: Path) -> None:
    """Force to the disk which names a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # it is a temporary file: no reader looks at it, and the next write replaces it
