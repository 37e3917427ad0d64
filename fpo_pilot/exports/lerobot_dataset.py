"""A LeRobot data set, version 3.0 of its layout, written with pyarrow: the library is large and is not needed for it.

Letters: R rows of an episode, F numbers of a feature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fpo_pilot.exports.document import document
from fpo_pilot.exports.episodes import ExportedEpisode, ExportedLog
from fpo_pilot.exports.target import write_mark
from fpo_pilot.exports.views import Entry

LAYOUT = "v3.0"
CHUNK_FILES, FILE_MIB = 1000, 100
"""Most files in a folder, and about the most MiB in a file, as LeRobot has them."""
STATE, ACTION, REWARD, DONE, TRUNCATED = "observation.state", "action", "next.reward", "next.done", "next.truncated"
_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_COUNTERS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}

Columns = dict[str, np.ndarray[Any, Any]]
"""Of a feature: ``[R, F]``."""


def write_lerobot(log: ExportedLog, folder: Path, *, file_mib: float = FILE_MIB) -> None:
    """Write the data, and what LeRobot wants to know of it.

    Args:
        log: what is exported.
        folder: the new folder.
        file_mib: about the most MiB in a file of the data.
    """
    features, tasks = features_of(log), _tasks(log)
    episodes = list(_episodes(log, list(tasks)))
    records = _write_data(folder, features, episodes, file_mib)
    for record, one, columns in zip(records, log.episodes, episodes, strict=True):
        record["tasks"] = [_task(log, one)]
        record |= {
            f"stats/{name}/{key}": value for name, facts in stats_of(columns).items() for key, value in facts.items()
        }
        record["fpo_pilot"] = json.dumps({**one.facts, "end": one.end}, ensure_ascii=False)
    _write_table(folder / "meta" / "episodes" / _place(0), pa.Table.from_pylist(records))
    tasks_frame = pd.DataFrame({"task_index": list(tasks.values())}, index=pd.Index(list(tasks)))
    tasks_frame.to_parquet(folder / "meta" / "tasks.parquet")
    whole = {name: np.concatenate([columns[name] for columns in episodes]) for name in features}
    _write_json(folder / "meta" / "stats.json", stats_of(whole))
    _write_json(folder / "meta" / "info.json", _info(log, features, len(tasks)))
    write_mark(folder, document(log))


def features_of(log: ExportedLog) -> dict[str, dict[str, Any]]:
    """Return type, shape and names of each column of the data, in their order."""

    def vector(entries: tuple[Entry, ...]) -> dict[str, Any]:
        return {"dtype": "float32", "shape": [len(entries)], "names": [one.name for one in entries]}

    def single(kind: str) -> dict[str, Any]:
        return {"dtype": kind, "shape": [1], "names": None}

    made = {STATE: vector(log.observation), ACTION: vector(log.action)}
    made |= {REWARD: single("float32"), DONE: single("bool"), TRUNCATED: single("bool")}
    return made | {name: single(kind) for name, kind in _COUNTERS.items()} | {"task_index": single("int64")}


def stats_of(columns: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, dict[str, list[float]]]:
    """Return least, greatest, mean, standard deviation (over all rows), quantiles and count of columns ``[R, F]``."""
    found = {}
    for name, values in columns.items():
        wide = values.astype(np.float64)
        facts = {"min": wide.min(axis=0), "max": wide.max(axis=0), "mean": wide.mean(axis=0), "std": wide.std(axis=0)}
        facts |= dict(zip(_QUANTILES, np.quantile(wide, list(_QUANTILES.values()), axis=0), strict=True))
        found[name] = {key: value.tolist() for key, value in facts.items()} | {"count": [len(wide)]}
    return found


def frames_per_second(period: float) -> int | float:
    """Return rows in a second: a whole number where it is one, as LeRobot writes it."""
    rate = 1.0 / period
    return round(rate) if abs(rate - round(rate)) < 1e-9 * rate else rate


def _task(log: ExportedLog, one: ExportedEpisode) -> str:
    scenario = one.facts.get("scenario") or "nominal"
    return log.title if scenario == "nominal" else f"{log.title}, scenario {scenario}"


def _tasks(log: ExportedLog) -> dict[str, int]:
    return {task: index for index, task in enumerate(dict.fromkeys(_task(log, one) for one in log.episodes))}


def _episodes(log: ExportedLog, tasks: list[str]) -> Iterator[Columns]:
    """Yield the columns of each episode."""
    begin = 0
    for index, one in enumerate(log.episodes):
        frame = np.arange(one.rows)
        last = frame == one.rows - 1
        columns = {
            STATE: one.observations,
            ACTION: one.actions,
            REWARD: one.rewards,
            DONE: last & one.terminated,
            TRUNCATED: last & (not one.terminated),
            "timestamp": (frame * log.period).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(one.rows, index),
            "index": begin + frame,
            "task_index": np.full(one.rows, tasks.index(_task(log, one))),
        }
        begin += one.rows
        yield {name: values.reshape(one.rows, -1) for name, values in columns.items()}


def _write_data(
    folder: Path, features: Mapping[str, Mapping[str, Any]], episodes: list[Columns], file_mib: float
) -> list[dict[str, Any]]:
    """Write the rows, an episode in one file, and return where those of each are."""
    records: list[dict[str, Any]] = []
    waiting: list[pa.Table] = []
    number, begin, size = 0, 0, 0
    for index, columns in enumerate(episodes):
        table = pa.table({name: _column(columns[name], features[name]["dtype"]) for name in features})
        if waiting and size + table.nbytes > file_mib * 2**20:
            _write_table(folder / "data" / _place(number), pa.concat_tables(waiting))
            number, waiting, size = number + 1, [], 0
        waiting.append(table)
        size += table.nbytes
        records.append(
            {
                "episode_index": index,
                "tasks": [],
                "length": table.num_rows,
                "data/chunk_index": number // CHUNK_FILES,
                "data/file_index": number % CHUNK_FILES,
                "dataset_from_index": begin,
                "dataset_to_index": begin + table.num_rows,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        begin += table.num_rows
    _write_table(folder / "data" / _place(number), pa.concat_tables(waiting))
    return records


def _column(values: np.ndarray[Any, Any], dtype: str) -> pa.Array:
    """Return ``[R, 1]`` as plain numbers and ``[R, F]`` as lists of F, as LeRobot has them."""
    flat = pa.array(values.reshape(-1)).cast(pa.bool_() if dtype == "bool" else getattr(pa, dtype)())
    return flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _info(log: ExportedLog, features: Mapping[str, Any], tasks: int) -> dict[str, Any]:
    return {
        "codebase_version": LAYOUT,
        "robot_type": log.manifest.plant,
        "total_episodes": len(log.episodes),
        "total_frames": log.rows,
        "total_tasks": tasks,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": FILE_MIB,
        "video_files_size_in_mb": 200,
        "fps": frames_per_second(log.period),
        "splits": {"train": f"0:{len(log.episodes)}"},
        "data_path": f"data/{_PLACE}",
        "video_path": None,
        "features": dict(features),
    }


def _place(number: int) -> str:
    return _PLACE.format(chunk_index=number // CHUNK_FILES, file_index=number % CHUNK_FILES)


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy")


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=4, allow_nan=False) + "\n", "utf-8")
