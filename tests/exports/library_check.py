"""Compares an export with the step log it is of, through the real library that it is for: row by row, number by number.

Run by hand, where that library is installed (not collected by pytest: LeRobot and d3rlpy pin versions that are not ours):

    fpo-pilot export RUN --lerobot DIR --observations signals --scenario all
    python tests/exports/library_check.py RUN lerobot DIR

The log is read with pandas alone, from the Parquet files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Episode = tuple[np.ndarray, np.ndarray, np.ndarray, bool]
"""Observations, actions and rewards of the rows, and whether the last one terminated."""


def logged(run: Path, names: list[str], actions: list[str], wanted: list[dict[str, Any]]) -> Iterator[Episode]:
    """Yield the rows of each exported episode as the log has them."""
    stages = {path.name.removeprefix("stage="): path for path in (run / "steps").iterdir()}
    tables = {stage: pd.concat(map(pd.read_parquet, sorted(path.glob("*.parquet")))) for stage, path in stages.items()}
    for one in wanted:
        log = tables[one["stage"]]
        rows = log[log["seq"].between(one["seq_first"], one["seq_last"])]
        seen = rows[[f"obs.{name}" if f"obs.{name}" in rows else f"ref.{name}" for name in names]]
        done = rows[[f"act.applied.{name}" for name in actions]]
        yield seen.to_numpy(), done.to_numpy(), rows["reward.total"].to_numpy(), bool(rows["terminated"].iloc[-1])


def of_minari(target: Path) -> tuple[str, dict[str, Any], list[dict[str, Any]], list[Episode]]:
    """Read with Minari, which keeps one observation more than actions."""
    import minari

    data = minari.MinariDataset(target / "data")
    facts = [json.loads(one["fpo_pilot"]) for one in data.storage.get_episode_metadata(range(data.total_episodes))]
    found = [(e.observations, e.actions, e.rewards, bool(e.terminations[-1])) for e in data.iterate_episodes()]
    assert all(e.truncations[-1] != e.terminations[-1] for e in data.iterate_episodes())
    return minari.__version__, data.storage.metadata["fpo_pilot"], facts, found


def of_lerobot(target: Path) -> tuple[str, dict[str, Any], list[dict[str, Any]], list[Episode]]:
    """Read with LeRobot, item by item."""
    import lerobot
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = LeRobotDataset("plant/log", root=target)
    found = []
    for record in data.meta.episodes:
        items = [data[index] for index in range(record["dataset_from_index"], record["dataset_to_index"])]
        columns = [
            np.stack([np.atleast_1d(item[key].numpy()) for item in items])
            for key in ("observation.state", "action", "next.reward")
        ]
        ends = [(bool(item["next.done"]), bool(item["next.truncated"])) for item in items]
        assert ends[:-1] == [(False, False)] * (len(items) - 1)
        assert sum(ends[-1]) == 1
        found.append((columns[0], columns[1], columns[2][:, 0], ends[-1][0]))
    facts = [json.loads(one["fpo_pilot"]) for one in data.meta.episodes]
    return lerobot.__version__, json.loads((target / "fpo_pilot.json").read_text("utf-8")), facts, found


def of_d3rlpy(target: Path) -> tuple[str, dict[str, Any], list[dict[str, Any]], list[Episode]]:
    """Read with d3rlpy; h5py for what d3rlpy passes over."""
    import d3rlpy
    import h5py

    with target.open("rb") as file:
        buffer = d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())
    found = [(e.observations, e.actions, e.rewards[:, 0], bool(e.terminated)) for e in buffer.episodes]
    with h5py.File(target) as file:
        facts = [json.loads(file[f"observations_{i}"].attrs["fpo_pilot"]) for i in range(len(found))]
        about = json.loads(file.attrs["fpo_pilot"])
    assert buffer.transition_count == about["transitions"]
    return d3rlpy.__version__, about, facts, found


def main(run: Path, kind: str, target: Path) -> None:
    """Compare, and say what was compared."""
    version, about, facts, found = {"minari": of_minari, "lerobot": of_lerobot, "d3rlpy": of_d3rlpy}[kind](target)
    names, actions = [one["name"] for one in about["observation"]], [one["name"] for one in about["action"]]
    assert len(facts) == len(found) == about["episodes"]
    for read, wanted in zip(found, logged(run, names, actions, facts), strict=True):
        steps = len(wanted[2])
        if kind == "minari" and not wanted[3]:
            steps -= 1
        np.testing.assert_array_equal(read[0][: len(wanted[0])], wanted[0])
        np.testing.assert_array_equal(read[1], wanted[1][:steps])
        np.testing.assert_array_equal(read[2], wanted[2][:steps])
        assert read[3] == wanted[3]
    print(f"{kind} {version}: {len(found)} episodes, {about['rows']} rows as in the log")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
