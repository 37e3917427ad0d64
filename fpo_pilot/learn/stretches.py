"""Stretches of a step log (rows of one episode, no step missing), and the observation that a policy had in each row.

Letters: R rows, C columns, M measurements, A actions, O observation, H history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from fpo_pilot.errors import LogError
from fpo_pilot.logs.reader import HISTORY
from fpo_pilot.plants.observations import ObservationLayout, build_observation
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.references import reference_value

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
"""``[R]`` positions of the rows of a stretch in the log."""

EPISODE_KEYS = ("stage", "arm", "mode", "shield", "scenario", "cell", "episode_id")
"""Columns of the step log that tell one episode from another."""
_REFERENCE_ROOM = 1e-5
"""Of its range, by which a logged set point may differ from the schedule of plant.yaml: the log holds float32."""


UNMEASURED = "A policy cannot be told what nobody measured: leave these episodes out of the log."


def numbers(frame: pd.DataFrame, names: Sequence[str], folder: Path, fix: str = UNMEASURED) -> Floats:
    """Return columns ``[R, C]``, every value of which is finite.

    Args:
        frame: rows of a step log.
        names: of the columns.
        folder: the run, for the message.
        fix: a sentence on what to do where a value is none.

    Raises:
        LogError: a value is none.
    """
    values = frame[list(names)].to_numpy(np.float64, na_value=np.nan)
    wrong = np.argwhere(~np.isfinite(values))
    if wrong.size:
        row, column = wrong[0]
        where = f"seq {frame['seq'].iloc[row]} of stage {frame['stage'].iloc[row]}, column {names[column]}"
        raise LogError(
            f"{folder}: {where}: found {values[row, column]:g}, expected a number ({len(wrong)} such values in all). {fix}"
        )
    return values


def altered_rows(frame: pd.DataFrame, layout: ObservationLayout, folder: Path) -> npt.NDArray[np.bool_]:
    """Return ``[R]`` whether the shield altered the action of the row; asked for only where a policy sees it."""
    if "shield active" not in layout.names:
        return np.zeros(len(frame), dtype=bool)
    if "shield.active" not in frame or frame["shield.active"].isna().any():
        raise LogError(
            f"{folder}: found rows without shield.active, expected it in each: the plant's observations name it. Take "
            "`shield_active` out of plant.yaml, or log with a shield."
        )
    return frame["shield.active"].to_numpy(bool)


def check_references(frame: pd.DataFrame, layout: ObservationLayout, plant: Plant, folder: Path, fix: str = "") -> None:
    """Refuse set points that are not those of the schedule: the observation is made of the schedule.

    Args:
        frame: rows of a step log.
        layout: of the observation.
        plant: whose schedule counts.
        folder: the run, for the message.
        fix: a further sentence on what to do.

    Raises:
        LogError: a set point differs, or an episode is longer than those of the plant.
    """
    steps = frame["step"].to_numpy(np.int64)
    if steps.max() >= plant.horizon:
        raise LogError(
            f"{folder}: found step {steps.max()}, expected episodes of {plant.horizon} steps at most. "
            f"Cut the log into episodes.{fix}"
        )
    for name in plant.reference_names:
        if f"ref.{name}" not in frame:
            continue
        signal = plant.spec.signals[name]
        schedule = np.array([reference_value(signal, step) for step in range(plant.horizon)])
        logged = numbers(frame, [f"ref.{name}"], folder)[:, 0]
        room = _REFERENCE_ROOM * (signal.range[1] - signal.range[0])
        wrong = np.flatnonzero(np.abs(logged - schedule[steps]) > room)
        if wrong.size:
            row = int(wrong[0])
            raise LogError(
                f"{folder}: seq {frame['seq'].iloc[row]}, column ref.{name}: found {logged[row]:g}, expected "
                f"{schedule[steps[row]]:g}, the schedule of plant.yaml at step {steps[row]}: the observation of training is "
                f"made of that. Give plant.yaml the schedule of the log.{fix}"
            )


def episode_numbers(frame: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Return ``[R]`` which episode each row is of, from 0 in the order of the log."""
    keys = list(zip(*(frame[key].astype(str) for key in EPISODE_KEYS if key in frame), strict=True))
    return pd.factorize(pd.Series(keys))[0]


