"""Where two files have the same time, they must have the same sample: historians write the one at the border into both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion.export import Export
from fpo_pilot.specs.ingestion import IngestionMap

_FIX = "Cut the part that both have out of one of them; nobody can tell which is right."


def part_of(export: Export, rows: slice) -> Export:
    """Return some samples of an export."""
    return dataclasses.replace(
        export,
        time=export.time[rows],
        values={name: column[rows] for name, column in export.values.items()},
        bad={name: column[rows] for name, column in export.bad.items()},
        batch=export.batch[rows],
        log_density=None if export.log_density is None else export.log_density[rows],
        row=export.row[rows],
    )


def require_same(kept: Sequence[Export], later: Export, wanted: IngestionMap) -> None:
    """Refuse a file that overlaps with earlier ones and has another sample there, or one more, or one less.

    Args:
        kept: earlier files in the order of time, that do not overlap.
        later: begins before the last of them ends.
        wanted: the map, for columns and the zone of times.

    Raises:
        LogError: it does.
    """
    end = min(int(later.time[-1]), int(kept[-1].time[-1]))
    for before in kept:
        first, last = max(int(before.time[0]), int(later.time[0])), min(int(before.time[-1]), end)
        if first <= last:
            _require_pair(_within(before, first, last), _within(later, first, last), wanted)
    theirs = np.concatenate([one.time for one in kept if one.time[-1] >= later.time[0]])
    more = np.flatnonzero(~np.isin(later.time, theirs) & (later.time <= end))  # between two of them
    if len(more):
        raise _odd(later, int(more[0]), kept[-1], wanted)


def _within(export: Export, first: int, last: int) -> Export:
    start, stop = np.searchsorted(export.time, first, side="left"), np.searchsorted(export.time, last, side="right")
    return part_of(export, slice(int(start), int(stop)))


def _require_pair(before: Export, later: Export, wanted: IngestionMap) -> None:
    for one, other in ((later, before), (before, later)):
        lonely = np.flatnonzero(~np.isin(one.time, other.time))
        if len(lonely):
            raise _odd(one, int(lonely[0]), other, wanted)
    for column, same, values, theirs in _columns(before, later, wanted):
        wrong = np.flatnonzero(~same)
        if len(wrong):
            index = int(wrong[0])
            raise LogError(
                f"{later.path}: row {later.row[index]}, column {column}: found {_shown(values[index])} at "
                f"{_local(later.time[index], wanted)}, expected {_shown(theirs[index])}, as in row {before.row[index]} of "
                f"{before.path}, of the same time (in units of the plant; {len(wrong)} such rows). {_FIX}"
            )


def _columns(
    before: Export, later: Export, wanted: IngestionMap
) -> Iterator[tuple[str, npt.NDArray[np.bool_], npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield each column, where it is the same in both, and what it is in ``later`` and in ``before``."""
    for name, entry in wanted.signals.items():
        yield entry.column, _same(before.values[name], later.values[name]), later.values[name], before.values[name]
        words = [np.where(one.bad[name], "a bad reading", "a good one") for one in (later, before)]
        yield entry.quality or "", before.bad[name] == later.bad[name], words[0], words[1]
    yield wanted.episodes.column or "", np.asarray(before.batch == later.batch, np.bool_), later.batch, before.batch
    if before.log_density is not None and later.log_density is not None:
        same = _same(before.log_density, later.log_density)
        yield wanted.log_density or "", same, later.log_density, before.log_density


def _same(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)), np.bool_)


def _odd(one: Export, index: int, other: Export, wanted: IngestionMap) -> LogError:
    return LogError(
        f"{one.path}: row {one.row[index]}, column {wanted.time.column}: found a sample at {_local(one.time[index], wanted)}, expected "
        f"none there that {other.path} does not have, since the two files overlap in time. {_FIX}"
    )


def _local(time: np.int64, wanted: IngestionMap) -> str:
    return f"{pd.Timestamp(int(time), tz='UTC').tz_convert(wanted.time.zone)}"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "nothing" if np.isnan(value) else f"{value:.9g}"
    return str(value)
