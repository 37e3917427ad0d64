"""One trainer for every algorithm: collect, update, evaluate, keep the best, stop when it goes wrong, resume to the bit."""

from __future__ import annotations

import copy
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fpo_pilot.learn.beginning import begin_from_run, settle
from fpo_pilot.learn.build import TrainedPolicy, build_policy
from fpo_pilot.learn.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from fpo_pilot.learn.health import adapted, find_trouble
from fpo_pilot.learn.interaction import collect, evaluate_modes, part
from fpo_pilot.learn.learner import build_learner
from fpo_pilot.learn.logged import LoggedEpisodes
from fpo_pilot.learn.metrics import COLUMNS, Row, read_rows, write_metrics
from fpo_pilot.learn.optimiser import FlatNetwork
from fpo_pilot.learn.run import check_beginning, check_device, open_run
from fpo_pilot.learn.task import PlantTask, Task
from fpo_pilot.learn.training_log import TrainingLog, training_log
from fpo_pilot.logs.manifest import Manifest, TrainingRecord
from fpo_pilot.plants.plant import Plant
from fpo_pilot.shields.verdict import Shield
from fpo_pilot.specs.training import TrainingSpec

_WARM_UP = 1000
"""Steps, at most, of the episode that the observation statistics begin with."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    update: int
    steps: int
    total_steps: int
    return_mean: float
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; the best policy is in ``checkpoints/best.safetensors``."""

    run_dir: Path
    steps: int
    updates: int
    best_return: float
    stopped_early: str | None


def train(
    plant: Plant | Task,
    spec: TrainingSpec,
    run_dir: Path,
    *,
    seed: int,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    device: str = "cpu",
    shield: Shield | None = None,
    total_steps: int | None = None,
    command: str | None = None,
    start_from: Path | None = None,
    warm_start: LoggedEpisodes | None = None,
) -> TrainingResult:
    """Train a policy for ``plant`` and leave a run folder.

    Args:
        plant: what to control: a plant, or another :class:`fpo_pilot.learn.task.Task`, which brings its own shield.
        spec: algorithm and settings.
        run_dir: the run folder: manifest.json, metrics.parquet, checkpoints/.
        seed: of weights, actions, minibatches and plants.
        resume: go on from ``checkpoints/latest.safetensors``, to the bit; from the start if there is none yet.
        progress: called after every update.
        device: torch's name of a device.
        shield: between policy and actuator; without one, actions are cut to the limits.
        total_steps: environment steps instead of the spec's.
        command: entered in the manifest.
        start_from: checkpoint whose policy the training begins with, of the same sizes; None for a fresh one.
        warm_start: logged episodes of the plant that the training begins from, as the spec's ``warm_start`` says.

    Raises:
        TrainingError: the folder has another run, or the specs changed since the run to resume began.
        CheckpointError: the policy to start from does not fit.
    """
    task: Task = PlantTask(plant, shield) if isinstance(plant, Plant) else plant
    if total_steps is not None:
        spec = spec.model_copy(update={"total_steps": total_steps})
    check_device(device)
    source = None if warm_start is None else warm_start.source
    manifest = open_run(
        task, spec, run_dir, seed=seed, resume=resume, device=device, command=command, warm_start=source
    )
    training = _Training(task, spec, seed=seed, device=device)
    if manifest.warm_start is not None:
        training.critic_warm_up = spec.warm_start.critic_warm_up
        training.policy_rate_factor = spec.warm_start.policy_rate_factor
        training.statistics_frozen = True
    goes_on = resume and checkpoint_path(run_dir, "latest").exists()
    if not goes_on:
        check_beginning(run_dir, manifest, spec, start_from, warm_start)
    with training_log(run_dir, training.loop, task, spec) as training.log:
        if goes_on:
            training.load(run_dir)
        else:
            training.begin(run_dir, start_from, warm_start)
        while training.updates < training.planned and training.trouble is None:
            training.advance(run_dir)
            if progress is not None:
                progress(training.progress())
    return training.finish(run_dir, manifest)


