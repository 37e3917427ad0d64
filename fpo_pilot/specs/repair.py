"""All faults of a file at once: what does not fit is set aside, so that the rules between fields still see the rest."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel

from fpo_pilot.specs.findings import Finding, Path, either_contains
from fpo_pilot.specs.schema_findings import validate

Model = TypeVar("Model", bound=BaseModel)
_NAMED = ("signals", "parameters", "hazards", "actions", "start")
"""Sections whose entries others name: without one of these, the rules would complain about sound entries."""
_ROUNDS = 20
_STAND_INS: dict[Path, float] = {("timing", "period"): 1.0, ("timing", "horizon"): 10**9}
"""What no plant can do without, but hardly any rule depends on."""
_GONE = object()
"""Stands in a list where an item was set aside, so that the others keep their indices."""


def checked(
    model: type[Model], data: Any, rules: Callable[[Model], Iterable[Finding]], *, ignore: tuple[Path, ...]
) -> tuple[Model | None, list[Finding]]:
    """Validate ``data``, then apply ``rules``.

    Args:
        model: the spec's class.
        data: plain data, numbers converted.
        rules: what must hold between fields; yields its findings.
        ignore: paths whose faults are known already.

    Returns:
        The model, None if there is any fault, and the faults beyond the known ones.
    """
    built, faults = validate(model, data)
    if built is not None and not ignore:
        found = list(rules(built))
        return (None if found else built), found
    fresh = [fault for fault in faults if not any(either_contains(fault.path, path) for path in ignore)]
    aside: list[Path] = []
    rest = copy.deepcopy(data)
    for path in ignore:
        _set_aside(rest, path, aside)
    for _ in range(_ROUNDS):
        built, faults = validate(model, _compact(rest))
        if built is not None:
            break
        done = [_set_aside(rest, _original(rest, fault.path), aside) for fault in faults]
        if not all(done):
            break
    if built is None or any(len(path) >= 2 and path[-2] in _NAMED for path in aside):
        return None, fresh
    known = tuple(map(_clouded, (*aside, *ignore)))
    found = [finding._replace(path=_original(rest, finding.path)) for finding in rules(built)]
    return None, fresh + [
        finding for finding in found if not any(either_contains(finding.path, path) for path in known)
    ]


def _clouded(path: Path) -> Path:
    """Return what no rule can judge once ``path`` is set aside: with an item of an inner list, all that holds it."""
    return path[:2] if any(isinstance(part, int) for part in path[2:]) else path


def _compact(data: Any) -> Any:
    """Return the data without what was set aside."""
    if isinstance(data, dict):
        return {key: _compact(value) for key, value in data.items()}
    return [_compact(item) for item in data if item is not _GONE] if isinstance(data, list) else data


def _original(data: Any, path: Path) -> Path:
    """Turn a path of the compacted data into one of the data as they stand in the file."""
    here, result = data, list(path)
    for position, part in enumerate(path):
        if isinstance(here, list) and isinstance(part, int):
            kept = [index for index, item in enumerate(here) if item is not _GONE]
            result[position] = kept[part] if part < len(kept) else part
        part = result[position]
        holds = (
            part in here
            if isinstance(here, dict)
            else isinstance(here, list) and isinstance(part, int) and part < len(here)
        )
        here = here[part] if holds else None
    return tuple(result)


def _set_aside(data: Any, path: Path, aside: list[Path]) -> bool:
    """Delete the value at ``path``, or what should have held it; False when nothing is left to delete."""
    if path in _STAND_INS and isinstance(data.get(path[0]), dict):
        section = data[path[0]]
        known = section.get(path[1]) == _STAND_INS[path]
        section[path[1]] = _STAND_INS[path]
        aside.append(path)
        return not known
    chain: list[Any] = [data]
    for part in path:
        here = chain[-1]
        holds = (
            part in here
            if isinstance(here, dict)
            else isinstance(here, list) and isinstance(part, int) and part < len(here)
        )
        if not holds or here[part] is _GONE:
            break
        chain.append(here[part])
    length = len(chain) - 1
    if length == 0:
        return False
    holder, last = chain[-2], path[length - 1]
    if isinstance(holder, dict):
        del holder[last]
    else:
        holder[last] = _GONE
    aside.append(path[:length])
    return True
