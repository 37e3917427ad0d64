"""Which files a dynamics object is made of, beside its Python file."""

from __future__ import annotations

import inspect
from pathlib import Path

from fpo_pilot.plants.fitted import FittedModel
from fpo_pilot.plants.mujoco import MujocoModel


def data_files(dynamics: object) -> tuple[Path, ...]:
    """List the files of every model that a dynamics object, or its class, holds; nothing of it is computed."""
    values = (inspect.getattr_static(dynamics, name, None) for name in dir(dynamics))
    models = (value for value in values if isinstance(value, MujocoModel | FittedModel))
    return tuple(sorted({file for model in models for file in model.files}))
