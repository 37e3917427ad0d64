"""A finding: one fault of a spec, before it is known where in the file it stands."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

Path = tuple[str | int, ...]
"""The keys and indices from the top of a file to a value, such as ``("signals", "T", "range", 1)``."""


class Finding(NamedTuple):
    """What is wrong at ``path``: the parts of an error message, and the line where the path does not give it."""

    path: Path
    found: object
    expected: str
    fix: str
    line: int | None = None


def dotted(path: Path) -> str:
    """Write a path as people do: ``signals.T.range[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "file"


def did_you_mean(word: str, known: tuple[str, ...], otherwise: str) -> str:
    """Suggest the nearest of the ``known`` words."""
    near = get_close_matches(word, known, n=1, cutoff=0.6) or [k for k in known if k.lower() == word.lower()]
    return f"Did you mean `{near[0]}`?" if near else otherwise


def either_contains(first: Path, second: Path) -> bool:
    """Tell whether one of two paths is the other or lies below it."""
    shared = min(len(first), len(second))
    return first[:shared] == second[:shared]
