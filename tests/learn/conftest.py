"""A run folder with a log of the incumbent, as an evaluation would leave it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fpo_pilot.evaluate.arms import controller_actor
from fpo_pilot.evaluate.episodes import Conditions, run_episodes
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import writing
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields.build import build_stack
from fpo_pilot.specs import spec_hash
from fpo_pilot.specs.evaluation import Scenario


@cache
def plant_of(name: str) -> Plant:
    """Return a plant of the examples, read once a session: nothing in it changes."""
    return load_plant(name)


@cache
@torch.no_grad()
def driven(name: str, episodes: int) -> dict[str, Any]:
    """Return the log of the incumbent behind its shields, driven once a session."""
    plant = plant_of(name)
    assert plant.safety is not None
    return run_episodes(
        plant,
        controller_actor(plant, "incumbent", episodes),
        Conditions(Scenario(), 7, episodes, episodes),
        shield=build_stack(plant.safety, plant.spec, dynamics=Prediction(plant)),
        incumbent=incumbent_controller(plant),
    ).log


def log_incumbent(
    folder: Path,
    name: str,
    episodes: int = 4,
    change: Callable[[dict[str, Any]], None] = lambda columns: None,
    stage: str = "offline",
) -> Path:
    """Log episodes of the incumbent behind its shields; ``change`` may alter the columns before they are written."""
    plant = plant_of(name)
    columns = copy.deepcopy(driven(name, episodes))  # a change is of one log, not of those after it
    columns |= {"arm": "incumbent", "scenario": "nominal", "plant_hash": spec_hash(plant.spec)}
    change(columns)
    manifest = Manifest.collect(
        run_id=folder.name,
        algorithm="incumbent",
        command="",
        seed=7,
        device="cpu",
        plant_spec=plant.spec,
        safety_spec=plant.safety,
    )
    with (
        writing(folder, "log", ("manifest.json", "steps/*")),
        StepLog(folder, stage, step_schema(plant.spec, plant.safety)) as log,
    ):
        manifest.write(folder)
        log.append({key: value for key, value in columns.items() if len(np.atleast_1d(value))})
    return folder


@pytest.fixture
def logged_incumbent(tmp_path: Path) -> Callable[..., Path]:
    """Write a log of a plant's incumbent."""

    def write(name: str = "quad_tank", **settings: Any) -> Path:
        return log_incumbent(tmp_path / f"log-{name}-{len(list(tmp_path.iterdir()))}", name, **settings)

    return write
