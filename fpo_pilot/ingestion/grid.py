"""Irregular samples onto the grid of the control period; what is old is held, and what is too old is no reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fpo_pilot.ingestion.export import Flags, Floats
from fpo_pilot.ingestion.timeline import Timeline
from fpo_pilot.specs.plant import PlantSpec

GOOD, BAD, HELD, OUTSIDE = 0, 1, 2, 3
"""Quality codes of the step log."""
PERIODS_TO_GAP = 3.0


@dataclass(frozen=True)
class Piece:
    """Control steps without a gap, of one batch; arrays ``[n]``, NaN where there is no value."""

    file: npt.NDArray[np.int64]
    """Of the newest sample."""
    time: npt.NDArray[np.int64]
    values: dict[str, Floats]
    quality: dict[str, npt.NDArray[np.uint8]]
    log_density: Floats | None
    """Of the action of the newest sample; NaN where that is a period old or more, or an action has no usable value in it."""

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """``[n]`` whether every reading, action and set point has a value."""
        return np.asarray(np.all([np.isfinite(column) for column in self.values.values()], axis=0), np.bool_)


@dataclass(frozen=True)
class Gap:
    """Time over which nothing was filled in."""

    file: int
    """Of the last sample before it."""
    start: int
    """Nanoseconds since 1970, UTC, of the last sample before it."""
    seconds: float


def pieces(
    samples: Timeline,
    plant: PlantSpec,
    *,
    method: str,
    max_gap: float | None,
    actions: tuple[str, ...],
    bridged: int = 0,
) -> tuple[list[Piece], list[Gap]]:
    """Cut a record at its gaps and batches, and put each part on the grid of the control period.

    Args:
        samples: of all files.
        plant: whose period, ranges and references.
        method: of readings, ``hold`` or ``linear``.
        max_gap: seconds; three periods if None.
        actions: signals that are always held, as set points are.
        bridged: periods without a sample up to which a batch goes on; nothing is filled in there either.
    """
    period = round(plant.timing.period * 1e9)
    reach = round((PERIODS_TO_GAP * plant.timing.period if max_gap is None else max_gap) * 1e9)
    jump = np.diff(samples.time)
    gaps = [Gap(int(samples.file[i]), int(samples.time[i]), float(jump[i]) / 1e9) for i in np.flatnonzero(jump > reach)]
    cuts = (jump > max(reach, bridged * period)) | (samples.batch[1:] != samples.batch[:-1])
    found = []
    for part in np.split(np.arange(len(samples.time)), np.flatnonzero(cuts) + 1):
        grid = np.arange(samples.time[part[0]], samples.time[part[-1]] + 1, period)
        found.append(_on_grid(samples, plant, part, grid, reach, method, actions))
    return found, gaps


def _on_grid(
    record: Timeline,
    plant: PlantSpec,
    part: npt.NDArray[np.int64],
    grid: npt.NDArray[np.int64],
    reach: int,
    method: str,
    actions: tuple[str, ...],
) -> Piece:
    samples, period = record.time[part], round(plant.timing.period * 1e9)
    newest = np.searchsorted(samples, grid, side="right") - 1
    empty = (np.diff(samples, append=samples[-1]) > reach)[newest] & (grid > samples[newest])  # in a gap of a batch
    values, quality = {}, {}
    for name, column in record.values.items():
        own, usable = column[part], np.isfinite(column[part]) & ~record.bad[name][part]
        held = name in actions or plant.signals[name].role == "reference" or method == "hold"
        values[name] = (_held if held else _between)(samples, own, usable, grid, reach)
        values[name][empty] = np.nan
        fresh = usable[newest] & (_age(samples[usable], grid) < period)
        code = np.where(np.isnan(values[name]), BAD, np.where(fresh, GOOD, HELD))
        low, high = plant.signals[name].range
        outside = (values[name] < low) | (values[name] > high)
        quality[name] = np.where(outside, OUTSIDE, code).astype(np.uint8)
    density = None
    if record.log_density is not None:  # of one draw: an action that is held was not drawn again
        drawn = np.all([np.isfinite(record.values[n][part]) & ~record.bad[n][part] for n in actions], axis=0)
        own_draw = drawn[newest] & (grid - samples[newest] < period)
        density = np.where(own_draw, record.log_density[part][newest], np.nan)
    return Piece(record.file[part][newest], grid, values, quality, density)


def _age(times: npt.NDArray[np.int64], grid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how long ago, in nanoseconds, the last of ``times`` was at each time of the grid; for ever where there is none."""
    last = np.searchsorted(times, grid, side="right") - 1
    if not len(times):
        return np.full(len(grid), np.iinfo(np.int64).max)
    return np.where(last >= 0, grid - times[np.maximum(last, 0)], np.iinfo(np.int64).max)


def _held(
    samples: npt.NDArray[np.int64], own: Floats, usable: Flags, grid: npt.NDArray[np.int64], reach: int
) -> Floats:
    """Return the last usable value at each time of the grid, NaN where it is older than ``reach``."""
    times, values = samples[usable], own[usable]
    if not len(times):
        return np.full(len(grid), np.nan)
    last = np.maximum(np.searchsorted(times, grid, side="right") - 1, 0)
    return np.where(_age(times, grid) <= reach, values[last], np.nan)


def _between(
    samples: npt.NDArray[np.int64], own: Floats, usable: Flags, grid: npt.NDArray[np.int64], reach: int
) -> Floats:
    """Return the line between the usable values around each time; NaN where they are farther apart than ``reach``."""
    times, values = samples[usable], own[usable]
    if not len(times):
        return np.full(len(grid), np.nan)
    after = np.clip(np.searchsorted(times, grid, side="left"), 0, len(times) - 1)
    before = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, len(times) - 1)
    spanned = (times[before] <= grid) & (grid <= times[after]) & (times[after] - times[before] <= reach)
    line = np.interp((grid - samples[0]).astype(np.float64), (times - samples[0]).astype(np.float64), values)
    return np.where(spanned, line, np.nan)
