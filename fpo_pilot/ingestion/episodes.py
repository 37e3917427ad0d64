"""Pieces of a log become episodes with reward, margins and ends, as the simulation of the plant would have logged them.

Letters: N rows, E episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion.codes import AllBad, all_bad, require_good_codes, require_one_scheme
from fpo_pilot.ingestion.declared import DeclaredPlant
from fpo_pilot.ingestion.density import with_normalised_density
from fpo_pilot.ingestion.export import Export
from fpo_pilot.ingestion.grid import BAD, Gap, Piece, pieces
from fpo_pilot.ingestion.timeline import joined
from fpo_pilot.logs.schema import measured_names, names_of
from fpo_pilot.plants.reward import Declared, RewardModel, limit_margins, reward_model, reward_terms
from fpo_pilot.specs.ingestion import IngestionMap

Columns = dict[str, Any]


@dataclass(frozen=True)
class Ingested:
    """Columns of the step log ``[N]``, and what was made of the files."""

    columns: Columns
    episodes: int
    rows: int
    gaps: tuple[Gap, ...]
    dropped_episodes: int
    """Shorter than what the map asks for, single samples among them."""
    dropped_rows: int
    no_reward: tuple[str, ...]
    """Signals that the reward needs and the log does not have; without them there is none."""
    file: npt.NDArray[np.int64]
    """``[N]`` which file a row is of."""
    values: dict[str, npt.NDArray[np.float64]]
    """Of each signal ``[M]`` at every time of the grid, also those left out; NaN where there is no value."""
    quality: dict[str, npt.NDArray[np.uint8]]
    """Of each signal ``[M]``: the codes of ``values``."""
    without_value: int
    """Times of the grid at which a reading, an action or a set point has no value: an episode has a hole there."""
    without_outcome: int
    """Steps right before such a hole: what came of them is not known, and they are left out."""
    repeated: int
    """Samples that two files both have, the same in every column; they were taken once."""
    all_bad: tuple[AllBad, ...]
    """Files in which every reading of a signal is bad."""


@dataclass(frozen=True)
class _Window:
    """An episode: rows of a piece, with holes."""

    piece: int
    first: int
    steps: int
    rows: npt.NDArray[np.int64]
    """Those that are logged, counted from ``first``."""


def ingest(exports: Sequence[Export], wanted: IngestionMap, declared: DeclaredPlant) -> Ingested:
    """Put exports together to a step log: a row holds what was read at the beginning of a step, what was applied during it, and its worth.

    Args:
        exports: files in any order, of one map; where they overlap in time they must be the same. A batch may go on from one to the next.
        wanted: the map.
        declared: spec and limits of the plant.

    Raises:
        LogError: two files overlap and differ there, no reading of a signal is good, or no episode is long enough.
    """
    spec = declared.spec
    settings = wanted.resampling
    most = wanted.episodes.steps or spec.timing.horizon
    require_one_scheme(exports, wanted)
    require_good_codes(exports, wanted)
    record = joined(exports, wanted)
    parts, gaps = pieces(
        with_normalised_density(record, wanted, declared),
        spec,
        method=settings.method,
        max_gap=settings.max_gap,
        actions=names_of(spec, "action"),
        # The column says where an episode begins, a gap does not.
        bridged=most if wanted.episodes.column is not None else 0,
    )
    model = reward_model(declared)
    episodes = _Episodes(declared, model, wanted)
    for part in parts:
        episodes.add(part)
    return episodes.result(tuple(gaps), record.repeated, all_bad(exports, wanted))


class _Episodes:
    """Cuts pieces into episodes and computes what each step was worth."""

    def __init__(self, declared: Declared, model: RewardModel, wanted: IngestionMap) -> None:
        self.declared, self.model, self.wanted = declared, model, wanted
        spec = declared.spec
        self.measured, self.actions = measured_names(spec), names_of(spec, "action")
        self.references = names_of(spec, "reference")
        self.known = {*self.measured, *self.actions, *self.references}
        needed = model.needed_names
        self.missing = tuple(sorted(needed - self.known))
        self.most = wanted.episodes.steps or spec.timing.horizon
        self._pieces: list[Piece] = []
        self._windows: list[_Window] = []
        self._dropped = [0, 0]

    def add(self, piece: Piece) -> None:
        """Cut one piece; its last row has no step of its own, it is what came of the step before.

        A step counts where all is known before and after it. Where it is not, the episode has a hole, and its steps are counted on: the
        set point and the place in the batch are those of the time since its beginning.
        """
        index, rows, known = len(self._pieces), len(piece.time), piece.known
        self._pieces.append(piece)
        if rows == 1 and known[0]:  # a sample between two gaps, or the only one of its batch
            self._drop(1)
        whole = known[:-1] & known[1:]
        over = self._over(piece) & whole
        first = 0
        while first < rows - 1:
            if first > 0 and not whole[first]:  # an episode that goes on from another begins where something is known
                later = np.flatnonzero(whole[first:])
                first = first + int(later[0]) if len(later) else rows
                continue
            end = np.flatnonzero(over[first:])
            steps = min(self.most, rows - 1 - first, int(end[0]) + 1 if len(end) else rows)
            kept = np.flatnonzero(whole[first : first + steps])
            if len(kept) >= self.wanted.episodes.at_least:
                self._windows.append(_Window(index, first, steps, kept))
            elif len(kept):
                self._drop(len(kept))
            first += steps

    def _drop(self, rows: int) -> None:
        self._dropped[0] += 1
        self._dropped[1] += rows

    def result(self, gaps: tuple[Gap, ...], repeated: int, all_bad: tuple[AllBad, ...]) -> Ingested:
        """Compute rewards and margins of all episodes together, step by step."""
        quality = {name: self._joined([p.quality[name] for p in self._pieces]) for name in self._pieces[0].quality}
        if not self._windows:
            raise self._nothing(quality)
        offsets = np.concatenate(([0], np.cumsum([len(piece.time) for piece in self._pieces])))
        now = np.concatenate([offsets[one.piece] + one.first + one.rows for one in self._windows])
        step = np.concatenate([one.rows for one in self._windows])
        length = np.array([len(one.rows) for one in self._windows])
        episode = np.repeat(np.arange(len(length)), length)
        columns = self._seen(now) | self._worth(now, step, episode) | self._ends(len(now), length)
        columns |= {"episode_id": episode, "step": step.astype(np.int32)}
        columns["t"] = self._joined([piece.time for piece in self._pieces])[now].astype("datetime64[ns]")
        _refuse_huge(columns)
        return Ingested(
            columns=columns,
            episodes=len(length),
            rows=len(now),
            gaps=gaps,
            dropped_episodes=self._dropped[0],
            dropped_rows=self._dropped[1],
            no_reward=self.missing,
            file=self._joined([piece.file for piece in self._pieces])[now],
            values={name: self._column(name) for name in self._pieces[0].values},
            quality=quality,
            without_value=sum(int((~piece.known).sum()) for piece in self._pieces),
            without_outcome=sum(int((piece.known[:-1] & ~piece.known[1:]).sum()) for piece in self._pieces),
            repeated=repeated,
            all_bad=all_bad,
        )

    def _nothing(self, quality: Mapping[str, npt.NDArray[np.uint8]]) -> LogError:
        lost = {name: float((codes == BAD).mean()) for name, codes in quality.items()}
        worst = max(lost, key=lambda name: lost[name])
        told = f"; {worst} has no value at {lost[worst]:.0%} of the times" if lost[worst] > 0.0 else ""
        return LogError(
            f"ingest: found no episode of {self.wanted.episodes.at_least} steps or more ({len(self._pieces)} pieces without a gap, "
            f"{self._dropped[0]} episodes too short{told}), expected at least one. Look at `resampling.max_gap` and `episodes` of the map."
        )

    @staticmethod
    def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.concatenate(parts)

    def _column(self, name: str) -> npt.NDArray[np.float64]:
        if name in self._pieces[0].values:
            return self._joined([piece.values[name] for piece in self._pieces])
        schedule = self.declared.spec.signals[name].schedule  # a set point that never changes; the map says so
        return np.full(sum(len(piece.time) for piece in self._pieces), schedule[0].value)

    def _seen(self, now: npt.NDArray[np.int64]) -> Columns:
        columns: Columns = {}
        for name in self.measured:
            columns[f"obs.{name}"] = self._column(name)[now]
            columns[f"quality.{name}"] = self._joined([piece.quality[name] for piece in self._pieces])[now]
        for name in self.references:
            columns[f"ref.{name}"] = self._column(name)[now]
        vectors = ("incumbent", "applied") if self.wanted.behavior_density == "none" else ("proposed", "applied")
        columns |= {f"act.{vector}.{name}": self._column(name)[now] for vector in vectors for name in self.actions}
        if self._pieces[0].log_density is not None:
            columns["log_density"] = self._joined([p.log_density for p in self._pieces if p.log_density is not None])[
                now
            ]
        return columns

    def _signals(self, reading: npt.NDArray[np.int64], moved: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Return readings of rows ``reading``, with actions and set points of rows ``moved``."""
        rows = {name: reading if name in self.measured else moved for name in self.known}
        return {name: torch.from_numpy(self._column(name)[rows[name]]) for name in sorted(self.known)}

    def _worth(
        self, now: npt.NDArray[np.int64], step: npt.NDArray[np.int64], episode: npt.NDArray[np.int64]
    ) -> Columns:
        limits = tuple(limit for limit in self.model.limits if limit.signal in self.known)
        after = self._signals(now + 1, now)
        columns: Columns = {f"margin.{name}": value.numpy() for name, value in limit_margins(limits, after).items()}
        if self.missing:
            return columns
        follows = np.concatenate(([False], (episode[1:] == episode[:-1]) & (np.diff(step) == 1)))
        before = self._signals(
            now, np.where(follows, now - 1, now)
        )  # at a beginning, and after a hole, nothing changed
        total = np.zeros(len(now))
        terms: dict[str, npt.NDArray[np.float64]] = {}
        reached = torch.zeros((int(episode[-1]) + 1, len(self.model.reach_goals)), dtype=torch.bool)
        for index in range(int(step.max()) + 1):
            rows = np.flatnonzero(step == index)
            own, chosen = torch.from_numpy(episode[rows]), torch.from_numpy(rows)
            worth = reward_terms(
                self.model,
                {name: value[chosen] for name, value in after.items()},
                {name: value[chosen] for name, value in before.items()},
                torch.empty(len(rows), dtype=torch.float64),
                torch.full((len(rows),), index),
                reached[own],
            )
            reached[own] = worth.reached
            for name, value in worth.terms.items():
                terms.setdefault(name, np.zeros(len(now)))[rows] = value.numpy()
        for column in terms.values():
            total += column
        return columns | {f"reward.{name}": value for name, value in terms.items()} | {"reward.total": total}

    def _over(self, piece: Piece) -> npt.NDArray[np.bool_]:
        """Return ``[n − 1]`` whether the step from each row ended the task or tripped the plant."""
        ended, tripped = self._ended(piece.values)
        return np.asarray(ended | tripped, np.bool_)

    def _ended(
        self, values: Mapping[str, npt.NDArray[np.float64]]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        count = len(next(iter(values.values()))) - 1
        schedule = {
            name: np.full(count + 1, self.declared.spec.signals[name].schedule[0].value)
            for name in self.references
            if name not in values
        }
        whole = {**values, **schedule}
        after = {
            n: torch.from_numpy(np.ascontiguousarray(c[1:] if n in self.measured else c[:-1])) for n, c in whole.items()
        }
        before = {n: torch.from_numpy(np.ascontiguousarray(c[:-1])) for n, c in whole.items()}
        tripped = torch.zeros(count, dtype=torch.bool)
        hard = tuple(limit for limit in self.model.limits if limit.kind == "hard" and limit.signal in self.known)
        for margin in limit_margins(hard, after).values():
            tripped = tripped | (margin < 0.0)
        end = self.model.ends_when
        if end is None or end.expression.names - self.known:
            return np.zeros(count, np.bool_), tripped.numpy()
        return end.holds(after, before, torch.empty(count, dtype=torch.float64)).numpy(), tripped.numpy()

    def _ends(self, count: int, length: npt.NDArray[np.int64]) -> Columns:
        last = np.cumsum(length) - 1
        terminated, reason = np.zeros(count, np.bool_), np.full(count, None, dtype=object)
        for row, one in zip(last, self._windows, strict=True):
            piece = self._pieces[one.piece]
            if one.rows[-1] < one.steps - 1:  # its end is in a hole
                reason[row] = "gap"
                continue
            rows = slice(one.first + one.steps - 1, one.first + one.steps + 1)
            ended, tripped = self._ended({name: column[rows] for name, column in piece.values.items()})
            terminated[row] = bool(ended[0] | tripped[0])
            cut = (
                "horizon"
                if one.steps == self.declared.spec.timing.horizon
                else "cut"
                if one.steps == self.most
                else "gap"
            )
            reason[row] = "trip" if tripped[0] else "task" if ended[0] else cut
        truncated = np.zeros(count, np.bool_)
        truncated[last] = ~terminated[last]
        return {"terminated": terminated, "truncated": truncated, "end_reason": reason.tolist()}


def _refuse_huge(columns: Columns) -> None:
    """Refuse what became greater than the log can hold, such as the square of a reading."""
    for name, column in columns.items():
        if not isinstance(column, np.ndarray) or column.dtype != np.float64:
            continue
        huge = np.flatnonzero(np.abs(column) > np.finfo(np.float32).max)
        if len(huge):
            time = columns["t"][huge[0]].astype("datetime64[s]")
            raise LogError(
                f"ingest: found {name} = {column[huge[0]]:g} at {time} UTC, expected a number that the log can hold. Look at the readings "
                "of that time: name a text that stands for no reading under `missing:` in the map, or correct the rows."
            )
