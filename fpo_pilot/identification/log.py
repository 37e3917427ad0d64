"""Reads logged data of a plant: our own step log, or a flat Parquet or CSV table with a column for each signal.

A row holds what was measured at the beginning of a control step, and the actions applied during it. A flat table has
columns named as the signals, ``episode``, and ``step`` (whole numbers) or ``time`` (seconds, or ISO 8601);
``quality.SIGNAL`` columns, 0 for good, are optional. Readings of bad quality and values outside the declared ranges are
not used, and counted; everything else that is not as it should be is refused with row and column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from fpo_pilot.errors import LogError
from fpo_pilot.logs.reader import TRAINING_STAGE, read_steps, stages
from fpo_pilot.logs.schema import measured_names, names_of
from fpo_pilot.logs.tables import read_parquet
from fpo_pilot.specs.plant import PlantSpec

Floats = npt.NDArray[np.float64]

_EPISODE_KEYS = ("stage", "arm", "mode", "shield", "scenario", "cell", "episode_id")
"""Columns of the step log that tell one episode from another."""
_STEP_TOLERANCE = 0.05
"""A time may be off its step by this part of a period."""
_RANGE_ROOM = 1e-6
"""Of the range: float32 logs do not hold its ends exactly."""


@dataclass(frozen=True)
class Stretch:
    """Rows of one episode without a gap: ``measured`` [T, S] and ``applied`` [T, A], in engineering units."""

    episode: int
    measured: Floats
    applied: Floats


@dataclass(frozen=True)
class PlantLog:
    """Logged data as the fit takes it, and an account of what was read."""

    signals: tuple[str, ...]
    actions: tuple[str, ...]
    stretches: tuple[Stretch, ...]
    episodes: int
    rows: int
    rows_bad: int
    """Not used: a reading was of bad quality, or a value lay outside its declared range."""
    rows_elsewhere: int
    """Not used: of a scenario other than the nominal one, which is another plant."""
    gaps: int
    """Places inside an episode where steps are missing; no window reaches over one."""


@dataclass(frozen=True)
class _Rows:
    """Columns of all rows in the order of the file; ``numbers`` are the rows' own, from 1, for messages."""

    signals: tuple[str, ...]
    actions: tuple[str, ...]
    values: Floats  # [R, S + A]
    names: tuple[str, ...]  # S + A columns as the file calls them
    bad: npt.NDArray[np.bool_]  # [R, S] quality that is not good
    episode: npt.NDArray[np.int64]  # [R], counted from 0 in the order of appearance
    step: npt.NDArray[np.int64]  # [R]
    numbers: npt.NDArray[np.int64]  # [R]
    elsewhere: int


def read_log(path: Path, plant: PlantSpec) -> PlantLog:
    """Read logged data of a plant.

    Args:
        path: a run folder (or its ``steps`` folder, or one stage of it), a segment of a step log, or a flat table as
            ``.parquet`` or ``.csv``.
        plant: whose measured signals and actions are wanted.

    Raises:
        LogError: there is no such file, a column is missing, a value is missing or no number, steps are not in order, or
            a quarter of the rows or fewer can be used.
    """
    frame = _frame(path, plant)
    rows = _step_log(frame, plant, path) if "episode_id" in frame.columns else _flat(frame, plant, path)
    _check_finite(rows, path)
    _check_order(rows, path)
    outside = _outside(rows, plant)
    bad = np.asarray(np.concatenate((rows.bad, outside), axis=1).any(axis=1), np.bool_)
    if bad.mean() > 0.75:
        worst = int(np.argmax(np.concatenate((rows.bad, outside), axis=1).mean(axis=0)))
        name = (*rows.signals, *rows.signals, *rows.actions)[worst]
        raise LogError(
            f"{path}: found {int(bad.sum())} of {len(bad)} rows of bad quality or outside the declared ranges, most of "
            f"them because of {name}, expected at least a quarter that can be used. Look at the unit and the range of "
            f"{name} in plant.yaml."
        )
    stretches, gaps = _stretches(rows, ~bad)
    episodes = int(rows.episode.max()) + 1
    return PlantLog(
        rows.signals, rows.actions, stretches, episodes, len(bad) + rows.elsewhere, int(bad.sum()), rows.elsewhere, gaps
    )


