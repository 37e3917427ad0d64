"""Pieces of a log become episodes with reward, margins and ends, as the simulation of the plant would have logged them.

Letters: N rows, E episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion.export import Export
from fpo_pilot.ingestion.grid import Gap, Piece, pieces
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
    """Shorter than what the map asks for."""
    dropped_rows: int
    no_reward: tuple[str, ...]
    """Signals that the reward needs and the log does not have; without them there is none."""
    file: npt.NDArray[np.int64]
    """``[N]`` which file a row is of."""


def ingest(exports: Sequence[Export], wanted: IngestionMap, declared: Declared) -> Ingested:
    """Put exports together to a step log: a row holds what was read at the beginning of a step, what was applied during it, and its worth.

    Args:
        exports: files in any order; they may not overlap in time.
        wanted: the map.
        declared: spec and limits of the plant.

    Raises:
        LogError: two files overlap, or no episode is long enough.
    """
    spec = declared.spec
    actions = names_of(spec, "action")
    ordered = sorted(range(len(exports)), key=lambda index: int(exports[index].time[0]))
    _require_apart([exports[index] for index in ordered])
    parts: list[Piece] = []
    gaps: list[Gap] = []
    settings = wanted.resampling
    for index in ordered:
        more, missing = pieces(
            exports[index], index, spec, method=settings.method, max_gap=settings.max_gap, actions=actions
        )
        parts += more
        gaps += missing
    model = reward_model(declared)
    episodes = _Episodes(declared, model, wanted)
    for part in parts:
        episodes.add(part)
    return episodes.result(tuple(gaps))


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
        self._starts: list[tuple[int, int, int]] = []  # piece, first row, steps
        self._dropped = [0, 0]

    def add(self, piece: Piece) -> None:
        """Cut one piece; its last row has no step of its own, it is what came of the step before."""
        index, rows = len(self._pieces), len(piece.time)
        self._pieces.append(piece)
        over = self._over(piece)
        first = 0
        while first < rows - 1:
            end = np.flatnonzero(over[first:])
            steps = min(self.most, rows - 1 - first, int(end[0]) + 1 if len(end) else rows)
            if steps >= self.wanted.episodes.at_least:
                self._starts.append((index, first, steps))
            else:
                self._dropped[0] += 1
                self._dropped[1] += steps
            first += steps

    def result(self, gaps: tuple[Gap, ...]) -> Ingested:
        """Compute rewards and margins of all episodes together, step by step."""
        if not self._starts:
            raise LogError(
                f"ingest: found no episode of {self.wanted.episodes.at_least} steps or more ({len(self._pieces)} pieces without a gap, "
                f"{self._dropped[0]} episodes too short), expected at least one. Look at `resampling.max_gap` and `episodes` of the map."
            )
        taken = [
            np.arange(first, first + steps) + offset
            for (index, first, steps), offset in zip(self._starts, self._offsets(), strict=True)
        ]
        now = np.concatenate(taken)
        length = np.array([steps for _, _, steps in self._starts])
        step = np.concatenate([np.arange(steps) for steps in length])
        columns = self._seen(now) | self._worth(now, step) | self._ends(now, step, length)
        columns |= {"episode_id": np.repeat(np.arange(len(length)), length), "step": step.astype(np.int32)}
        columns["t"] = self._joined([piece.time for piece in self._pieces])[now].astype("datetime64[ns]")
        files = self._joined([np.full(len(piece.time), piece.file) for piece in self._pieces])[now]
        return Ingested(columns, len(length), len(now), gaps, self._dropped[0], self._dropped[1], self.missing, files)

    def _offsets(self) -> list[int]:
        sizes = np.concatenate(([0], np.cumsum([len(piece.time) for piece in self._pieces])))
        return [int(sizes[index]) for index, _, _ in self._starts]

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

    def _worth(self, now: npt.NDArray[np.int64], step: npt.NDArray[np.int64]) -> Columns:
        limits = tuple(limit for limit in self.model.limits if limit.signal in self.known)
        after = self._signals(now + 1, now)
        columns: Columns = {f"margin.{name}": value.numpy() for name, value in limit_margins(limits, after).items()}
        if self.missing:
            return columns
        before = self._signals(now, np.where(step == 0, now, now - 1))
        total = np.zeros(len(now))
        terms: dict[str, npt.NDArray[np.float64]] = {}
        starts = np.flatnonzero(step == 0)
        reached = torch.zeros((len(starts), len(self.model.reach_goals)), dtype=torch.bool)
        for index in range(int(step.max()) + 1):
            rows = np.flatnonzero(step == index)
            episode = torch.from_numpy(np.searchsorted(starts, rows, side="right") - 1)
            chosen = torch.from_numpy(rows)
            worth = reward_terms(
                self.model,
                {name: value[chosen] for name, value in after.items()},
                {name: value[chosen] for name, value in before.items()},
                torch.empty(len(rows), dtype=torch.float64),
                torch.full((len(rows),), index),
                reached[episode],
            )
            reached[episode] = worth.reached
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

    def _ends(self, now: npt.NDArray[np.int64], step: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> Columns:
        last = np.cumsum(length) - 1
        terminated, reason = np.zeros(len(now), np.bool_), np.full(len(now), None, dtype=object)
        for row, (index, first, steps) in zip(last, self._starts, strict=True):
            piece = self._pieces[index]
            rows = slice(first + steps - 1, first + steps + 1)
            ended, tripped = self._ended({name: column[rows] for name, column in piece.values.items()})
            terminated[row] = bool(ended[0] | tripped[0])
            cut = "horizon" if steps == self.most else "gap"
            reason[row] = "trip" if tripped[0] else "task" if ended[0] else cut
        truncated = np.zeros(len(now), np.bool_)
        truncated[last] = ~terminated[last]
        return {"terminated": terminated, "truncated": truncated, "end_reason": reason.tolist()}