def stretches(episode: npt.NDArray[Any], step: npt.NDArray[np.int64], folder: Path) -> list[Rows]:
    """Return the rows of each stretch.

    Args:
        episode: ``[R]`` which episode each row is of.
        step: ``[R]`` of the episode.
        folder: the run, for the message.

    Raises:
        LogError: the steps of an episode do not grow.
    """
    order = np.argsort(episode, kind="stable")
    same = episode[order][1:] == episode[order][:-1]
    moved = np.diff(step[order])
    if (same & (moved <= 0)).any():
        at = int(step[order][1:][same & (moved <= 0)][0])
        raise LogError(
            f"{folder}: found step {at} after a later one of its episode, expected steps that grow. Sort it."
        )
    return list(np.split(order, np.flatnonzero(~same | (moved != 1)) + 1))


def rows_before(frame: pd.DataFrame, row: int, most: int, period: float) -> Rows:
    """Return which rows of an ingested log come right before a row in time, the newest last, ``most`` of them at most.

    A historian's log is cut into episodes, and the plant did not stop for that: what it did before is known. Simulated episodes
    begin anew, whatever their clock says.

    Args:
        frame: rows of a step log, in their order.
        row: position of the first row of an episode.
        most: H.
        period: seconds between two steps.
    """
    if frame["stage"].iloc[row] != HISTORY:
        return np.empty(0, np.intp)
    first = max(row - most, 0)
    apart = (frame["t"].iloc[row] - frame["t"].iloc[first:row]).to_numpy().astype("timedelta64[ns]").astype(np.float64)
    expected = period * 1e9 * np.arange(row - first, 0, -1)
    good = (frame["stage"].iloc[first:row] == HISTORY).to_numpy() & (np.abs(apart - expected) < 0.01 * period * 1e9)
    broken = np.flatnonzero(~good)
    return np.arange(first if broken.size == 0 else first + int(broken[-1]) + 1, row)


@dataclass(frozen=True, eq=False)
class Observed:
    """What a policy had before it in each row of a stretch."""

    obs: Tensor
    """``[R, O]``"""
    previous: Floats
    """``[R, A]`` the action applied before, in engineering units."""
    first: int
    """The first row whose observation is whole."""


def observe(
    layout: ObservationLayout,
    plant: Plant,
    step: npt.NDArray[np.int64],
    measured: Floats,
    applied: Floats,
    altered: npt.NDArray[np.bool_],
    before: tuple[Floats, Floats] | None = None,
) -> Observed:
    """Rebuild what a policy saw in each row of a stretch.

    Before the first step of an episode all history is the first reading and the start of the actuators, as in training, unless the log
    tells more (:func:`rows_before`). Where a stretch begins later, the first H rows are only history.

    Args:
        layout: of the observation.
        plant: where its actuators start.
        step: ``[R]`` of the episode.
        measured: ``[R, M]`` readings.
        applied: ``[R, A]`` in engineering units.
        altered: ``[R]`` whether the shield altered the action of the row.
        before: ``[K, M]`` readings and ``[K, A]`` applied actions of the rows right before the stretch, the newest last.
    """
    back = layout.history
    earlier, moves = before if before is not None and len(before[0]) else (measured[:1], np.array([plant.action_start]))
    past = np.concatenate((np.repeat(earlier[:1], max(back - len(earlier), 0), axis=0), earlier[-back:], measured))
    done = np.concatenate((np.repeat(moves[:1], max(back - len(moves), 0), axis=0), moves[-back:], applied))
    flags = np.concatenate(([False], altered[:-1]))
    index = np.arange(len(step))
    seen = np.stack([past[back + index - h] for h in range(back)], axis=1)
    moved = np.stack([done[back + index - 1 - h] for h in range(back)], axis=1)
    obs = build_observation(
        layout, torch.as_tensor(seen), torch.as_tensor(moved), torch.as_tensor(step), torch.as_tensor(flags)
    )
    return Observed(obs, moved[:, 0], 0 if step[0] == 0 else back)