def _frame(path: Path, plant: PlantSpec) -> pd.DataFrame:
    if path.is_dir():
        stage = path.name.removeprefix("stage=") if path.name.startswith("stage=") else None
        run = path.parent.parent if stage else path.parent if path.name == "steps" else path
        wanted = (stage,) if stage else tuple(one for one in stages(run) if one != TRAINING_STAGE) or (None,)
        table = pa.concat_tables([read_steps(run, one) for one in wanted], promote_options="default")
    elif not path.is_file():
        raise LogError(
            f"{path}: found no file, expected a run folder, or a table as .parquet or .csv. Correct the path."
        )
    elif path.suffix == ".csv":
        try:
            return pd.read_csv(path)
        except (ValueError, OSError) as problem:  # pandas' own parser errors are ValueErrors
            raise LogError(
                f"{path}: found text that is no table ({problem}), expected CSV with a line of column names. Correct it."
            ) from problem
    elif path.suffix == ".parquet":
        table = read_parquet(path)
    else:
        raise LogError(f"{path}: found a file {path.suffix!r}, expected .parquet or .csv. Convert it.")
    period = (table.schema.metadata or {}).get(b"period_s")
    if period is not None and abs(float(period) - plant.timing.period) > 1e-6 * plant.timing.period:
        raise LogError(
            f"{path}: found a log with {float(period):g} s between two rows, expected {plant.timing.period:g} s. "
            "Correct `timing.period` in plant.yaml: a model is fitted for one period."
        )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _step_log(frame: pd.DataFrame, plant: PlantSpec, path: Path) -> _Rows:
    numbers = np.arange(1, len(frame) + 1)
    nominal = np.ones(len(frame), dtype=bool)
    if "scenario" in frame.columns:
        nominal = (
            frame["scenario"].astype(object).isin([None, "", "nominal"]).to_numpy()
            | frame["scenario"].isna().to_numpy()
        )
    kept = frame[nominal].reset_index(drop=True)
    if kept.empty:
        raise LogError(
            f"{path}: found no row of the nominal scenario, expected some. Log episodes of the plant as it is."
        )
    keys = [kept[key].astype(str) for key in _EPISODE_KEYS if key in kept.columns]
    episode = pd.factorize(pd.Series(list(zip(*keys, strict=True))))[0]
    signals, actions = measured_names(plant), names_of(plant, "action")
    names = (*(f"obs.{name}" for name in signals), *(f"act.applied.{name}" for name in actions))
    return _rows(kept, plant, path, names, episode, numbers[nominal], int((~nominal).sum()))


def _flat(frame: pd.DataFrame, plant: PlantSpec, path: Path) -> _Rows:
    names = (*measured_names(plant), *names_of(plant, "action"))
    _require(frame, (*names, "episode"), path)
    if frame.empty:
        raise LogError(f"{path}: found a table without rows, expected logged data. Name another file.")
    missing = frame["episode"].isna().to_numpy()
    if missing.any():
        raise _cell(path, int(np.flatnonzero(missing)[0]) + 1, "episode", "nothing", "which episode the row is of")
    episode = pd.factorize(frame["episode"])[0]
    if "step" not in frame.columns:
        frame = frame.assign(step=_steps_of(frame, episode, plant, path))
    return _rows(frame, plant, path, names, episode, np.arange(1, len(frame) + 1), 0)


def _rows(
    frame: pd.DataFrame,
    plant: PlantSpec,
    path: Path,
    names: tuple[str, ...],
    episode: npt.NDArray[Any],
    numbers: npt.NDArray[Any],
    elsewhere: int,
) -> _Rows:
    signals, actions = measured_names(plant), names_of(plant, "action")
    _require(frame, (*names, "step"), path)
    values = np.stack([_numbers(frame[name], name, numbers, path) for name in names], axis=1)
    step = _numbers(frame["step"], "step", numbers, path)
    wrong = np.flatnonzero(~(step == np.round(step)))  # NaN included
    if wrong.size:
        raise _cell(path, int(numbers[wrong[0]]), "step", f"{step[wrong[0]]:g}", "a whole number")
    bad = np.zeros((len(frame), len(signals)), dtype=bool)
    for column, name in enumerate(signals):
        if f"quality.{name}" in frame.columns:
            bad[:, column] = frame[f"quality.{name}"].fillna(0).to_numpy() != 0
    return _Rows(
        signals, actions, values, names, bad, episode.astype(np.int64), step.astype(np.int64), numbers, elsewhere
    )


def _numbers(column: pd.Series, name: str, numbers: npt.NDArray[Any], path: Path) -> Floats:
    converted = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    texts = np.flatnonzero(np.isnan(converted) & column.notna().to_numpy())
    texts = texts[[not isinstance(column.iloc[row], float) for row in texts]]
    if texts.size:
        raise _cell(path, int(numbers[texts[0]]), name, repr(column.iloc[texts[0]]), "a number")
    return converted


