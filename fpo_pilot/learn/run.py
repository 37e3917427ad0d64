"""A run folder before its training: a new one with its manifest, or the one to go on with."""

from __future__ import annotations

from pathlib import Path

import torch

from fpo_pilot.errors import TrainingError
from fpo_pilot.learn.task import Task
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.specs import spec_hash
from fpo_pilot.specs.training import TrainingSpec


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as problem:
        raise TrainingError(
            f"--device: found {device!r}, expected a device of this machine ({str(problem).splitlines()[0]}). Use cpu."
        ) from problem


def open_run(
    task: Task, spec: TrainingSpec, run_dir: Path, *, seed: int, resume: bool, device: str, command: str | None
) -> Manifest:
    """Begin a run, or check that the one there is of the same specs and seed."""
    exists = (run_dir / "manifest.json").exists()
    if exists and not resume:
        raise TrainingError(
            f"{run_dir}: found a run there, expected a new folder. Resume it (`fpo-pilot train --resume {run_dir}`), or name another."
        )
    if not exists:
        typed = (
            command
            or f"fpo-pilot train {task.name} --algorithm {spec.algorithm} --steps {spec.total_steps} --seed {seed}"
        )
        manifest = Manifest.collect(
            run_id=run_dir.name,
            algorithm=spec.algorithm,
            command=typed,
            seed=seed,
            device=device,
            task=task.name,
            plant_spec=task.plant_spec,
            safety_spec=task.safety_spec,
            training_spec=spec,
        )
        manifest.write(run_dir)
        return manifest
    manifest = Manifest.read(run_dir)
    now = {"plant": task.plant_spec, "safety": task.safety_spec, "training": spec}
    changed = [k for k, v in now.items() if manifest.hashes.get(k) != (None if v is None else spec_hash(v))]
    if changed or manifest.seed != seed:
        what = f"another {' and '.join(changed)} spec" if changed else f"seed {manifest.seed}"
        raise TrainingError(
            f"{run_dir}: found a run with {what}, expected the same as now. Restore what it began with, or start a new run."
        )
    return manifest
