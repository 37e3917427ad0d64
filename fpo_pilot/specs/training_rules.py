"""What must hold between the fields of train.yaml."""

from __future__ import annotations

from collections.abc import Iterator

from fpo_pilot.specs.findings import Finding, Path
from fpo_pilot.specs.plant_rules import duplicate_findings
from fpo_pilot.specs.training import TrainingFile, TrainingSpec


def training_findings(file: TrainingFile) -> Iterator[Finding]:
    """Find everything that is wrong with a training file whose fields are sound one by one."""
    yield from duplicate_findings((entry.algorithm for entry in file.algorithms), ("algorithms",), "algorithm")
    for index, entry in enumerate(file.algorithms):
        yield from _entry(entry, ("algorithms", index))


def _entry(entry: TrainingSpec, path: Path) -> Iterator[Finding]:
    batch = entry.num_envs * entry.rollout_steps
    if entry.minibatches > batch:
        expected = f"at most num_envs · rollout_steps, {batch}"
        yield Finding((*path, "minibatches"), entry.minibatches, expected, "Lower it, or collect more between updates.")
    if entry.total_steps < batch:
        expected = f"at least num_envs · rollout_steps, {batch}"
        yield Finding((*path, "total_steps"), entry.total_steps, expected, "Raise it: not one update fits.")
    if entry.learning_rate_end > entry.learning_rate:
        expected = f"at most learning_rate, {entry.learning_rate:g}"
        yield Finding(
            (*path, "learning_rate_end"), entry.learning_rate_end, expected, "Lower it: the rate only decays."
        )
