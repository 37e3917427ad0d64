"""Algorithms × tasks × seeds: each run trained and scored in the same way, whatever it is that learns.

A score is the mean return, as deployed, over episodes that chose nothing: the noise scale of the sampler is chosen on
other episodes before. Settings are written ``ALGORITHM`` or ``ALGORITHM:field=value,field=value``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from fpo_pilot.certification.stacks import plant_stack
from fpo_pilot.errors import TrainingError
from fpo_pilot.flow import Method
from fpo_pilot.learn import Deployment, load_policy, train
from fpo_pilot.learn.checkpoint import checkpoint_path
from fpo_pilot.learn.interaction import Interaction, episode_returns
from fpo_pilot.learn.metrics import read_rows
from fpo_pilot.learn.policy import Policy
from fpo_pilot.learn.task import GymTask, PlantTask, Task
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.writing import TRAINING, writing
from fpo_pilot.plants.load import load_plant
from fpo_pilot.specs import load_training_spec
from fpo_pilot.specs.load import ALGORITHMS, GYM, Algorithm, gym_training_spec
from fpo_pilot.specs.training import TrainingSpec

CHOOSING, SCORING = 1_000_000, 2_000_000
"""Added to the seed of a run: episodes that choose the noise scale, and others that are reported."""


@dataclass(frozen=True)
class Budget:
    """What every run of a comparison gets."""

    steps: int | None = None
    """Environment steps; None for those of the training spec."""
    episodes: int = 128
    """Reported episodes of a plant."""
    gym_episodes: int = 16
    """Reported episodes of a Gymnasium environment, which is slower."""


@dataclass(frozen=True)
class Job:
    """One run of a comparison."""

    task: str
    variant: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Return where its run folder is."""
        parts = (self.task, self.variant, f"seed-{self.seed}")
        return out.joinpath(*(part.replace(":", "-").replace("/", "-") for part in parts))


def parse_variant(text: str) -> tuple[Algorithm, dict[str, str]]:
    """Split ``ALGORITHM:field=value,…`` into the algorithm and its changed fields.

    Raises:
        TrainingError: the algorithm is unknown, or a part is no ``field=value``.
    """
    name, _, rest = text.partition(":")
    algorithm = next((one for one in ALGORITHMS if one == name), None)
    if algorithm is None:
        raise TrainingError(f"--algorithm: found {name!r}, expected one of {', '.join(ALGORITHMS)}.")
    changes: dict[str, str] = {}
    for piece in filter(None, rest.split(",")):
        name, separator, value = piece.partition("=")
        if not separator:
            raise TrainingError(f"--algorithm {text}: found {piece!r}, expected field=value. Write fpo:clip=0.1.")
        changes[name.strip()] = value.strip()
    return algorithm, changes


def variant_spec(task: str, variant: str, steps: int | None = None) -> TrainingSpec:
    """Return the training spec of a variant on a task.

    Raises:
        TrainingError: a field is unknown or its value does not fit.
    """
    algorithm, changes = parse_variant(variant)
    spec = gym_training_spec(algorithm) if task.startswith(GYM) else load_training_spec(task, algorithm)
    data = spec.model_dump()
    unknown = [field for field in changes if field.split(".")[0] not in data]
    if unknown:
        raise TrainingError(
            f"--algorithm {variant}: found field {unknown[0]!r}, expected one of {', '.join(sorted(data))}. Correct it."
        )
    for field, value in changes.items():
        outer, _, inner = field.partition(".")
        if inner:
            data[outer] = {**(data[outer] or {}), inner: value}
        else:
            data[outer] = None if value == "none" else value
    if steps is not None:
        data["total_steps"] = steps
    try:
        return type(spec).model_validate(data)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TrainingError(
            f"--algorithm {variant}: {where}: found {first.get('input')!r}, expected what the training spec allows "
            f"({first['msg']}). Correct the value."
        ) from problem


def make_task(name: str, spec: TrainingSpec) -> Task:
    """Return a plant behind its shields, or an environment of Gymnasium (``gym:ID``)."""
    if name.startswith(GYM):
        return GymTask(name.removeprefix(GYM))
    plant = load_plant(name)
    if plant.safety is None or not spec.shield_in_training:
        return PlantTask(plant)
    return PlantTask(plant, plant_stack(plant, plant.safety))


