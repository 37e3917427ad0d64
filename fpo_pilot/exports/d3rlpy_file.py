"""The file that ``ReplayBuffer.load`` of d3rlpy reads: HDF5, version 2.1 of its layout.

d3rlpy takes the next observation of a row from the row after it, and needs none at a termination. So all rows go in.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fpo_pilot.exports.document import document
from fpo_pilot.exports.episodes import ExportedLog
from fpo_pilot.learn.libraries import library

LAYOUT = "2.1"
"""``d3rlpy.dataset.io.DATASET_VERSION`` of what we write."""
COLUMNS = ("observations", "actions", "rewards", "terminated")
FACTS = "fpo_pilot"
"""Attribute of the file, and of the observations of each episode: JSON."""


def write_d3rlpy(log: ExportedLog, file: Path) -> None:
    """Write one data set a column and episode, as ``observations_0``.

    Args:
        log: what is exported.
        file: the new file.
    """
    h5py = library("--d3rlpy", "h5py", "d3rlpy")
    with h5py.File(file, "w") as out:
        out.attrs[FACTS] = json.dumps(document(log), ensure_ascii=False)
        out.create_dataset("columns", data=list(COLUMNS))
        out.create_dataset("num_episodes", data=len(log.episodes))
        for index, one in enumerate(log.episodes):
            seen = out.create_dataset(f"observations_{index}", data=one.observations)
            seen.attrs[FACTS] = json.dumps({**one.facts, "end": one.end}, ensure_ascii=False)
            out.create_dataset(f"actions_{index}", data=one.actions)
            out.create_dataset(f"rewards_{index}", data=one.rewards[:, None])
            out.create_dataset(f"terminated_{index}", data=np.bool_(one.terminated))
        out.create_dataset("version", data=LAYOUT)
