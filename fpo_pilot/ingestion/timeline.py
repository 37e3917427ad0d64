"""Exports of several files become one record in the order of time: where a file ends, nothing ends at the plant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion.export import Export, Flags, Floats, Labels


@dataclass(frozen=True)
class Timeline:
    """Samples of all files, arrays ``[n]`` as in :class:`~fpo_pilot.ingestion.export.Export`.

    Args:
        time: nanoseconds since 1970, UTC, rising.
        file: the number of the file that a sample is of.
        values: of each signal; NaN where there is no reading.
        bad: of each signal, a reading of bad quality.
        batch: the value of the episode column. A batch goes on into the next file where the value is the same.
        log_density: of the logged actions, or None.
    """

    time: npt.NDArray[np.int64]
    file: npt.NDArray[np.int64]
    values: dict[str, Floats]
    bad: dict[str, Flags]
    batch: Labels
    log_density: Floats | None


def joined(exports: Sequence[Export]) -> Timeline:
    """Put exports of one map, given in any order, one behind the other.

    Raises:
        LogError: two of them overlap in time.
    """
    numbers = sorted(range(len(exports)), key=lambda index: int(exports[index].time[0]))
    ordered = [exports[index] for index in numbers]
    _require_apart(ordered)
    densities = [one.log_density for one in ordered if one.log_density is not None]
    return Timeline(
        time=np.concatenate([one.time for one in ordered]),
        file=np.repeat(np.array(numbers, np.int64), [len(one.time) for one in ordered]),
        values={name: np.concatenate([one.values[name] for one in ordered]) for name in ordered[0].values},
        bad={name: np.concatenate([one.bad[name] for one in ordered]) for name in ordered[0].bad},
        batch=np.concatenate([one.batch for one in ordered]),
        log_density=np.concatenate(densities) if densities else None,
    )


def _require_apart(exports: Sequence[Export]) -> None:
    for before, after in pairwise(exports):
        if after.time[0] <= before.time[-1]:
            first, last = (
                np.datetime64(int(t), "ns").astype("datetime64[s]") for t in (after.time[0], before.time[-1])
            )
            raise LogError(
                f"{after.path}: found samples from {first} UTC on, expected them after {before.path}, which reaches to {last} UTC. "
                "Leave one of the files out, or cut the part that both have."
            )
