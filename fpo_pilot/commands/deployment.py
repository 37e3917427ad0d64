"""Which deployment of a run the offline evaluation chose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from fpo_pilot.errors import RolloutError

if TYPE_CHECKING:
    from fpo_pilot.evaluate import Evaluation
    from fpo_pilot.learn import Deployment, TrainedPolicy

FILE = "evaluation.json"


def chosen_deployment(run_dir: Path, policy: TrainedPolicy) -> Deployment:
    """Return the sampler that the offline evaluation of these weights chose; without an evaluation no stage is entered.

    Raises:
        RolloutError: there is no evaluation, it is of other weights, cannot be read, or chose none.
    """
    evaluation = evaluation_of(run_dir, policy)
    if evaluation is None:
        raise RolloutError(
            f"{run_dir / FILE}: found nothing, expected the offline evaluation of this run. Run `fpo-pilot evaluate {run_dir}`."
        )
    return deployment_of(evaluation, run_dir)


def evaluation_of(run_dir: Path, policy: TrainedPolicy) -> Evaluation | None:
    """Read the offline evaluation of a run; None if there is none.

    Raises:
        RolloutError: it is of other weights than the run has now, or cannot be read.
    """
    path = run_dir / FILE
    if not path.exists():
        return None
    from fpo_pilot.evaluate import Evaluation
    from fpo_pilot.evaluate.arms import weights_hash

    try:
        evaluation = Evaluation.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise RolloutError(
            f"{path}: found no evaluation that can be read ({str(problem).splitlines()[0]}), expected one of this release. "
            f"Run `fpo-pilot evaluate {run_dir}` again."
        ) from problem
    arm = None if evaluation.deployment is None else evaluation.deployment.arm
    if arm is not None and evaluation.hashes.get(arm) != weights_hash(policy):
        raise RolloutError(
            f"{path}: found an evaluation of other weights than the run has now, expected one of these. "
            f"Run `fpo-pilot evaluate {run_dir}` again."
        )
    return evaluation


def deployment_of(evaluation: Evaluation, run_dir: Path) -> Deployment:
    """Return the sampler that an evaluation of ``run_dir`` chose.

    Raises:
        RolloutError: it chose none.
    """
    from fpo_pilot.learn import Deployment

    chosen, path = evaluation.deployment, run_dir / FILE
    if chosen is None:
        raise RolloutError(
            f"{path}: found no chosen deployment, expected one. Run `fpo-pilot evaluate {run_dir}` again."
        )
    settings = chosen.model_dump(include={"noise_scale", "method", "steps", "candidates"})
    return TypeAdapter(Deployment).validate_python(settings)
