"""What the step log says of simulated steps: as few tensors a step while they run, as columns in the end.

Letters: B rows of a batch, E of them that are recorded, T steps, A actions, M measured signals.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError

if TYPE_CHECKING:
    from fpo_pilot.plants.plant import Plant
    from fpo_pilot.plants.simulation import Simulation
    from fpo_pilot.plants.transition import Transition
    from fpo_pilot.shields.verdict import Verdict

Array = np.ndarray[Any, np.dtype[Any]]

_FLAGS = ("shield.active", "terminated", "truncated", "tripped")
"""Flags of a step that are columns of their own; the others are reasons."""
_VECTORS = ("obs", "ref", "act.proposed", "act.shielded", "act.incumbent")


class StepRecorder:
    """Keeps what happens in the first rows of a batch.

    Args:
        plant: gives the names of the columns.
        rows: E, how many rows are recorded; 0 for none.
        endless: a row begins a new episode by itself, and is recorded for as long as a training runs: its place in the
            episode is recorded too, and nothing is kept of the other rows.
    """

    def __init__(self, plant: Plant, rows: int, *, endless: bool = False) -> None:
        self.plant = plant
        self.rows = rows
        self.endless = endless
        self.shielded = False
        """Whether a shield judged the newest step."""
        self._names: dict[str, tuple[str, ...]] = {}
        self._kept: dict[str, list[Tensor]] = {}
        self._span = np.array(plant.action_high) - np.array(plant.action_low)

    def before(self, simulation: Simulation, asked: Tensor | None, proposal: Tensor, action: Tensor) -> None:
        """Record what was known and decided, before the plant moves.

        Args:
            simulation: the plants.
            asked: ``[B, A]`` by the incumbent; None where nobody asks it.
            proposal: ``[B, A]`` of the policy.
            action: ``[B, A]`` that the shield made of it.
        """
        if self.rows == 0:
            return
        self._keep("quality", simulation.quality.clone())  # a plant may use its memory again
        vectors = [simulation.measurement, simulation.reference, proposal, action]
        vectors += [] if asked is None else [asked]
        self._keep("vectors", torch.cat(vectors, dim=1), _VECTORS[: len(vectors)])
        if self.endless:
            self._keep("step", simulation.step_index.clone())

    def after(self, transition: Transition, altered: Tensor, verdict: Verdict | None) -> None:
        """Record what came of it; ``altered`` ``[B]`` tells where the action is not what was proposed."""
        if self.rows == 0:
            return
        self._keep("act.applied", transition.applied.clone())
        terms, margins = transition.terms, transition.margins
        if "numbers" not in self._names:
            named = (*(f"reward.{name}" for name in terms), *(f"margin.{name}" for name in margins))
            self._names["numbers"] = ("reward.total", *named)
        self.shielded = verdict is not None
        codes = {} if verdict is None else verdict.reasons
        ended = (altered, transition.terminated, transition.truncated, transition.tripped)
        # all rows, as a slice is a call as well; and [n, B] costs less than [B, n]
        self._keep("numbers", torch.stack([transition.reward, *terms.values(), *margins.values()]))
        self._keep("flags", torch.stack([*ended, *codes.values()]), (*_FLAGS, *codes))

    def taken(self) -> dict[str, Array]:
        """Return what was recorded since the last call as tables ``[E, T, n]``, and forget it; empty if there is nothing."""
        if not self._kept:
            return {}
        stacked = {name: torch.stack(values, dim=1) for name, values in self._kept.items()}
        stacked |= {name: stacked[name].permute(2, 1, 0) for name in ("numbers", "flags")}
        self._kept = {}
        return {name: table[: self.rows].detach().cpu().numpy() for name, table in stacked.items()}

    def columns(self, tables: dict[str, Array], kept: Array) -> dict[str, Any]:
        """Return columns of the step log, row by row of the batch, and of each by step.

        Args:
            tables: as :meth:`taken` returned them.
            kept: ``[E, T]`` which steps are logged.
        """
        names = {
            "numbers": self._names["numbers"],
            "vectors": tuple(f"{name}.{one}" for name in self._names["vectors"] for one in self._signals_of(name)),
        }
        columns: dict[str, Any] = {
            name: tables[group][..., i][kept] for group, own in names.items() for i, name in enumerate(own)
        }
        for group in ("quality", "act.applied"):
            columns |= {f"{group}.{one}": tables[group][..., i][kept] for i, one in enumerate(self._signals_of(group))}
        with np.errstate(invalid="ignore"):
            deltas = [
                np.abs(columns[f"act.shielded.{name}"] - columns[f"act.proposed.{name}"]) / span
                for name, span in zip(self.plant.action_names, self._span, strict=True)
            ]
            columns["shield.delta"] = np.max(deltas, axis=0)
        flags, codes = tables["flags"][kept], self._names["flags"][len(_FLAGS) :]
        columns |= {name: flags[:, i] for i, name in enumerate(_FLAGS)}
        columns["shield.reasons"] = [[*compress(codes, row)] for row in flags[:, len(_FLAGS) :].tolist()]
        columns["end_reason"] = end_reasons(columns["terminated"], columns["truncated"], columns.pop("tripped"))
        return columns

    def times(self, step: Array) -> Array:
        """Return the simulated time of steps of an episode: each episode begins in 1970."""
        return np.round(step * self.plant.period * 1e9).astype(np.int64).astype("datetime64[ns]")

    def _signals_of(self, vector: str) -> tuple[str, ...]:
        if vector == "ref":
            return self.plant.reference_names
        return self.plant.measured_names if vector in ("obs", "quality") else self.plant.action_names

    def _keep(self, group: str, table: Tensor, names: tuple[str, ...] = ()) -> None:
        if names and self._names.setdefault(group, names) != names:
            raise ShieldError(
                f"step log, {group}: found the columns {', '.join(names)}, expected those of the step before. "
                "A shield gives the same reasons in every cycle, true or not."
            )
        if self.endless:  # a view would hold on to the rows that nobody asks for
            table = (table[:, : self.rows] if group in ("numbers", "flags") else table[: self.rows]).clone()
        self._kept.setdefault(group, []).append(table)


def end_reasons(terminated: Array, truncated: Array, tripped: Array) -> list[str | None]:
    """Say how an episode ended: a trip, the declared end of the task, or the horizon; None while it goes on."""
    found: list[str | None] = []
    for ended, cut, trip in zip(terminated, truncated, tripped, strict=True):
        found.append(("trip" if trip else "task") if ended else "horizon" if cut else None)
    return found
