"""Exports of several files become one record in the order of time: where a file ends, nothing ends at the plant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fpo_pilot.ingestion.export import Export, Flags, Floats, Labels
from fpo_pilot.ingestion.overlap import part_of, require_same
from fpo_pilot.specs.ingestion import IngestionMap


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
        repeated: samples that were left out, since an earlier file has the same.
    """

    time: npt.NDArray[np.int64]
    file: npt.NDArray[np.int64]
    values: dict[str, Floats]
    bad: dict[str, Flags]
    batch: Labels
    log_density: Floats | None
    repeated: int


def joined(exports: Sequence[Export], wanted: IngestionMap) -> Timeline:
    """Put exports of one map, given in any order, one behind the other; what two of them have alike is taken once.

    Raises:
        LogError: two of them overlap in time, and are not the same there.
    """
    kept: list[Export] = []
    numbers: list[int] = []
    repeated = 0
    for number in sorted(range(len(exports)), key=lambda index: int(exports[index].time[0])):
        one = exports[number]
        again = int(np.searchsorted(one.time, kept[-1].time[-1], side="right")) if kept else 0
        if again:
            require_same(kept, one, wanted)
        repeated += again
        if again < len(one.time):
            kept.append(part_of(one, slice(again, None)))
            numbers.append(number)
    densities = [one.log_density for one in kept if one.log_density is not None]
    return Timeline(
        time=np.concatenate([one.time for one in kept]),
        file=np.repeat(np.array(numbers, np.int64), [len(one.time) for one in kept]),
        values={name: np.concatenate([one.values[name] for one in kept]) for name in kept[0].values},
        bad={name: np.concatenate([one.bad[name] for one in kept]) for name in kept[0].bad},
        batch=np.concatenate([one.batch for one in kept]),
        log_density=np.concatenate(densities) if densities else None,
        repeated=repeated,
    )
