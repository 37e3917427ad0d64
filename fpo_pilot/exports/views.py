"""Two ways to see a step log: as a policy does, or reading by reading in engineering units.

Letters: R rows of a stretch, O numbers of an observation, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from fpo_pilot.errors import ExportError
from fpo_pilot.exports.choice import Action
from fpo_pilot.learn.stretches import Rows, altered_rows, check_references, numbers, observe, rows_before
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.schema import measured_names, names_of
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.observations import entry_scales, observation_layout
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.plant import PlantSpec

Array = npt.NDArray[np.float32]
UNTOLD = "What nobody measured is not made up: choose other rows by --arm, --stage or --scenario."
_UNASKED = "Nothing was asked for there: choose other rows by --arm, --stage or --scenario, or take --action applied."
_OR_SIGNALS = " Or choose another --scenario, or --observations signals."


@dataclass(frozen=True)
class Entry:
    """One number of an observation or an action."""

    name: str
    unit: str
    """Engineering unit of the signal, whether the numbers are in it or mapped from it."""
    low: float
    """Declared least number, as exported."""
    high: float
    scale: tuple[float, float] | None
    """What −1 and +1 mean in the unit; None where the numbers are in the unit."""


@dataclass(frozen=True)
class View:
    """A log as arrays."""

    observation: tuple[Entry, ...]
    action: tuple[Entry, ...]
    observe: Callable[[Rows], tuple[Array, int]]
    """From the rows of a stretch to ``[R, O]``, and the first row whose observation is whole."""
    act: Callable[[Rows], Array]
    """From rows to ``[R, A]``."""


def policy_view(frame: pd.DataFrame, run_dir: Path, manifest: Manifest, spec: PlantSpec, action: Action) -> View:
    """See a log as a policy does: the numbers of the plant's Gymnasium environment.

    Raises:
        ExportError: the plant of today is not that of the log.
        LogError: the log does not tell all that the observation needs.
    """
    plant = _plant_of_today(run_dir, manifest)
    layout = observation_layout(plant, device=torch.device("cpu"), dtype=torch.float64)
    check_references(frame, layout, plant, run_dir, _OR_SIGNALS)
    step = frame["step"].to_numpy(np.int64)
    measured = numbers(frame, [f"obs.{name}" for name in plant.measured_names], run_dir, UNTOLD)
    applied = numbers(frame, [f"act.applied.{name}" for name in plant.action_names], run_dir, UNTOLD)
    altered = altered_rows(frame, layout, run_dir)
    given = _actions(frame, plant.action_names, action, run_dir)

    def seen(rows: Rows) -> tuple[Array, int]:
        earlier = rows_before(frame, int(rows[0]), layout.history, plant.period)
        before = measured[earlier], applied[earlier]
        found = observe(layout, plant, step[rows], measured[rows], applied[rows], altered[rows], before)
        return found.obs.numpy(), found.first

    scales = zip(entry_scales(plant), layout.low, layout.high, strict=True)
    limits = zip(plant.action_names, plant.action_low, plant.action_high, strict=True)
    return View(
        observation=tuple(Entry(name, unit, low, high, scale) for (name, unit, scale), low, high in scales),
        action=tuple(Entry(name, spec.signals[name].unit, -1.0, 1.0, (low, high)) for name, low, high in limits),
        observe=seen,
        act=lambda rows: plant.to_normalised(torch.as_tensor(given[rows])).to(torch.float32).numpy(),
    )


def signals_view(frame: pd.DataFrame, run_dir: Path, manifest: Manifest, spec: PlantSpec, action: Action) -> View:
    """See a log reading by reading, in engineering units; the plant of today is not asked.

    Raises:
        LogError: a reading, set point or action is missing.
    """
    del manifest
    columns = [f"obs.{name}" for name in measured_names(spec)]
    columns += [f"ref.{name}" for name in names_of(spec, "reference") if f"ref.{name}" in frame]
    values = numbers(frame, columns, run_dir, UNTOLD).astype(np.float32)
    actions = names_of(spec, "action")
    given = _actions(frame, actions, action, run_dir).astype(np.float32)

    def entry(name: str) -> Entry:
        signal = spec.signals[name]
        return Entry(name, signal.unit, *signal.range, None)

    return View(
        observation=tuple(entry(column.split(".", 1)[1]) for column in columns),
        action=tuple(entry(name) for name in actions),
        observe=lambda rows: (values[rows], 0),
        act=lambda rows: given[rows],
    )


def _plant_of_today(run_dir: Path, manifest: Manifest) -> Plant:
    plant = load_plant(manifest.plant)
    now = {"plant": spec_hash(plant.spec), "safety": None if plant.safety is None else spec_hash(plant.safety)}
    changed = [name for name, value in now.items() if manifest.hashes.get(name) != value]
    if changed:
        raise ExportError(
            f"{run_dir}: found another {' and '.join(changed)} spec of {plant.name} today than that of the log, expected the "
            "same: what −1 and +1 mean is said there. Restore it, or take --observations signals."
        )
    return plant


def _actions(frame: pd.DataFrame, names: tuple[str, ...], action: Action, run_dir: Path) -> npt.NDArray[np.float64]:
    """Return ``[R, A]`` in engineering units."""
    columns = [f"act.{action.value}.{name}" for name in names]
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ExportError(
            f"{run_dir}: found no column {', '.join(missing)}, expected every {action.value} action. "
            "Take the other --action, or write the log again with this release."
        )
    return numbers(frame, columns, run_dir, UNTOLD if action is Action.APPLIED else _UNASKED)
