"""``fpo-pilot train``: a policy for a plant, behind the plant's shields."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fpo_pilot.commands.console import note, progress, say, say_json
from fpo_pilot.errors import TrainingError
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.writing import TRAINING, writing
from fpo_pilot.specs import load_plant_spec
from fpo_pilot.specs.load import GYM

if TYPE_CHECKING:
    from fpo_pilot.learn import Progress, TrainingResult
    from fpo_pilot.learn.logged import LoggedEpisodes
    from fpo_pilot.specs.training import TrainingSpec


def start_training(
    plant: str,
    algorithm: str,
    *,
    steps: int | None,
    out: Path | None,
    seed: int,
    device: str,
    as_json: bool,
    start_from: Path | None = None,
    warm_start: Path | None = None,
) -> int:
    """Train ``algorithm`` (settings may follow its name) on a plant, or on ``gym:ID``, in a new run folder."""
    from fpo_pilot.evaluate.comparison import variant_spec
    from fpo_pilot.learn.checkpoint import checkpoint_path

    spec = variant_spec(plant, algorithm, steps)
    short = plant.removeprefix(GYM) if plant.startswith(GYM) else load_plant_spec(plant).plant.id
    run_dir = out or Path("runs") / f"{short}-{spec.algorithm}-{seed}"
    begin = None if start_from is None else checkpoint_path(start_from, "best")
    train_run(plant, spec, run_dir, seed=seed, device=device, quiet=as_json, start_from=begin, warm_start=warm_start)
    return _tell(run_dir, as_json=as_json)


def resume_training(run_dir: Path, *, device: str, as_json: bool) -> int:
    """Go on with the training in ``run_dir`` where its last checkpoint is."""
    from fpo_pilot.specs.training import training_spec_of

    manifest = Manifest.read(run_dir)
    spec = training_spec_of(manifest.training_spec)
    train_run(manifest.plant, spec, run_dir, seed=manifest.seed, device=device, quiet=as_json, resume=True)
    return _tell(run_dir, as_json=as_json)


def train_run(
    plant_name: str,
    spec: TrainingSpec,
    run_dir: Path,
    *,
    seed: int,
    device: str = "cpu",
    quiet: bool = False,
    resume: bool = False,
    label: str = "train",
    start_from: Path | None = None,
    warm_start: Path | None = None,
) -> TrainingResult:
    """Train behind the shields of the plant's safety spec, with a progress bar; a run that is resumed finds its log itself."""
    import torch

    from fpo_pilot.evaluate.comparison import make_task
    from fpo_pilot.learn import train
    from fpo_pilot.learn.run import check_device

    check_device(device)  # before a folder is made for the run
    log = _log_of(run_dir) if resume else warm_start
    logged = None if log is None else _read(plant_name, log, spec, start_from)
    # Networks of this size gain nothing from a second thread and lose much where the cores are shared.
    torch.set_num_threads(1)
    with (
        writing(run_dir, "train", TRAINING),
        progress(f"{label} {spec.algorithm}", spec.total_steps, quiet=quiet) as report,
    ):
        try:
            return train(
                make_task(plant_name, spec),
                spec,
                run_dir,
                seed=seed,
                resume=resume,
                device=device,
                start_from=start_from,
                warm_start=logged,
                progress=lambda state: report(state.steps, _state(state)),
            )
        except KeyboardInterrupt:
            note(f"stopped by Ctrl-C; go on with: fpo-pilot train --resume {run_dir}")
            raise


def _log_of(run_dir: Path) -> Path | None:
    """Return the log that a training which never came to its first checkpoint has to begin from again."""
    from fpo_pilot.learn.checkpoint import checkpoint_path

    record = Manifest.read(run_dir).warm_start
    return None if record is None or checkpoint_path(run_dir, "latest").exists() else Path(record.log)


def _read(plant_name: str, log: Path, spec: TrainingSpec, start_from: Path | None) -> LoggedEpisodes:
    from fpo_pilot.learn.logged import read_logged
    from fpo_pilot.plants.load import load_plant

    if plant_name.startswith(GYM) or start_from is not None or spec.cloning is not None:
        found = "--gym" if plant_name.startswith(GYM) else "--from" if start_from is not None else "cloning"
        raise TrainingError(
            f"--warm-start: found it beside {found}, expected a plant and one way to begin. Leave one of them out."
        )
    return read_logged(log, load_plant(plant_name), spec.warm_start)


def _state(state: Progress) -> str:
    return "" if state.return_mean != state.return_mean else f"return {state.return_mean:.4g}"


def _tell(run_dir: Path, *, as_json: bool) -> int:
    record = Manifest.read(run_dir).training
    done = {} if record is None else record.model_dump()
    if as_json:
        say_json({"run": str(run_dir), "training": done})
        return 0
    say(f"trained: {run_dir}")
    for key, value in done.items():
        say(f"  {key}: {value}")
    say(f"next: fpo-pilot evaluate {run_dir}")
    return 0