class _Training:
    """Everything that a training carries from one update to the next; all of it is in a checkpoint."""

    def __init__(self, task: Task, spec: TrainingSpec, *, seed: int, device: str) -> None:
        seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(5)]
        self.task, self.spec, self.device = task, spec, device
        self.generator = torch.Generator(device=device).manual_seed(seeds[0])
        self.loop = task.loop(
            spec.num_envs, seed=seeds[1], device=device, correction_penalty=spec.correction_penalty * spec.reward_scale
        )
        sizes = (self.loop.observation_size, self.loop.action_size)
        weights = torch.Generator().manual_seed(seeds[3])  # on the CPU, so that a seed means the same on any device
        self.mirror = self.loop.mirror(spec.mirror) if spec.mirror else None
        self.policy: TrainedPolicy = build_policy(spec, *sizes, generator=weights, mirror=self.mirror).to(device)
        self.average = copy.deepcopy(self.policy)
        self.learner = build_learner(spec, self.policy, *sizes, generator=weights, mirror=self.mirror, device=device)
        self._averaged = FlatNetwork(self.average)
        self.scales = tuple(mode.noise_scale for mode in self.policy.modes())
        self._evaluation_seed, self._demonstration_seed = seeds[2], seeds[4]
        self._evaluation = task.loop(spec.evaluation_episodes * len(self.scales), seed=seeds[2], device=device)
        self.critic_warm_up = 0
        self.policy_rate_factor = 1.0
        self.statistics_frozen = False
        self.rate_factor = 1.0
        self.recoveries = 0
        self.recovered_at = 0
        self.planned = max(1, spec.total_steps // (spec.num_envs * spec.rollout_steps))
        self.rows: list[Row] = []
        self.updates = 0
        self.best_return = -math.inf
        self.best_update = 0
        self.trouble: str | None = None
        self.model_hash: str | None = None
        self.log: TrainingLog | None = None

    def progress(self) -> Progress:
        """Say where the training stands after an update."""
        last = self.rows[-1]
        return Progress(self.updates, self.steps, self.spec.total_steps, last["return_mean"], last["seconds"])

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.updates * self.spec.num_envs * self.spec.rollout_steps

    def begin(self, run_dir: Path, start_from: Path | None, logged: LoggedEpisodes | None) -> None:
        """Settle what the first act needs, and keep the untrained policy: there is always something to roll back to.

        The observation statistics begin with an episode of the untrained policy on the plants of the evaluation:
        those of a reset alone hardly vary, and would blow up what varies later.
        """
        if start_from is not None:
            begin_from_run(start_from, (self.policy, self.average), self.device)
        elif logged is not None:
            self.learner.begin_from_log(logged, self.generator)
            settle(self.policy)
        elif self.spec.cloning is not None:
            loop = self.task.loop(self.spec.cloning.episodes, seed=self._demonstration_seed, device=self.device)
            self.learner.begin_as_incumbent(loop, self.spec.cloning, self.generator)
        else:
            self._evaluation.reset()
            horizon = min(self._evaluation.horizon, _WARM_UP)
            seen = collect(self._evaluation, self.policy, horizon, 1.0, self._evaluation_generator())
            self.policy.normaliser.merge(seen.obs)
        self.average.normaliser.load_state_dict(self.policy.normaliser.state_dict())
        self._averaged.vector.data.copy_(self.learner.weights.vector)
        self.loop.reset()
        self._evaluate({}, run_dir)
        self.save(run_dir)

    def advance(self, run_dir: Path) -> None:
        """Collect, update, and whatever is due after it."""
        started = time.perf_counter()
        rate = self._set_rate()
        rollout = collect(
            self.loop, self.learner.acting, self.spec.rollout_steps, self.spec.reward_scale, self.generator
        )
        if self.log is not None:
            self.log.note(rollout, self.learner.acting, self.policy)
        due = (self.updates + 1) % self.spec.evaluation_every == 0
        policy_frozen = self.updates < max(self.critic_warm_up, self.learner.warm_up)
        figures = self.learner.learn(
            rollout,
            self.generator,
            policy_frozen=policy_frozen,
            statistics_frozen=self.statistics_frozen or policy_frozen,
            exact=due,
        )
        self._average()
        values = torch.stack(
            [value.to(torch.float64) for value in figures.values()]
        ).tolist()  # the one wait for the device
        self.updates += 1
        row: Row = dict(zip(figures, values, strict=True))
        row |= {"update": self.updates, "steps": self.steps, "learning_rate": rate}
        row = dict.fromkeys(COLUMNS, math.nan) | row
        self.rows.append(row)
        self.rate_factor = adapted(self.rate_factor, row["action_change"], self.spec.adaptive_rate)
        trouble = find_trouble(self.rows, self.spec, since=self.recovered_at, watched=self.learner.watched)
        if trouble is not None:
            self._roll_back(run_dir, trouble)
        row["recoveries"] = self.recoveries
        ended = self.updates == self.planned or self.trouble is not None
        if trouble is None and (ended or due):
            self._evaluate(row, run_dir)
        before = self.rows[-2]["seconds"] if len(self.rows) > 1 else 0.0
        row["seconds"] = before + time.perf_counter() - started
        if ended or self.updates % self.spec.checkpoint_every == 0:
            self.save(run_dir)

    def _set_rate(self) -> float:
        """Let the learning rate fall linearly over the planned updates; return that of the policy."""
        share = self.updates / self.planned
        rate = self.spec.learning_rate + share * (self.spec.learning_rate_end - self.spec.learning_rate)
        rate *= self.rate_factor
        policy = rate * self.policy_rate_factor
        self.learner.set_rate(rate, policy=policy)
        return policy

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights; the normaliser is taken over as it is."""
        decay = min(self.spec.deployment_average, (1 + self.updates) / (10 + self.updates))
        self._averaged.vector.lerp_(self.learner.weights.vector, 1.0 - decay)
        self.average.normaliser.load_state_dict(self.policy.normaliser.state_dict())

    def _roll_back(self, run_dir: Path, trouble: str) -> None:
        """Take the weights of the best checkpoint; go on from there at half the rate, or stop if that was done before.

        What went wrong is never deployed, not even as the latest; critics are taken back as well.
        """
        tensors, _ = read_checkpoint(checkpoint_path(run_dir, "best"), device=self.device)
        for module in (self.policy, self.average):
            module.load_state_dict(part(tensors, "policy."))
        self.learner.roll_back(tensors)
        if self.recoveries >= self.spec.recoveries:
            self.trouble = trouble
            return
        self.recoveries += 1
        self.recovered_at = self.updates
        self.rate_factor /= 2.0
        self.loop.reset()

    def _evaluation_generator(self) -> torch.Generator:
        """Seed plants and noise of the evaluation: it is always of the same episodes."""
        self._evaluation.seed(self._evaluation_seed)
        return torch.Generator(device=self.device).manual_seed(self._evaluation_seed)

    def _evaluate(self, row: Row, run_dir: Path) -> None:
        """Evaluate the averaged weights in each mode, always on the same episodes; keep them if they are the best."""
        means = evaluate_modes(self._evaluation, self.average, self.scales, self._evaluation_generator()).tolist()
        best = max(means)
        scale = self.scales[means.index(best)]
        row |= {"evaluation_return": means[0], "evaluation_best": best, "evaluation_noise_scale": scale}
        if not best > self.best_return:
            return
        self.best_return, self.best_update = best, self.updates
        facts = {**self._facts(), "update": self.updates, "noise_scale": scale, "evaluation_return": best}
        tensors = {f"policy.{name}": value for name, value in self.average.state_dict().items()}
        for prefix, critic in self.learner.critics().items():
            tensors |= {f"{prefix}.{name}": value for name, value in critic.state_dict().items()}
        self.model_hash = write_checkpoint(checkpoint_path(run_dir, "best"), tensors, facts)

    def _facts(self) -> dict[str, object]:
        return {
            "spec": self.spec.model_dump(mode="json"),
            "plant": self.task.name,
            "observation_size": self.loop.observation_size,
            "action_size": self.loop.action_size,
            "mirror": None if self.mirror is None else [self.mirror.observation, self.mirror.action],
        }

    def save(self, run_dir: Path) -> None:
        """Write steps and metrics, then the checkpoint that counts: rows beyond it are not written twice by a run that resumes."""
        if self.log is not None:
            self.log.commit()
        if self.rows:
            write_metrics(run_dir, self.rows)
        tensors: dict[str, Tensor] = {"generator": self.generator.get_state()}
        for prefix, module in self._policies().items():
            tensors |= {f"{prefix}.{name}": value for name, value in module.state_dict().items()}
        tensors |= self.learner.state_dict()
        tensors |= {f"loop.{name}": value for name, value in self.loop.state_dict().items()}
        write_checkpoint(
            checkpoint_path(run_dir, "latest"),
            tensors,
            {
                **self._facts(),
                "updates": self.updates,
                "best_return": self.best_return if math.isfinite(self.best_return) else None,
                "best_update": self.best_update,
                "trouble": self.trouble,
                "rate_factor": self.rate_factor,
                "recoveries": self.recoveries,
                "recovered_at": self.recovered_at,
                "model_hash": self.model_hash,
                "log": None if self.log is None else self.log.state(),
            },
        )

    def _policies(self) -> dict[str, nn.Module]:
        return {"policy": self.policy, "average": self.average}

    def load(self, run_dir: Path) -> None:
        """Go on from the last checkpoint."""
        tensors, facts = read_checkpoint(checkpoint_path(run_dir, "latest"), device=self.device)
        self.generator.set_state(tensors["generator"].cpu())
        for prefix, module in self._policies().items():
            module.load_state_dict(part(tensors, f"{prefix}."))
        self.learner.load_state_dict(tensors)
        self.loop.load_state_dict(part(tensors, "loop."))
        self.updates = facts["updates"]
        self.best_return = -math.inf if facts["best_return"] is None else facts["best_return"]
        self.best_update, self.trouble, self.model_hash = facts["best_update"], facts["trouble"], facts["model_hash"]
        self.rate_factor, self.recoveries = facts["rate_factor"], facts["recoveries"]
        self.recovered_at = facts["recovered_at"]
        self.rows = read_rows(run_dir, self.updates)
        if self.log is not None:
            self.log.load(facts.get("log"))

    def finish(self, run_dir: Path, manifest: Manifest) -> TrainingResult:
        """Enter the cost in the manifest."""
        seconds = self.rows[-1]["seconds"] if self.rows else 0.0
        record = TrainingRecord(
            steps=self.steps,
            updates=self.updates,
            seconds=seconds,
            steps_per_second=self.steps / max(seconds, 1e-9),
            best_update=self.best_update,
            best_return=self.best_return if math.isfinite(self.best_return) else None,
            stopped_early=self.trouble,
            peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )
        manifest.updated(training=record.model_dump(), model_hash=self.model_hash).write(run_dir)
        return TrainingResult(run_dir, self.steps, self.updates, self.best_return, self.trouble)
