"""What a log is worth, before anything is learned from it: missing and stuck readings, saturation, coverage, drift between files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy import stats

from fpo_pilot.evidence import block_length
from fpo_pilot.ingestion.episodes import Ingested
from fpo_pilot.ingestion.grid import BAD, HELD, OUTSIDE
from fpo_pilot.logs.schema import measured_names, names_of
from fpo_pilot.plants.reward import Declared

Floats = npt.NDArray[np.float64]
CELLS = 10
"""Of a signal's range, in the coverage of pairs."""
STUCK_STEPS = 20
"""So many equal readings in a row are worth a look."""
DRIFT = 0.2
"""Distance of two distributions (Kolmogorov–Smirnov) that is worth a look."""
AT_LIMIT = 1e-3
"""Of the span: an action so near to its limit is saturated."""


class Figures(BaseModel):
    """Numbers of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SignalQuality(Figures):
    """One signal; what is missing, held or outside is a share of all times of the grid, also of those that no episode holds."""

    signal: str
    unit: str
    role: str
    least: float | None
    mean: float | None
    greatest: float | None
    missing: float
    """Share without a value."""
    held: float
    """Share that repeats an older reading."""
    outside: float
    """Share outside the declared range; of an action, outside its limits."""
    saturated: float | None
    """Of an action: share at one of its limits."""
    longest_stuck: int
    """Most equal values in a row, in steps; of a reading."""
    visited: float | None
    """Share of the declared range (of an action: its limits) between the 2.5th and the 97.5th percentile."""
    block: int | None
    """Steps that a block needs to count as independent; None where the log is too short to tell."""


class Coverage(Figures):
    """How much of a pair's ranges was ever visited."""

    measured: str
    action: str
    visited: float
    """Share of the 10 by 10 cells with a row in them."""
    correlation: float | None
    """Of the two; near ±1 the log shows the controller, not what the action does."""


class Drift(Figures):
    """A file whose readings are distributed unlike those of the first."""

    signal: str
    file: str
    distance: float
    """Of Kolmogorov and Smirnov."""
    moved: float
    """Difference of the means, in standard deviations of the first."""


class AllBadFigures(Figures):
    """A file in which every reading of a signal is bad."""

    signal: str
    file: str
    code: str
    """The one that comes most often."""


class GapFigures(Figures):
    """Time that is missing."""

    file: str
    start: str
    seconds: float


class QualityReport(Figures):
    """A whole report; what is worth a look is told by :attr:`warnings`."""

    plant: str
    files: tuple[str, ...]
    rows: int
    episodes: int
    dropped_episodes: int
    dropped_rows: int
    hours: float
    behavior_density: str
    no_reward: tuple[str, ...]
    terminated: int
    """Episodes that ended by a trip or the end of the task."""
    without_value: int
    """Times of the grid at which a reading, an action or a set point has no value: an episode has a hole there."""
    without_outcome: int
    """Steps right before such a hole, left out since what came of them is not known."""
    without_density: int | None
    """Steps that lack the density of their actions, held ones among them; None where the map has no column of it."""
    repeated: int
    """Samples that two files both have, taken once."""
    all_bad: tuple[AllBadFigures, ...]
    """Signals without a good reading in a whole file."""
    signals: tuple[SignalQuality, ...]
    coverage: tuple[Coverage, ...]
    drift: tuple[Drift, ...]
    gaps: tuple[GapFigures, ...]
    """The ten longest."""
    gap_count: int


