"""Measured data as a disturbance: a column of a file, brought to the period of the plant. Bad files are refused by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from fpo_pilot.errors import PlantError
from fpo_pilot.specs.plant import Replay
from fpo_pilot.specs.units import UnitError, convert_point, parse_unit

Floats = npt.NDArray[np.float64]


def replayed(folder: Path, replay: Replay, *, unit: str, period: float) -> Floats:
    """Read a column of data, one value a period of the plant.

    Args:
        folder: of the spec that names the file.
        replay: what to read.
        unit: of the channel, in which the values are returned.
        period: of the plant, in seconds.

    Returns:
        ``[K]``, from the first row of the file to the last.

    Raises:
        PlantError: the file, its columns, its time stamps, a value or the unit is wrong; it names row and column.
    """
    path = replay_file(folder, replay)
    table = _read(path)
    for column in (replay.time, replay.column):
        if column not in table.columns:
            raise PlantError(
                f"{path}: found columns {', '.join(map(str, table.columns))}, expected {column!r} among them. "
                "Correct the name in `replay:`."
            )
    seconds = _seconds(path, table[replay.time], replay)
    values = _numbers(path, table[replay.column], replay.column)
    try:
        source, target = parse_unit(replay.unit), parse_unit(unit)
        converted = np.array([convert_point(float(value), source, target) for value in values])
    except UnitError as error:
        raise PlantError(
            f"{path}: column {replay.column}: found the unit {replay.unit}, expected one that converts to {unit}. {error.fix}"
        ) from error
    grid = np.arange(0.0, seconds[-1] + 1e-9 * period, period)
    if replay.between == "hold":
        rows = np.searchsorted(seconds, grid + 1e-9 * period, side="right") - 1
        return np.asarray(converted[rows], dtype=np.float64)
    return np.asarray(np.interp(grid, seconds, converted), dtype=np.float64)


def replay_file(folder: Path, replay: Replay) -> Path:
    """Return the file of a replay, which must lie below the folder of the spec.

    Raises:
        PlantError: it lies elsewhere, or is not there.
    """
    path = (folder / replay.file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PlantError(
            f"replay.file: found {replay.file}, which is outside of {folder}, expected a file in it. "
            "Copy the file beside the spec: data of a plant is hashed with it."
        )
    if not path.is_file():
        raise PlantError(f"replay.file: found no file {path}, expected measured data there. Correct the name.")
    return path


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, comment="#", skipinitialspace=True)
    except (ValueError, OSError, UnicodeDecodeError) as problem:
        raise PlantError(
            f"{path}: found no table ({str(problem).splitlines()[0]}), expected CSV (UTF-8) or Parquet. Mend the file."
        ) from problem


def _seconds(path: Path, stamps: pd.Series, replay: Replay) -> Floats:
    """Return seconds since the first row; time stamps must grow, and without a long gap."""
    times = pd.to_datetime(stamps, errors="coerce", utc=True, format="ISO8601")
    bad = np.flatnonzero(times.isna())
    if bad.size:
        raise _refused(
            path, int(bad[0]), replay.time, repr(stamps.iloc[bad[0]]), "a time stamp such as 2024-01-31T06:00"
        )
    seconds = (times - times.iloc[0]).dt.total_seconds().to_numpy(np.float64)
    steps = np.diff(seconds)
    for wrong, what in (
        (steps == 0.0, "the same time as the row before"),
        (steps < 0.0, "an earlier time than the row before"),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0]) + 1
            raise _refused(path, row, replay.time, what, "time stamps that grow")
    if (steps > replay.longest_gap).any():
        row = int(np.flatnonzero(steps > replay.longest_gap)[0]) + 1
        expected = f"at most {replay.longest_gap:g} s (longest_gap)"
        raise _refused(path, row, replay.time, f"a gap of {steps[row - 1]:g} s before it", expected)
    if len(seconds) < 2:
        raise PlantError(f"{path}: found {len(seconds)} rows, expected two or more. Give a longer record.")
    return np.asarray(seconds, dtype=np.float64)


def _numbers(path: Path, values: pd.Series, column: str) -> Floats:
    numbers: Floats = np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        found = values.iloc[bad[0]]
        hint = " with a decimal point" if isinstance(found, str) and "," in found else ""
        shown = repr(found) if isinstance(found, str) else f"{found}"
        raise _refused(path, int(bad[0]), column, shown, f"a finite number{hint}")
    return numbers


def _refused(path: Path, row: int, column: str, found: str, expected: str) -> PlantError:
    return PlantError(
        f"{path}: row {row + 1}, column {column}: found {found}, expected {expected}. "
        "Mend the file, or leave the rows out that are wrong and raise longest_gap."
    )
