"""Irregular samples onto the grid of the control period; what is too old is no reading, and what is missing cuts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fpo_pilot.ingestion.export import Export, Flags, Floats
from fpo_pilot.specs.plant import PlantSpec

GOOD, BAD, HELD, OUTSIDE = 0, 1, 2, 3
"""Quality codes of the step log."""
PERIODS_TO_GAP = 3.0


@dataclass(frozen=True)
class Piece:
    """Control steps without a gap, of one file and one batch; arrays ``[n]``."""

    file: int
    time: npt.NDArray[np.int64]
    values: dict[str, Floats]
    quality: dict[str, npt.NDArray[np.uint8]]
    log_density: Floats | None


@dataclass(frozen=True)
class Gap:
    """Time over which nothing was filled in."""

    file: int
    start: int
    """Nanoseconds since 1970, UTC, of the last sample before it."""
    seconds: float


def pieces(
    export: Export, file: int, plant: PlantSpec, *, method: str, max_gap: float | None, actions: tuple[str, ...]
) -> tuple[list[Piece], list[Gap]]:
    """Cut an export at its gaps and batches, and put each part on the grid of the control period.

    Args:
        export: one file.
        file: its number.
        plant: whose period, ranges and references.
        method: of readings, ``hold`` or ``linear``.
        max_gap: seconds; three periods if None.
        actions: signals that are always held, as set points are.
    """
    period = round(plant.timing.period * 1e9)
    reach = round((PERIODS_TO_GAP * plant.timing.period if max_gap is None else max_gap) * 1e9)
    jump = np.diff(export.time)
    gaps = [Gap(file, int(export.time[i]), float(jump[i]) / 1e9) for i in np.flatnonzero(jump > reach)]
    cuts = np.flatnonzero((jump > reach) | (np.diff(export.batch) != 0)) + 1
    found = []
    for part in np.split(np.arange(len(export.time)), cuts):
        samples = export.time[part]
        grid = np.arange(samples[0], samples[-1] + 1, period)
        made = _on_grid(export, file, plant, part, grid, reach, method, actions)
        found += list(_without_missing_actions(made, actions))
    return found, gaps


def _on_grid(
    export: Export,
    file: int,
    plant: PlantSpec,
    part: npt.NDArray[np.int64],
    grid: npt.NDArray[np.int64],
    reach: int,
    method: str,
    actions: tuple[str, ...],
) -> Piece:
    samples = export.time[part]
    newest = np.searchsorted(samples, grid, side="right") - 1
    values, quality = {}, {}
    for name, column in export.values.items():
        own, usable = column[part], np.isfinite(column[part]) & ~export.bad[name][part]
        held = name in actions or plant.signals[name].role == "reference" or method == "hold"
        values[name], fresh = (_held if held else _between)(samples, own, usable, grid, reach)
        code = np.where(np.isnan(values[name]), BAD, np.where(usable[newest] & fresh, GOOD, HELD))
        low, high = plant.signals[name].range
        outside = (values[name] < low) | (values[name] > high)
        quality[name] = np.where(outside, OUTSIDE, code).astype(np.uint8)
    density = None if export.log_density is None else export.log_density[part][newest]
    return Piece(file, grid, values, quality, density)


def _held(
    samples: npt.NDArray[np.int64], own: Floats, usable: Flags, grid: npt.NDArray[np.int64], reach: int
) -> tuple[Floats, Flags]:
    """Return the last usable value at each time of the grid, NaN where it is older than ``reach``, and where it is the newest."""
    times, values = samples[usable], own[usable]
    last = np.searchsorted(times, grid, side="right") - 1
    known = last >= 0
    age = grid - times[np.maximum(last, 0)] if len(times) else np.full(len(grid), reach + 1)
    taken = values[np.maximum(last, 0)] if len(times) else np.full(len(grid), np.nan)
    return np.where(known & (age <= reach), taken, np.nan), np.ones(len(grid), np.bool_)


def _between(
    samples: npt.NDArray[np.int64], own: Floats, usable: Flags, grid: npt.NDArray[np.int64], reach: int
) -> tuple[Floats, Flags]:
    """Return the line between the usable values around each time; NaN where they are farther apart than ``reach``."""
    times, values = samples[usable], own[usable]
    if not len(times):
        return np.full(len(grid), np.nan), np.zeros(len(grid), np.bool_)
    after = np.clip(np.searchsorted(times, grid, side="left"), 0, len(times) - 1)
    before = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, len(times) - 1)
    spanned = (times[before] <= grid) & (grid <= times[after]) & (times[after] - times[before] <= reach)
    line = np.interp((grid - samples[0]).astype(np.float64), (times - samples[0]).astype(np.float64), values)
    return np.where(spanned, line, np.nan), np.ones(len(grid), np.bool_)


def _without_missing_actions(piece: Piece, actions: tuple[str, ...]) -> Iterator[Piece]:
    """Cut a piece where it is not known what was done."""
    known = np.all([np.isfinite(piece.values[name]) for name in actions], axis=0)
    edges = np.flatnonzero(np.diff(known.astype(np.int8))) + 1
    for rows in np.split(np.arange(len(known)), edges):
        if len(rows) and known[rows[0]]:
            yield Piece(
                piece.file,
                piece.time[rows],
                {name: column[rows] for name, column in piece.values.items()},
                {name: column[rows] for name, column in piece.quality.items()},
                None if piece.log_density is None else piece.log_density[rows],
            )