def _steps_of(frame: pd.DataFrame, episode: npt.NDArray[Any], plant: PlantSpec, path: Path) -> npt.NDArray[np.int64]:
    """Count steps from the times, which must lie on multiples of the period after the first row of their episode."""
    if "time" not in frame.columns:
        _require(frame, ("step",), path, fix="Add a column step, or time.")
    column = frame["time"]
    if not pd.api.types.is_numeric_dtype(column):
        dates = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")  # 03/04 is a guess
        column = (dates - dates.min()).dt.total_seconds()
    times = column.to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(times))
    if wrong.size:
        raise _cell(
            path,
            int(wrong[0]) + 1,
            "time",
            repr(frame["time"].iloc[wrong[0]]),
            "seconds, or a time as in 2026-04-01T08:00:00",
        )
    first = pd.Series(times).groupby(episode).transform("first").to_numpy()
    steps = (times - first) / plant.timing.period
    whole = np.round(steps)
    wrong = np.flatnonzero(np.abs(steps - whole) > _STEP_TOLERANCE)
    if wrong.size:
        raise _cell(
            path,
            int(wrong[0]) + 1,
            "time",
            f"{times[wrong[0]] - first[wrong[0]]:g} s after the first row of its episode",
            f"a multiple of the period, {plant.timing.period:g} s. Correct `timing.period`, or sample the log anew",
        )
    return np.asarray(whole, np.int64)


def _check_finite(rows: _Rows, path: Path) -> None:
    """Refuse a value that is missing where nothing says that the reading was bad."""
    known = np.concatenate((rows.bad, np.zeros((len(rows.values), len(rows.actions)), dtype=bool)), axis=1)
    wrong = np.argwhere(~np.isfinite(rows.values) & ~known)
    if wrong.size:
        row, column = wrong[0]
        name = rows.names[column]
        expected = (
            f"a number ({len(wrong)} are missing in all). Delete the rows, or mark them in a column "
            f"quality.{rows.signals[column]}"
            if column < len(rows.signals)
            else f"the action that was applied ({len(wrong)} are missing in all). Delete the rows"
        )
        raise _cell(path, int(rows.numbers[row]), name, f"{rows.values[row, column]:g}", expected)


def _check_order(rows: _Rows, path: Path) -> None:
    """Refuse steps that go back or stand still inside an episode; episodes may be interleaved."""
    order = np.argsort(rows.episode, kind="stable")
    episode, step = rows.episode[order], rows.step[order]
    wrong = np.flatnonzero((episode[1:] == episode[:-1]) & (step[1:] <= step[:-1]))
    if wrong.size:
        at = int(wrong[np.argmin(order[wrong + 1])]) + 1
        before, here = int(step[at - 1]), int(step[at])
        found = f"step {here} a second time" if before == here else f"step {here} after step {before}"
        raise _cell(
            path,
            int(rows.numbers[order[at]]),
            "step",
            found,
            "steps that grow inside an episode. Sort, and drop doubles",
        )


def _outside(rows: _Rows, plant: PlantSpec) -> npt.NDArray[np.bool_]:
    """Tell ``[R, S + A]`` which values lie outside the declared range of their signal."""
    ranges = np.array([plant.signals[name].range for name in (*rows.signals, *rows.actions)])
    room = _RANGE_ROOM * (ranges[:, 1] - ranges[:, 0])
    with np.errstate(invalid="ignore"):
        return np.asarray((rows.values < ranges[:, 0] - room) | (rows.values > ranges[:, 1] + room))


def _stretches(rows: _Rows, usable: npt.NDArray[np.bool_]) -> tuple[tuple[Stretch, ...], int]:
    """Cut every episode where a step is missing or not usable; also return how many cuts there are."""
    order = np.argsort(rows.episode, kind="stable")
    order = order[usable[order]]
    episode, step = rows.episode[order], rows.step[order]
    same = episode[1:] == episode[:-1]
    cuts = np.flatnonzero(~same | (step[1:] != step[:-1] + 1)) + 1
    count = len(rows.signals)
    pieces = np.split(order, cuts)
    stretches = tuple(
        Stretch(int(rows.episode[piece[0]]), rows.values[piece, :count], rows.values[piece, count:])
        for piece in pieces
        if len(piece)
    )
    return stretches, int((same & (step[1:] != step[:-1] + 1)).sum())


def _require(frame: pd.DataFrame, names: Sequence[str], path: Path, fix: str = "") -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns[:20]))
        raise LogError(
            f"{path}: found no column {', '.join(missing)}, expected one for each measured signal and action of plant.yaml, "
            f"beside episode and step (or time); there are {found}. {fix or 'Rename columns, or the signals.'}"
        )


def _cell(path: Path, row: int, column: str, found: str, expected: str) -> LogError:
    return LogError(f"{path}: row {row}, column {column}: found {found}, expected {expected}.")
