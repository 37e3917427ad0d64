"""Episodes of a step log as arrays, with what each column means.

Letters: R rows of an episode, O numbers of an observation, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from fpo_pilot.errors import ExportError
from fpo_pilot.exports.choice import Choice, Observations
from fpo_pilot.exports.source import covered_root, plant_of, read_rows, selected
from fpo_pilot.exports.views import Array, Entry, View, policy_view, signals_view
from fpo_pilot.learn.stretches import EPISODE_KEYS, Rows, episode_numbers, numbers, stretches
from fpo_pilot.logs.manifest import Manifest

End = Literal["termination", "truncation", "cut"]
"""How the rows end: a trip or the end of the task; the horizon; or the log does not go on (a gap, another driver)."""

_UNREWARDED = (
    "A data set needs a reward in each row: choose other rows by --arm, --stage or --scenario, or ingest the history again "
    "with every signal that the reward of plant.yaml asks for."
)


@dataclass(frozen=True, eq=False)
class ExportedEpisode:
    """Rows of one episode, no step missing."""

    observations: Array
    """``[R, O]`` before the action of the row."""
    actions: Array
    """``[R, A]``"""
    rewards: Array
    """``[R]`` of the action of the row."""
    end: End
    facts: dict[str, Any]
    """Which rows of the log these are; None where the log does not say."""

    @property
    def terminated(self) -> bool:
        """Whether nothing comes after the last row, so that nothing is bootstrapped."""
        return self.end == "termination"

    @property
    def rows(self) -> int:
        """R."""
        return len(self.rewards)

    @property
    def transitions(self) -> int:
        """Rows whose next observation is known, or is not needed: all, or all but the last."""
        return self.rows if self.terminated else self.rows - 1


@dataclass(frozen=True, eq=False)
class ExportedLog:
    """The chosen part of a step log."""

    manifest: Manifest
    ledger_root: str
    choice: Choice
    period: float
    """Seconds between two rows."""
    title: str
    """Of the plant."""
    observation: tuple[Entry, ...]
    action: tuple[Entry, ...]
    episodes: tuple[ExportedEpisode, ...]
    rows_left_out: int
    """At the begin of a stretch that is needed as history, or without a row after it."""

    @property
    def rows(self) -> int:
        """Rows of all episodes."""
        return sum(one.rows for one in self.episodes)

    def observation_bounds(self) -> tuple[Array, Array]:
        """Return ``[O]`` twice: the declared bounds, widened to what was logged."""
        return _bounds(self.observation, [one.observations for one in self.episodes])

    def action_bounds(self) -> tuple[Array, Array]:
        """Return ``[A]`` twice: the declared bounds, widened to what was logged."""
        return _bounds(self.action, [one.actions for one in self.episodes])


def read_log(run_dir: Path, choice: Choice) -> ExportedLog:
    """Read the chosen part of the step log of a run, once it is shown to be as its ledger says.

    Args:
        run_dir: a run folder with a step log.
        choice: rows and columns.

    Raises:
        ExportError: the log is torn or not as its ledger says, or nothing of it is left.
        LogError: it cannot be read, or does not tell all that is asked for.
    """
    manifest = Manifest.read(run_dir)
    root = covered_root(run_dir)
    spec = plant_of(run_dir, manifest)
    frame = selected(read_rows(run_dir, manifest), choice, run_dir)
    made = policy_view if choice.observations is Observations.POLICY else signals_view
    view = made(frame, run_dir, manifest, spec, choice.action)
    rewards = numbers(frame, ["reward.total"], run_dir, _UNREWARDED)[:, 0].astype(np.float32)
    found = [
        _episode(frame, rows, view, rewards)
        for rows in stretches(episode_numbers(frame), frame["step"].to_numpy(np.int64), run_dir)
    ]
    episodes = tuple(one for one in found if one is not None)
    if not episodes:
        raise ExportError(
            f"{run_dir}: found no two rows in sequence among those chosen, expected whole episodes. Choose others."
        )
    return ExportedLog(
        manifest=manifest,
        ledger_root=root,
        choice=choice,
        period=spec.timing.period,
        title=spec.plant.title.en,
        observation=view.observation,
        action=view.action,
        episodes=episodes,
        rows_left_out=len(frame) - sum(one.rows for one in episodes),
    )


def _episode(frame: pd.DataFrame, rows: Rows, view: View, rewards: Array) -> ExportedEpisode | None:
    """Return the rows of a stretch as arrays; None if it has no transition."""
    seen, first = view.observe(rows)
    rows, last = rows[first:], rows[-1]
    terminated, truncated = bool(frame["terminated"].iloc[last]), bool(frame["truncated"].iloc[last])
    if len(rows) < (1 if terminated else 2):
        return None
    begin = rows[0]
    facts: dict[str, Any] = {name: _plain(frame[name].iloc[begin]) for name in EPISODE_KEYS if name in frame}
    facts |= {
        "step_first": int(frame["step"].iloc[begin]),
        "seq_first": int(frame["seq"].iloc[begin]),
        "seq_last": int(frame["seq"].iloc[last]),
        "t_first": pd.Timestamp(frame["t"].iloc[begin]).isoformat(),
        "end_reason": _plain(frame["end_reason"].iloc[last]) if "end_reason" in frame else None,
    }
    return ExportedEpisode(
        observations=seen[first:],
        actions=view.act(rows),
        rewards=rewards[rows],
        end="termination" if terminated else "truncation" if truncated else "cut",
        facts=facts,
    )


def _plain(value: Any) -> Any:
    """Return a value of a table as one of Python; None for none."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _bounds(entries: tuple[Entry, ...], values: list[Array]) -> tuple[Array, Array]:
    least: npt.NDArray[np.float32] = np.min([one.min(axis=0) for one in values], axis=0)
    most: npt.NDArray[np.float32] = np.max([one.max(axis=0) for one in values], axis=0)
    low = np.array([one.low for one in entries], np.float32)
    high = np.array([one.high for one in entries], np.float32)
    return np.minimum(low, least), np.maximum(high, most)
