"""The step log of a training: every step of a few of its environments, in stage ``training``.

Rows are handed over whenever a checkpoint is written, and are on the disk before it: a checkpoint never knows more steps
than the log. A training that goes on from a checkpoint repeats the steps after it; those that a crash had let reach the
log are not logged twice. Rows stand by environment and then by step within what one checkpoint hands over.

Letters: T steps, B environments, E of them that are logged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fpo_pilot.errors import LogError
from fpo_pilot.learn.interaction import Interaction, Proposing, Rollout, candidates_of
from fpo_pilot.learn.policy import Policy
from fpo_pilot.learn.step_record import Array, StepRecorder
from fpo_pilot.learn.task import Task
from fpo_pilot.logs.reader import LEARNER, TRAINING_STAGE
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.specs import spec_hash
from fpo_pilot.specs.training import GaussianPpoSpec, TrainingSpec


class TrainingLog:
    """Writes what the first environments of a training do, and with which density they were proposed.

    Args:
        log: of the run, stage ``training``.
        recorder: of the environments.
        labels: columns that are the same in all rows.
    """

    def __init__(self, log: StepLog, recorder: StepRecorder, labels: Mapping[str, Any]) -> None:
        self._recorder = recorder
        self._labels = labels
        self._densities: list[Tensor] = []
        self._rows = 0
        self._episodes: Array = np.zeros(recorder.rows, dtype=np.int64)
        self._log = log

    def note(self, rollout: Rollout, acting: Proposing, policy: Policy) -> None:
        """Remember the log-density of what was proposed, where the policy remembers it.

        It is that of the log where the policy itself acted and one action was sampled in each step: the first of several
        candidates that the shield takes has another density, and so has what was moved for the sake of exploration.
        """
        known = (
            policy.remembered_log_density(rollout.trace) if acting is policy and candidates_of(acting) == 1 else None
        )
        self._densities.append(torch.full_like(rollout.reward, torch.nan) if known is None else known)

    def commit(self) -> None:
        """Put the steps since the last call into the log, and on the disk.

        Raises:
            LogError: the disk does not take them, or rows that the last checkpoint knew are gone.
        """
        tables = self._recorder.taken()
        if not tables:
            return
        kept = np.ones(tables["step"].shape, dtype=bool)
        # a training of an earlier release that is resumed is in the middle of an episode, which is then the first
        self._episodes += (self._episodes == 0) & (tables["step"][:, 0] != 0)
        episodes = self._episodes[:, None] + np.cumsum(tables["step"] == 0, axis=1)  # [E, T], from 1
        self._episodes = episodes[:, -1]
        step = tables["step"][kept]
        density = torch.cat(self._densities)[:, : len(episodes)].T.detach().cpu().numpy()[kept].astype(np.float32)
        self._densities = []
        columns = {
            **self._recorder.columns(tables, kept),
            **self._labels,
            "shield": self._recorder.shielded,
            "episode_id": ((episodes - 1) * len(episodes) + np.arange(len(episodes))[:, None])[kept],
            "step": step,
            "t": self._recorder.times(step),
            "log_density": [None if np.isnan(value) else value for value in density],
        }
        known = self._log.next_seq - self._rows
        if known < 0:
            raise LogError(
                f"{self._log.folder}: found {self._log.next_seq} rows, expected the {self._rows} that the checkpoint knows. "
                "Restore the step log from a copy, or start a new run."
            )
        self._rows += len(step)
        if known < len(step):
            self._log.append({name: _after(value, known) for name, value in columns.items()})
            self._log.sync()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        return {"rows": self._rows, "episodes": self._episodes.tolist()}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Go on where :meth:`state` was taken; from nothing where an earlier release wrote the checkpoint."""
        if state is not None:
            self._rows, self._episodes = int(state["rows"]), np.array(state["episodes"], dtype=np.int64)


@contextmanager
def training_log(run_dir: Path, loop: Interaction, task: Task, spec: TrainingSpec) -> Iterator[TrainingLog | None]:
    """Record environments of ``loop`` and log them as long as it lasts; None where none shall be, or there are no signals to log.

    Raises:
        LogError: another writer is at this run, or what the last one left cannot be read.
    """
    plant, safety = task.plant_spec, task.safety_spec
    recorder = loop.record(spec.logged_environments) if spec.logged_environments > 0 else None
    if recorder is None or plant is None:
        yield None
        return
    facts = {
        "clock": "simulated; every episode starts at 1970-01-01",
        "environments": f"the first {recorder.rows} of {loop.num_envs}",
        "log_density": "natural logarithm, of the proposal in normalised units, under the policy of its update",
    }
    labels = {
        "arm": LEARNER,
        "mode": TRAINING_STAGE,
        "scenario": "nominal",
        "flow_steps": None if isinstance(spec, GaussianPpoSpec) else spec.flow_steps,
        "plant_hash": spec_hash(plant),
        "safety_hash": None if safety is None else spec_hash(safety),
    }
    with StepLog(run_dir, TRAINING_STAGE, step_schema(plant, safety), metadata=facts) as log:
        yield TrainingLog(log, recorder, labels)


def _after(value: Any, rows: int) -> Any:
    """Leave the first rows of a column out; one value for all rows stays."""
    return value[rows:] if isinstance(value, list | np.ndarray) else value
