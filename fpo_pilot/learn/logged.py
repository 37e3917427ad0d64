"""From a step log to what a policy would have seen and what was then done: the observation is rebuilt as in training.

Letters: R rows of the log, T steps, B stretches (rows of one episode without a gap), O observation, A action, H history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from fpo_pilot.errors import LogError
from fpo_pilot.learn.stretches import (
    Floats,
    altered_rows,
    check_references,
    episode_numbers,
    numbers,
    observe,
    rows_before,
    stretches,
)
from fpo_pilot.logs.ledger import current, file_hash, read_ledger, root_of
from fpo_pilot.logs.manifest import Manifest, WarmStartRecord
from fpo_pilot.logs.reader import LEARNER, read_steps, segments, stages
from fpo_pilot.plants.observations import ObservationLayout, observation_layout
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs import spec_hash
from fpo_pilot.specs.training import WarmStart


class Driver(NamedTuple):
    """Who drove in a row; a text is empty where the log does not say."""

    stage: str
    mode: str
    """Deployment of the policy."""
    model: str
    """Hash of the weights."""
    whole: bool = True
    """Whether it had all the authority there is, as one has of whom nothing else is said."""


@dataclass(frozen=True, eq=False)
class LoggedEpisodes:
    """Logged transitions ``[T, B, ...]``, filled up with rows that are not ``kept``; ``action`` is as applied, normalised.

    A stretch that ends by no termination ends as truncated one row early: its last row is the true next observation.
    """

    obs: Tensor
    next_obs: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    step: Tensor
    """``[T, B]`` of the episode."""
    measured: Tensor
    """``[T, B, M]`` readings, in engineering units."""
    next_measured: Tensor
    previous: Tensor
    """As ``action``, what was applied before the row: at the begin of an episode where its actuators stood."""
    proposal: Tensor
    """As ``action``, what was asked for; what was applied where the log does not say."""
    log_density: Tensor
    """``[T, B]`` of the proposal; NaN where the log does not say."""
    kept: Tensor
    """``[T, B]`` bool; what is not kept stands behind the end of its stretch, terminated and without reward."""
    source: WarmStartRecord
    drivers: frozenset[Driver] = frozenset()
    """Of all rows."""


def read_logged(
    folder: Path,
    plant: Plant,
    settings: WarmStart,
    *,
    horizon_ends: bool = False,
    shielded: bool = False,
    arms_at: str = "`warm_start.arms` of train.yaml",
    keep: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> LoggedEpisodes:
    """Read the step log of a run folder as transitions of ``plant``.

    Rows of a scenario other than the nominal one, and of other arms than those of the settings, are passed over.

    Args:
        folder: a run folder with a step log, a manifest and a ledger that covers the log.
        plant: whose observation is rebuilt.
        settings: which arms count, and how many episodes there must be.
        horizon_ends: an episode that reached its horizon ends there, instead of being cut: what is asked for is its return.
        shielded: rows with the shield off are passed over too. An ingested log does not tell, and is taken.
        arms_at: where the arms of the settings were named, for a message.
        keep: names of columns to the values that count, such as stages; no value for all.

    Raises:
        LogError: the log is of another plant or of another version of it, is not as its ledger says, misses a column, has
            a value that is no number, has too few episodes, or does not tell all that the observation needs.
    """
    _check_plant(folder, plant)
    root = _ledger_root(folder)
    whole = _kept(read_steps(folder).to_pandas(), keep, folder)
    frame = _selected(whole, plant, settings, folder, shielded=shielded, arms_at=arms_at)
    layout = observation_layout(plant, device=torch.device("cpu"), dtype=torch.float64)
    check_references(frame, layout, plant, folder)
    columns = {
        "measured": numbers(frame, [f"obs.{name}" for name in plant.measured_names], folder),
        "applied": numbers(frame, [f"act.applied.{name}" for name in plant.action_names], folder),
        "reward": numbers(frame, ["reward.total"], folder)[:, 0],
        "altered": altered_rows(frame, layout, folder),
        "proposed": _proposals(frame, plant),
        "log_density": _densities(frame),
        "over": _over(frame, plant.horizon, horizon_ends=horizon_ends),
    }
    episode = episode_numbers(frame)
    found = int(episode.max()) + 1
    if found < settings.least_episodes:
        raise LogError(
            f"{folder}: found {found} episodes of {_arms(settings)} to learn from, expected {settings.least_episodes} or "
            "more. Log more episodes, or set `warm_start.least_episodes` in train.yaml."
        )
    pieces = [
        piece
        for rows in stretches(episode, frame["step"].to_numpy(np.int64), folder)
        if (piece := _transitions(frame, rows, columns, plant, layout)) is not None
    ]
    if not pieces:
        raise LogError(f"{folder}: found no two rows in sequence, expected whole episodes. Name another log.")
    return _stacked(
        pieces,
        WarmStartRecord(
            log=str(folder),
            run_id=Manifest.read(folder).run_id,
            ledger_root=root,
            episodes=found,
            rows=sum(len(piece["reward"]) for piece in pieces),
        ),
        _drivers(frame),
    )


def _check_plant(folder: Path, plant: Plant) -> None:
    """Refuse a log whose manifest is of another plant spec; each row is asked once more."""
    manifest = Manifest.read(folder)
    now = spec_hash(plant.spec)
    if manifest.hashes.get("plant") != now:
        raise LogError(
            f"{folder / 'manifest.json'}: found a log of plant {manifest.plant} {str(manifest.hashes.get('plant'))[:12]}, "
            f"expected {plant.name} {now[:12]}: another plant, or another version of plant.yaml. Log it again with this one."
        )


def _ledger_root(folder: Path) -> str:
    """Return the root of the ledger, once every segment of the log is as it says."""
    records, problem = read_ledger(folder)
    if problem is not None or not records:
        raise LogError(
            f"{problem or f'{folder}: found no ledger'}, expected a ledger that covers the step log. A log that cannot be "
            "shown to be unchanged is not learned from: restore it, or write the log again."
        )
    recorded = current(records)
    for stage in stages(folder):
        for path in segments(folder, stage):
            record = recorded.get(path.relative_to(folder).as_posix())
            if record is None or file_hash(path) != (record.sha256, record.size):
                raise LogError(
                    f"{path}: found a segment that is not as the ledger of the run says, expected it unchanged. "
                    "Restore it from a copy, or write the log again."
                )
    return root_of(records)


def _kept(frame: pd.DataFrame, keep: Mapping[str, Sequence[str]], folder: Path) -> pd.DataFrame:
    """Return the rows with the values that count in some columns; a column without such values is not asked."""
    for name, wanted in keep.items():
        if not wanted:
            continue
        values = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
        there = sorted(set(values) - {""})
        missing = [one for one in wanted if one not in there]
        if missing:
            raise LogError(
                f"{folder}: found no row of {name} {missing[0]!r}, expected one of {', '.join(there) or 'none'}. Name one "
                "that is there."
            )
        frame = frame[values.isin(wanted)]
    return frame


def _drivers(frame: pd.DataFrame) -> frozenset[Driver]:
    """Return who drove in the rows."""
    columns = [frame[name].astype(object) if name in frame else None for name in ("stage", "mode", "model_hash")]
    told = [[""] * len(frame) if one is None else one.where(one.notna(), "").astype(str) for one in columns]
    whole = ~(frame["authority"] < 1.0) if "authority" in frame else [True] * len(frame)
    return frozenset(Driver(*row) for row in zip(*told, map(bool, whole), strict=True))


def _selected(
    frame: pd.DataFrame, plant: Plant, settings: WarmStart, folder: Path, *, shielded: bool, arms_at: str
) -> pd.DataFrame:
    """Return the rows to learn from, in their order."""
    names = [f"obs.{name}" for name in plant.measured_names]
    names += [f"act.applied.{name}" for name in plant.action_names]
    missing = [name for name in (*names, "reward.total", "terminated", "truncated", "arm") if name not in frame]
    if missing:
        raise LogError(
            f"{folder}: found no column {', '.join(missing)}, expected every measured signal, every applied action, the "
            "reward and who drove. Write the log with this release, or ingest it with a plant.yaml that names them."
        )
    scenario = frame["scenario"].astype(object)
    rows = scenario.isna() | scenario.isin(["", "nominal"])
    arm = frame["arm"].astype(object)
    rows &= arm.isin(settings.arms) if settings.arms else arm != LEARNER  # any arm, but none that was learning
    if shielded and plant.safety is not None and "shield" in frame:
        rows &= frame["shield"].isna() | frame["shield"].eq(True)
    chosen = frame[rows]
    if chosen.empty:
        there = ", ".join(sorted(set(map(str, frame["arm"]))))
        raise LogError(
            f"{folder}: found no row of {_arms(settings)} in the nominal scenario (there are {there}), expected some. "
            f"Name others in {arms_at}."
        )
    hashes = set(chosen["plant_hash"].dropna().astype(str)) if "plant_hash" in chosen else set()
    if hashes - {spec_hash(plant.spec)}:
        raise LogError(
            f"{folder}: found rows of another version of plant.yaml ({', '.join(sorted(h[:12] for h in hashes))}), expected "
            f"{spec_hash(plant.spec)[:12]} alone. Log it again with this one."
        )
    return chosen


def _arms(settings: WarmStart) -> str:
    return ", ".join(settings.arms) or "any arm"


def _proposals(frame: pd.DataFrame, plant: Plant) -> Floats:
    """Return ``[R, A]`` what was asked for, or what was applied where that is not told."""
    applied = frame[[f"act.applied.{name}" for name in plant.action_names]].to_numpy(np.float64, na_value=np.nan)
    names = [f"act.proposed.{name}" for name in plant.action_names]
    if any(name not in frame for name in names):
        return applied
    asked = frame[names].to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(asked), asked, applied)


def _densities(frame: pd.DataFrame) -> Floats:
    """Return ``[R]`` ln of the density of the logged actions, NaN where nobody knows it."""
    if "log_density" not in frame:
        return np.full(len(frame), np.nan)
    return frame["log_density"].to_numpy(np.float64, na_value=np.nan)


def _over(frame: pd.DataFrame, horizon: int, *, horizon_ends: bool) -> npt.NDArray[np.bool_]:
    """Return ``[R]`` whether nothing comes after the row."""
    over = frame["terminated"].to_numpy(bool)
    if horizon_ends and "end_reason" in frame:
        # a history may be cut into windows that are shorter than an episode: their ends are none
        whole = frame["step"].to_numpy(np.int64) + 1 >= horizon
        over = over | ((frame["end_reason"].astype(object) == "horizon").to_numpy(bool) & whole)
    return over


def _transitions(
    frame: pd.DataFrame, rows: npt.NDArray[np.intp], columns: dict[str, Any], plant: Plant, layout: ObservationLayout
) -> dict[str, Tensor] | None:
    """Return the transitions of one stretch; None if it has none."""
    step = frame["step"].to_numpy(np.int64)[rows]
    measured, applied = columns["measured"][rows], columns["applied"][rows]
    earlier = rows_before(frame, int(rows[0]), layout.history, plant.period)
    before = columns["measured"][earlier], columns["applied"][earlier]
    seen = observe(layout, plant, step, measured, applied, columns["altered"][rows], before)
    obs, first = seen.obs, seen.first
    ends = bool(columns["over"][rows[-1]])
    last = len(rows) if ends else len(rows) - 1
    if last <= first:
        return None
    following = torch.cat((obs[1:], obs[-1:]))[first:last]
    readings = torch.as_tensor(measured)
    terminated = torch.zeros(last - first, dtype=torch.bool)
    truncated = terminated.clone()
    (terminated if ends else truncated)[-1] = True
    return {
        "obs": obs[first:last],
        "next_obs": following,
        "action": plant.to_normalised(torch.as_tensor(applied[first:last])).to(torch.float32),
        "reward": torch.as_tensor(columns["reward"][rows][first:last]).to(torch.float32),
        "terminated": terminated,
        "truncated": truncated,
        "step": torch.as_tensor(step[first:last]),
        "measured": readings[first:last],
        "next_measured": torch.cat((readings[1:], readings[-1:]))[first:last],
        "previous": plant.to_normalised(torch.as_tensor(seen.previous[first:last])).to(torch.float32),
        "proposal": plant.to_normalised(torch.as_tensor(columns["proposed"][rows][first:last])).to(torch.float32),
        "log_density": torch.as_tensor(columns["log_density"][rows][first:last]),
    }


def _stacked(
    pieces: Sequence[dict[str, Tensor]], source: WarmStartRecord, drivers: frozenset[Driver]
) -> LoggedEpisodes:
    """Lay stretches side by side, filled up at their ends."""
    longest = max(len(piece["reward"]) for piece in pieces)
    made: dict[str, Tensor] = {}
    for name, first in pieces[0].items():
        filled = first.new_zeros((longest, len(pieces), *first.shape[1:]))
        if name == "terminated":
            filled.fill_(True)
        for column, piece in enumerate(pieces):
            filled[: len(piece[name]), column] = piece[name]
        made[name] = filled
    lengths = torch.tensor([len(piece["reward"]) for piece in pieces])
    kept = torch.arange(longest).unsqueeze(1) < lengths
    return LoggedEpisodes(**made, kept=kept, source=source, drivers=drivers)