def quality_report(
    ingested: Ingested,
    declared: Declared,
    paths: tuple[Path, ...],
    limits: Mapping[str, tuple[float, float]],
    density: str,
) -> QualityReport:
    """Say what a log is worth.

    Args:
        ingested: the log.
        declared: the plant.
        paths: of the files, in their numbers.
        limits: of each action, as the policy may move it.
        density: as the map declares it.
    """
    spec, columns = declared.spec, ingested.columns
    measured, actions = measured_names(spec), names_of(spec, "action")
    readings = {name: np.asarray(columns[f"obs.{name}"], np.float64) for name in measured}
    moved = {name: np.asarray(columns[f"act.applied.{name}"], np.float64) for name in actions}
    ranges = {name: spec.signals[name].range for name in measured} | dict(limits)
    signals = [
        _signal(name, spec.signals[name].unit, role, logged[name], ingested, ranges[name])
        for role, logged in (("measured", readings), ("action", moved))
        for name in logged
    ]
    known = columns.get("log_density")
    longest = sorted(ingested.gaps, key=lambda gap: -gap.seconds)[:10]
    return QualityReport(
        plant=spec.plant.id,
        files=tuple(path.name for path in paths),
        rows=ingested.rows,
        episodes=ingested.episodes,
        dropped_episodes=ingested.dropped_episodes,
        dropped_rows=ingested.dropped_rows,
        hours=ingested.rows * spec.timing.period / 3600.0,
        behavior_density=density,
        no_reward=ingested.no_reward,
        terminated=int(np.asarray(columns["terminated"]).sum()),
        without_value=ingested.without_value,
        without_outcome=ingested.without_outcome,
        repeated=ingested.repeated,
        all_bad=tuple(
            AllBadFigures(signal=one.signal, file=paths[one.file].name, code=one.code) for one in ingested.all_bad
        ),
        without_density=None if known is None else int(np.isnan(known).sum()),
        signals=tuple(signals),
        coverage=tuple(_pair(a, b, readings[a], moved[b], ranges[a], ranges[b]) for a, b in product(measured, actions)),
        drift=tuple(_drifts({**readings, **moved}, ingested.file, paths)),
        gaps=tuple(
            GapFigures(
                file=paths[gap.file].name,
                start=str(np.datetime64(gap.start, "ns").astype("datetime64[s]")) + "Z",
                seconds=gap.seconds,
            )
            for gap in longest
        ),
        gap_count=len(ingested.gaps),
    )


def _signal(
    name: str, unit: str, role: str, values: Floats, ingested: Ingested, limits: tuple[float, float]
) -> SignalQuality:
    """Describe a signal from its logged values ``[N]`` and from all of the grid ``[M]``."""
    known, codes, everything = values[np.isfinite(values)], ingested.quality[name], ingested.values[name]
    low, high = limits
    near = AT_LIMIT * (high - low)
    outside = codes == OUTSIDE
    at_limit = None
    if role == "action":
        at_limit = float(np.mean((np.abs(values - low) <= near) | (np.abs(values - high) <= near)))
        outside = outside | (everything < low - near) | (everything > high + near)
    ends = np.percentile(known, (2.5, 97.5)) if len(known) else np.full(2, np.nan)
    inside = np.clip(ends, low, high)
    return SignalQuality(
        signal=name,
        unit=unit,
        role=role,
        least=float(known.min()) if len(known) else None,
        mean=float(known.mean()) if len(known) else None,
        greatest=float(known.max()) if len(known) else None,
        missing=float(np.mean(codes == BAD)),
        held=float(np.mean(codes == HELD)),
        outside=float(np.mean(outside)),
        saturated=at_limit,
        longest_stuck=_longest_run(values) if role == "measured" else 0,
        visited=float((inside[1] - inside[0]) / (high - low)) if len(known) else None,
        block=block_length(known) if len(known) == len(values) else None,
    )


def _longest_run(values: Floats) -> int:
    """Return the most equal finite values in a row."""
    if not len(values):
        return 0
    changed = np.concatenate(([True], ~(values[1:] == values[:-1]), [True]))
    return int(np.diff(np.flatnonzero(changed)).max())


def _pair(
    a: str, b: str, reading: Floats, moved: Floats, first: tuple[float, float], second: tuple[float, float]
) -> Coverage:
    known = np.isfinite(reading) & np.isfinite(moved)
    counts, _, _ = np.histogram2d(reading[known], moved[known], bins=CELLS, range=(first, second))
    spread = reading[known].std() > 0 and moved[known].std() > 0 if known.any() else False
    correlation = float(np.corrcoef(reading[known], moved[known])[0, 1]) if spread else None
    return Coverage(measured=a, action=b, visited=float((counts > 0).mean()), correlation=correlation)


def _drifts(columns: Mapping[str, Floats], file: npt.NDArray[np.int64], paths: tuple[Path, ...]) -> list[Drift]:
    """Compare each file with the first that gave rows; the largest distance first."""
    numbers = list(dict.fromkeys(file.tolist()))
    found = []
    for name, values in columns.items():
        first = values[(file == numbers[0]) & np.isfinite(values)]
        for number in numbers[1:]:
            other = values[(file == number) & np.isfinite(values)]
            if len(first) and len(other):
                distance = float(stats.ks_2samp(first, other, method="asymp").statistic)
                spread = float(first.std())
                moved = float(other.mean() - first.mean()) / spread if spread > 0 else math.nan
                found.append(
                    Drift(
                        signal=name,
                        file=paths[number].name,
                        distance=distance,
                        moved=moved if math.isfinite(moved) else 0.0,
                    )
                )
    return sorted(found, key=lambda one: -one.distance)
