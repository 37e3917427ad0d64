"""A Minari data set, in its HDF5 storage.

Minari keeps one observation more than actions. The last row of an episode that was cut is the true next observation of
the row before it, as in a warm start; its own action and reward are left out, since nobody measured what they led to.
After a termination nothing was logged: the last reading stands there once more, and no value is bootstrapped from it.

Its Arrow storage would need no h5py, but returns an episode of more than 32,767 steps cut short.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from fpo_pilot import __version__
from fpo_pilot.exports.choice import Observations
from fpo_pilot.exports.document import document
from fpo_pilot.exports.episodes import ExportedEpisode, ExportedLog
from fpo_pilot.exports.target import write_mark
from fpo_pilot.learn.libraries import library
from fpo_pilot.plants.registration import env_id

DATA = "data"
"""Folder that Minari looks for in that of a data set."""
STORAGE = "hdf5"


def write_minari(log: ExportedLog, folder: Path) -> None:
    """Write a data set whose id is made of the folder's name.

    Args:
        log: what is exported.
        folder: the new folder; the data set is in its ``data``.
    """
    storage, buffer = libraries()
    minari = library("--minari", "minari", "minari")
    (low, high), (least, most) = log.observation_bounds(), log.action_bounds()
    folder.mkdir(parents=True)
    facts = document(log)
    written = storage.new(
        folder.resolve() / DATA,  # Minari 0.5.4 finds the size of its files by absolute paths only
        observation_space=gymnasium.spaces.Box(low, high, dtype=np.float32),
        action_space=gymnasium.spaces.Box(least, most, dtype=np.float32),
        env_spec=_environment(log),
        data_format=STORAGE,
    )
    written.update_metadata(
        {
            "dataset_id": dataset_id(folder.name),
            "minari_version": minari.__version__,
            "algorithm_name": ", ".join(facts["arms"]),
            "description": f"Step log of run {log.manifest.run_id}, plant {log.manifest.plant}, by fpo-pilot {__version__}",
            "fpo_pilot": facts,
        }
    )
    written.update_episodes(_buffer(buffer, index, one) for index, one in enumerate(log.episodes))
    written.update_episode_metadata([{"fpo_pilot": json.dumps({**one.facts, "end": one.end})} for one in log.episodes])
    write_mark(folder, facts)


def libraries() -> tuple[Any, Any]:
    """Return Minari's storage and its record of an episode.

    Raises:
        ExportError: Minari or h5py is not installed.
    """
    for name in ("minari", "h5py"):
        library("--minari", name, "minari")
    storage = library("--minari", "minari.dataset.minari_storage", "minari")
    buffer = library("--minari", "minari.data_collector.episode_buffer", "minari")
    return storage.MinariStorage, buffer.EpisodeBuffer


def dataset_id(name: str) -> str:
    """Return the id for a folder: its name, with a version where it ends with none."""
    plain = re.sub(r"[^-\w]", "-", name)
    return plain if re.search(r"-v\d+$", plain) else f"{plain}-v0"


def _buffer(buffer: Any, index: int, one: ExportedEpisode) -> Any:
    steps = one.transitions
    seen = np.concatenate((one.observations, one.observations[-1:])) if one.terminated else one.observations
    terminated = np.zeros(steps, bool)
    terminated[-1] = one.terminated
    truncated = np.zeros(steps, bool)
    truncated[-1] = not one.terminated
    return buffer(
        id=index,
        observations=seen,
        actions=one.actions[:steps],
        rewards=one.rewards[:steps],
        terminations=terminated,
        truncations=truncated,
    )


def _environment(log: ExportedLog) -> Any:
    """Return Gymnasium's spec of the plant, where it has one and the numbers are those of its spaces."""
    known = gymnasium.registry.get(env_id(log.manifest.plant))
    return known if log.choice.observations is Observations.POLICY else None
