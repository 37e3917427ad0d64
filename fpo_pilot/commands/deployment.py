"""Which deployment of a run the offline evaluation chose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from fpo_pilot.errors import RolloutError

if TYPE_CHECKING:
    from fpo_pilot.evaluate import Evaluation
    from fpo_pilot.learn import Deployment

FILE = "evaluation.json"


def chosen_deployment(run_dir: Path) -> Deployment:
    """Return the sampler that the offline evaluation chose; without an evaluation no stage is entered.

    Raises:
        RolloutError: there is no evaluation, or it chose none.
    """
    path = run_dir / FILE
    if not path.exists():
        raise RolloutError(
            f"{path}: found nothing, expected the offline evaluation of this run. Run `fpo-pilot evaluate {run_dir}`."
        )
    from fpo_pilot.evaluate import Evaluation

    return deployment_of(Evaluation.model_validate_json(path.read_bytes()), run_dir)


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
