"""What code decides: a record is about shields as they were written when it was made."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import fpo_pilot


@lru_cache(maxsize=1)
def shields_hash() -> str:
    """Return the SHA-256 over the files of ``fpo_pilot/shields``, names included.

    Other code that a decision rests on (the model's integrator, the language of conditions) is bound by the release only.
    """
    return folder_hash(Path(fpo_pilot.__file__).parent / "shields")


def folder_hash(folder: Path) -> str:
    """Return the SHA-256 over the Python files below a folder, in the order of their paths."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py"), key=lambda one: one.relative_to(folder).as_posix()):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