def run_job(job: Job, out: Path, budget: Budget) -> list[dict[str, object]]:
    """Train one run, or go on with it, and score it; return a row for each noise scale."""
    torch.set_num_threads(1)  # networks of this size gain nothing from a second, and runs share the cores
    spec = variant_spec(job.task, job.variant, budget.steps)
    task = make_task(job.task, spec)
    run_dir = job.folder(out)
    started = (run_dir / "manifest.json").exists()
    record = Manifest.read(run_dir).training if started else None
    if record is None:
        with writing(run_dir, "train", TRAINING, begin_ledger=started):  # an earlier release left none here
            train(task, spec, run_dir, seed=job.seed, resume=started)
        record = Manifest.read(run_dir).training
    if record is None:
        raise TrainingError(f"{run_dir}: found a run without a training record, expected a finished one. Run it again.")
    policy = load_policy(run_dir)
    episodes = budget.gym_episodes if job.task.startswith(GYM) else budget.episodes
    scales = tuple(mode.noise_scale for mode in policy.modes())
    chosen, rows = score(task, policy, scales, episodes=episodes, seed=job.seed)
    facts = {
        "task": job.task,
        "algorithm": job.variant,
        "seed": job.seed,
        "steps": record.steps,
        "seconds": record.seconds,
        "stopped_early": record.stopped_early or "",
        "recoveries": read_rows(run_dir, record.updates)[-1]["recoveries"],
    }
    return [facts | row | {"deployed": row["noise_scale"] == chosen} for row in rows]


def score(
    task: Task, policy: Policy, scales: Sequence[float], *, episodes: int, seed: int
) -> tuple[float, list[dict[str, object]]]:
    """Choose the noise scale on some episodes, and report all of them on others.

    Returns:
        The scale that is deployed, and a row for each: mean, standard deviation and violations of its episodes.
    """
    loop = task.loop(episodes, seed=0, device="cpu")
    # every scale sees the same episodes and the same noise, so that luck does not choose between them
    first = [episode_batch(loop, policy, (scale,), seed + CHOOSING)[0].mean() for scale in scales]
    means = torch.stack(first)
    # of equal ones the smallest noise: ties are the rule on a deterministic plant
    chosen = scales[int((means >= means.max() - 1e-6 * means.max().abs().clamp(min=1.0)).nonzero()[0])]
    scored = [episode_batch(loop, policy, (scale,), seed + SCORING) for scale in scales]
    returns, violated = torch.cat([one[0] for one in scored]), torch.cat([one[1] for one in scored])
    rows: list[dict[str, object]] = [
        {
            "noise_scale": scale,
            "score": float(returns[index].mean()),
            "episode_std": float(returns[index].std(correction=1)) if episodes > 1 else math.nan,
            "violation_rate": float(violated[index].mean()),
            "episodes": episodes,
        }
        for index, scale in enumerate(scales)
    ]
    return chosen, rows


def episode_batch(
    loop: Interaction,
    policy: Policy,
    scales: tuple[float, ...],
    seed: int,
    *,
    method: Method = "euler",
    steps: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run one episode of every environment from a seed of plants and noise; see :func:`episode_returns`."""
    loop.seed(seed)
    generator = torch.Generator().manual_seed(seed)
    return episode_returns(loop, policy, scales, generator, method=method, steps=steps)


def curve_rows(job: Job, out: Path) -> list[dict[str, object]]:
    """Return the learning curve of a run: a row for each evaluation during training."""
    run_dir = job.folder(out)
    record = Manifest.read(run_dir).training
    rows = [] if record is None else read_rows(run_dir, record.updates)
    return [
        {
            "task": job.task,
            "algorithm": job.variant,
            "seed": job.seed,
            "steps": row["steps"],
            "seconds": row["seconds"],
            "score": row["evaluation_best"],
        }
        for row in rows
        if math.isfinite(row["evaluation_best"])
    ]


class _Uniform:
    """Uniformly random actions: the floor of every comparison."""

    def sample(self, obs: torch.Tensor, noise: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """Return actions in [−1, 1], by the distribution function of the normal noise that was drawn."""
        share: torch.Tensor = torch.special.ndtr(noise)
        return 2.0 * share - 1.0

    def modes(self) -> tuple[Deployment, ...]:
        """Return the only way: one action a step."""
        return (Deployment(noise_scale=1.0),)


def random_return(loop: Interaction, seed: int) -> float:
    """Return the mean return of uniformly random actions over one episode of every environment."""
    actor: Policy = _Uniform()  # type: ignore[assignment]  # of a policy no more is asked here
    returns, _ = episode_batch(loop, actor, (1.0,), seed + SCORING)
    return float(returns.mean())


def random_score(name: str, budget: Budget) -> float:
    """Return the mean return of random actions on a task, behind its shield."""
    task = make_task(name, variant_spec(name, "fpo", budget.steps))
    episodes = budget.gym_episodes if name.startswith(GYM) else budget.episodes
    return random_return(task.loop(episodes, seed=0, device="cpu"), 0)


def finished(job: Job, out: Path) -> bool:
    """Tell whether a run was trained to its end."""
    run_dir = job.folder(out)
    if not checkpoint_path(run_dir, "best").exists() or not (run_dir / "manifest.json").exists():
        return False
    return Manifest.read(run_dir).training is not None
