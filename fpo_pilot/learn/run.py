"""A run folder before its training: a new one with its manifest, or the one to go on with."""

from __future__ import annotations

from pathlib import Path

import torch

from fpo_pilot.errors import TrainingError
from fpo_pilot.learn.logged import LoggedEpisodes
from fpo_pilot.learn.task import Task
from fpo_pilot.logs.manifest import Manifest, WarmStartRecord
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


def check_beginning(
    run_dir: Path, manifest: Manifest, spec: TrainingSpec, start_from: Path | None, logged: LoggedEpisodes | None
) -> None:
    """Refuse a training that would begin in two ways at once, or whose log is not at hand."""
    ways = {"--from": start_from is not None, "--warm-start": logged is not None}
    ways["cloning"] = logged is not None and spec.cloning is not None
    named = [way for way, is_named in ways.items() if is_named]
    if len(named) > 1:
        raise TrainingError(
            f"{run_dir}: found {' and '.join(named)}, expected one way to begin. Leave the others out (`cloning=none`)."
        )
    if manifest.warm_start is not None and logged is None:
        raise TrainingError(
            f"{run_dir}: found a run that stopped before its first checkpoint and began from {manifest.warm_start.log}, "
            "expected that log. Resume it where the log is, or start a new run."
        )


def open_run(
    task: Task,
    spec: TrainingSpec,
    run_dir: Path,
    *,
    seed: int,
    resume: bool,
    device: str,
    command: str | None,
    warm_start: WarmStartRecord | None = None,
) -> Manifest:
    """Begin a run, or check that the one there is of the same specs and seed, and began from the same log."""
    exists = (run_dir / "manifest.json").exists()
    if exists and not resume:
        raise TrainingError(
            f"{run_dir}: found a run there, expected a new folder. Resume it (`fpo-pilot train --resume {run_dir}`), or name another."
        )
    if not exists:
        typed = (
            command
            or f"fpo-pilot train {task.name} --algorithm {spec.algorithm} --steps {spec.total_steps} --seed {seed}"
        ) + ("" if warm_start is None or command else f" --warm-start {warm_start.log}")
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
        ).updated(warm_start=None if warm_start is None else warm_start.model_dump())
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
    began = manifest.warm_start
    if warm_start is not None and (began is None or began.ledger_root != warm_start.ledger_root):
        raise TrainingError(
            f"{run_dir}: found a run that began from {'no log' if began is None else 'another state of its log'}, expected "
            f"{warm_start.log} with the ledger root {warm_start.ledger_root[:12]}. Restore the log, or start a new run."
        )
    return manifest
