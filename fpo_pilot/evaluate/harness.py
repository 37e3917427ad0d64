"""The offline evaluation: plan the cells, run those that are not there yet, choose deployments, judge, write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from fpo_pilot.errors import PolicyError
from fpo_pilot.evaluate.arms import Arm, Sampler, deployments
from fpo_pilot.evaluate.cells import Bench, Cell
from fpo_pilot.evaluate.choice import Tried, choose
from fpo_pilot.evaluate.determinism import chance_in_plant, chance_in_sensors
from fpo_pilot.evaluate.earlier import take_its_place
from fpo_pilot.evaluate.oracle import NoPlan
from fpo_pilot.evaluate.store import CellStore, CellTables
from fpo_pilot.evaluate.worst import keep_worst
from fpo_pilot.evidence import Interval, bootstrap_interval, clopper_pearson_upper
from fpo_pilot.evidence.evaluation import (
    CHECKPOINT,
    EVALUATION_SPEC,
    FILE,
    Candidate,
    ChosenDeployment,
    Estimate,
    Evaluation,
    GoalResult,
    Row,
    Skipped,
    Verdict,
    Violations,
)
from fpo_pilot.evidence.interval import Floats
from fpo_pilot.evidence.verdict import Pair, judge, no_verdict, only_episode
from fpo_pilot.learn.checkpoint import checkpoint_path
from fpo_pilot.logs import write_json_atomic
from fpo_pilot.logs.ledger import file_hash
from fpo_pilot.logs.schema import goal_verbs
from fpo_pilot.specs import spec_hash

if TYPE_CHECKING:
    from fpo_pilot.learn.policy import Deployment
    from fpo_pilot.plants.plant import Plant
    from fpo_pilot.specs.evaluation import EvaluationSpec, Scenario

CHOICE_SEED_OFFSET = 1_000_003
"""The deployment is chosen on other episodes than those that are reported: the best of several flatters itself."""
SMALL_BATCH = 1_024
"""Episodes up to which more than one thread does not pay."""

Progress = Callable[[float, str], None]
Runner = Callable[[Sequence[int]], Iterable[tuple[int, str, CellTables | None]]]
"""Runs the cells of these numbers in any order, and gives number, key and tables of each; None where there is no oracle."""


def evaluate(
    plant: Plant,
    arms: Sequence[Arm],
    spec: EvaluationSpec,
    run_dir: Path,
    *,
    seed: int,
    progress: Progress | None = None,
    command: str = "",
    comparison: Sequence[str] = (),
    sampler: Sampler | None = None,
    runner: Runner | None = None,
    grid: Sequence[str] = (),
) -> Evaluation:
    """Run every arm on the same episodes, shield on and off, and judge the first policy against the incumbent.

    Writes episodes.parquet, selection.parquet, the step log of the first episodes of each arm, then evaluation.json.
    What an earlier call on the same specs, code, weights and seed has computed is taken over; an evaluation that says
    something else is moved to ``earlier/`` first, and counted.

    Args:
        plant: the plant.
        arms: from :func:`fpo_pilot.evaluate.build_arms`; the first policy is the candidate.
        spec: episodes, scenarios, noise scales to choose from, margin.
        run_dir: the run folder.
        seed: of the reported episodes.
        progress: is told the fraction that is done and what is next.
        command: the command line, for the record.
        comparison: run folders of the policies that are compared with.
        sampler: of flow policies, where it is not that of training.
        grid: kinds of scenarios of ``spec`` that were made from the specs, for the record.
        runner: runs cells elsewhere, such as in several processes; here, one after the other, if None. The files are the same.

    Returns:
        What is in evaluation.json.
    """
    _check_names(arms)
    run = _Run(plant, tuple(arms), spec, run_dir, seed, progress or (lambda done, text: None), sampler)
    with _few_threads(spec.episodes):
        if runner is not None:
            run.run_ahead(runner)
        evaluation = take_its_place(run_dir, run.evaluation(command, tuple(comparison), tuple(grid)))
        run.finish()
        keep_worst(run.bench, [(done.cell, done.tables) for done in run.reported], evaluation.deployment, run_dir)
    write_json_atomic(run_dir / FILE, evaluation.model_dump(mode="json"))
    run.store.clear()
    run.progress(1.0, "done")
    return evaluation


def shields_of(plant: Plant) -> tuple[bool, ...]:
    """Return whether the shield stands before the actuators: with it and without, where the plant has one."""
    return (True, False) if plant.safety is not None else (False,)


def modes_of(
    arms: Sequence[Arm], spec: EvaluationSpec, sampler: Sampler | None
) -> Mapping[str, tuple[Deployment, ...]]:
    """Return the ways to deploy each policy."""
    return {arm.name: deployments(arm.policy, spec.noise_scales, sampler) for arm in arms if arm.policy is not None}


def cells_of(
    plant: Plant, arms: Sequence[Arm], spec: EvaluationSpec, seed: int, sampler: Sampler | None
) -> tuple[list[Cell], list[Cell]]:
    """List the cells by which deployments are chosen, and those that are reported; the same wherever they are listed."""
    shields, modes = shields_of(plant), modes_of(arms, spec, sampler)
    choice = [
        Cell(arm, scenario, shields[0], seed + CHOICE_SEED_OFFSET, spec.episodes, mode, purpose="choice")
        for arm in arms
        for mode in (modes.get(arm.name, ()) if len(modes.get(arm.name, ())) > 1 else ())
        for scenario in spec.scenarios
    ]
    reported = [
        Cell(arm, scenario, shield, seed, spec.episodes, mode, spec.log_episodes)
        for scenario in spec.scenarios
        for arm in arms
        if arm.kind != "oracle" or spec.oracle
        for mode in modes.get(arm.name, (None,))
        for shield in shields
    ]
    return choice, reported


@dataclass(frozen=True)
class _Done:
    """A reported cell and what it left."""

    cell: Cell
    tables: CellTables


class _Run:
    """One evaluation under way."""

    def __init__(
        self,
        plant: Plant,
        arms: tuple[Arm, ...],
        spec: EvaluationSpec,
        run_dir: Path,
        seed: int,
        progress: Progress,
        sampler: Sampler | None,
    ) -> None:
        self.plant, self.arms, self.spec, self.seed, self.progress = plant, arms, spec, seed, progress
        self.run_dir = run_dir
        self.bench = Bench(plant)
        self.store = CellStore(run_dir, self.bench.step_schema)
        self.shields = shields_of(plant)
        self.modes = modes_of(arms, spec, sampler)
        self.choice_cells, self.reported_cells = cells_of(plant, arms, spec, seed, sampler)
        self.skipped: list[Skipped] = []
        self.reported: list[_Done] = []
        self.chosen_from: list[_Done] = []

    def evaluation(self, command: str, comparison: tuple[str, ...], grid: tuple[str, ...]) -> Evaluation:
        """Run what is missing, and put everything together."""
        choice_cells, reported_cells = self.choice_cells, self.reported_cells
        if not self.spec.oracle:
            for scenario in self.spec.scenarios:
                for arm in (arm for arm in self.arms if arm.kind == "oracle"):
                    self._skip(arm, scenario, "switched off in the evaluation spec")
        total = len(choice_cells) + len(reported_cells)
        chosen_from = [done for i, cell in enumerate(choice_cells) if (done := self._run(cell, i / total))]
        offset = len(choice_cells)
        reported = [done for i, cell in enumerate(reported_cells) if (done := self._run(cell, (offset + i) / total))]
        self.reported = reported
        chosen = {name: self._choose(name, modes, chosen_from) for name, modes in self.modes.items()}
        candidate = next(iter(chosen.values()), None)
        self.chosen_from = chosen_from
        return Evaluation(
            plant=self.plant.name,
            command=command,
            seed=self.seed,
            episodes=self.spec.episodes,
            scenarios=tuple(scenario.name for scenario in self.spec.scenarios),
            grid=grid,
            faulty_scenarios=tuple(scenario.name for scenario in self.spec.scenarios if scenario.faults),
            confidence=self.spec.confidence,
            deterministic=all(not self._chance(scenario) for scenario in self.spec.scenarios),
            rows=tuple(self._row(done) for done in reported),
            verdict=self._verdict(candidate, reported),
            deployment=candidate,
            deployments=chosen,
            skipped=tuple(self.skipped),
            hashes=self._hashes(),
            comparison=comparison,
            spec=self.spec,
        )

    def _hashes(self) -> dict[str, str | None]:
        """Return the hashes of specs, code, and weights: those of each arm, and the file that the candidate's lie in."""
        weights = checkpoint_path(self.run_dir, "best")
        found = {**self.bench.hashes, **{arm.name: arm.fingerprint for arm in self.arms if arm.policy is not None}}
        found[EVALUATION_SPEC] = spec_hash(self.spec)
        if weights.exists():
            found[CHECKPOINT] = file_hash(weights)[0]
        return found

    def run_ahead(self, runner: Runner) -> None:
        """Let workers run what is missing; what they leave is taken over as that of an earlier call is."""
        cells = [*self.choice_cells, *self.reported_cells]
        keys = [self.bench.key(cell) for cell in cells]
        missing = [i for i, cell in enumerate(cells) if self._stored(keys[i], cell) is None]
        self.progress(1.0 - len(missing) / len(cells), f"{len(missing)} of {len(cells)} cells to run")
        for done, (index, key, tables) in enumerate(runner(missing), start=1):
            if key != keys[index]:
                raise PolicyError(
                    f"{cells[index].title}: found a worker with other code, specs or weights (key {key[:8]}, not {keys[index][:8]}), "
                    "expected the same everywhere. Install one version on all machines, and let them see the same files."
                )
            if tables is not None:
                self.store.put(key, tables)
            self.progress(1.0 - (len(missing) - done) / len(cells), cells[index].title)

    def finish(self) -> None:
        """Write the tables of what :meth:`evaluation` told."""
        self.store.finish([done.tables for done in self.reported], [done.tables for done in self.chosen_from])

    def _stored(self, key: str, cell: Cell) -> CellTables | None:
        return self.store.find(key, cell.episodes, cell.log_episodes)

    def _run(self, cell: Cell, fraction: float) -> _Done | None:
        """Take a cell from the store, or run it; None where there is no oracle."""
        self.progress(fraction, cell.title)
        key = self.bench.key(cell)
        tables = self._stored(key, cell)
        if tables is None:
            ran = self.bench.run(cell)
            if isinstance(ran, NoPlan):
                self._skip(cell.arm, cell.scenario, ran.reason)
                return None
            tables = ran
            self.store.put(key, tables)
        return _Done(cell, tables)

    def _skip(self, arm: Arm, scenario: Scenario, reason: str) -> None:
        skipped = Skipped(arm=arm.name, scenario=scenario.name, reason=reason)
        if skipped not in self.skipped:
            self.skipped.append(skipped)

    def _choose(self, name: str, modes: Sequence[Deployment], done: Sequence[_Done]) -> ChosenDeployment:
        tried = []
        for mode in modes:
            own = [one for one in done if (one.cell.arm.name, one.cell.deployment) == (name, mode)]
            returns = np.concatenate([_column(one, "return") for one in own]) if own else np.empty(0)
            certain = bool(own) and all(self._is_certain(one.cell) for one in own)
            interval = _interval(returns, certain, self.spec.confidence, self.seed)
            tried.append(Tried(mode, interval, sum(_violated(one) for one in own)))
        return choose(name, tried, seed=self.seed + CHOICE_SEED_OFFSET)

    def _row(self, done: _Done) -> Row:
        cell, episodes = done.cell, done.tables.episodes
        certain = self._is_certain(cell)
        independent = 1 if certain else cell.episodes
        violated = _violated(done)
        steps = max(1, int(_column(done, "steps").sum()))
        return Row(
            arm=cell.arm.name,
            mode=cell.mode,
            shield=cell.shield,
            scenario=cell.scenario.name,
            n=cell.episodes,
            returns=Estimate.of(_interval(_column(done, "return"), certain, self.spec.confidence, self.seed)),
            violations=Violations(
                episodes_with=violated,
                n=cell.episodes,
                independent=independent,
                upper95=clopper_pearson_upper(min(violated, independent), independent),
            ),
            interventions_per_100_steps=100.0 * float(_column(done, "interventions").sum()) / steps,
            margins_min={limit.id: _least(episodes, f"margin_min.{limit.id}") for limit in self.plant.limits},
            goals={name: self._goal(done, name, certain) for name in goal_verbs(self.plant.spec)},
        )

    def _goal(self, done: _Done, name: str, certain: bool) -> GoalResult:
        shares, robustness = _column(done, f"goal.{name}"), _column(done, f"robustness.{name}")
        counted = shares[np.isfinite(shares)]  # an episode whose task ended before the goal was asked says nothing
        margins = robustness[np.isfinite(robustness)]
        return GoalResult(
            satisfaction=Estimate.of(_interval(counted, certain, self.spec.confidence, self.seed)),
            episodes_in_full=int((counted >= 1.0).sum()),
            robustness_min=float(margins.min()) if len(margins) else None,
        )

    def _verdict(self, chosen: ChosenDeployment | None, reported: Sequence[_Done]) -> Verdict:
        margin = self.spec.margin
        if chosen is None:
            return no_verdict("There is no policy among the arms.", margin)
        candidate = Candidate(arm=chosen.arm, mode=chosen.label, shield=self.shields[0])
        incumbent = next((arm for arm in self.arms if arm.kind == "incumbent"), None)
        if incumbent is None:
            return no_verdict("There is no incumbent to compare with: the plant has no safety spec.", margin, candidate)
        pairs = [self._pair(scenario, candidate, incumbent, reported) for scenario in self.spec.scenarios]
        return judge(
            candidate,
            Candidate(arm=incumbent.name, shield=self.shields[0]),
            pairs,
            margin=margin,
            confidence=self.spec.confidence,
            seed=self.seed,
        )

    def _pair(self, scenario: Scenario, candidate: Candidate, incumbent: Arm, reported: Sequence[_Done]) -> Pair:
        here = {
            (done.cell.arm.name, done.cell.mode): done
            for done in reported
            if done.cell.scenario == scenario and done.cell.shield == candidate.shield
        }
        ours, theirs = here[candidate.arm, candidate.mode], here[incumbent.name, ""]
        return Pair(
            scenario=scenario.name,
            candidate=_column(ours, "return"),
            incumbent=_column(theirs, "return"),
            candidate_violations=_violated(ours),
            incumbent_violations=_violated(theirs),
            deterministic=self._is_certain(ours.cell) and self._is_certain(theirs.cell),
        )

    def _chance(self, scenario: Scenario) -> tuple[str, ...]:
        return chance_in_plant(self.plant, scenario) + chance_in_sensors(self.plant, scenario)

    def _is_certain(self, cell: Cell) -> bool:
        """Whether every episode of the cell is the same: nothing is drawn in plant, sensors or policy."""
        draws = cell.deployment is not None and cell.deployment.noise_scale > 0.0
        return not draws and not self._chance(cell.scenario)


@contextmanager
def _few_threads(rows: int) -> Iterator[None]:
    """Compute small batches on one thread: handing a few rows to several takes longer, 25 times on a busy machine."""
    before = torch.get_num_threads()
    if rows <= SMALL_BATCH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _interval(values: Floats, certain: bool, confidence: float, seed: int) -> Interval:
    """Estimate a mean return; equal episodes of a deterministic plant are one, whatever the rounding."""
    if certain and len(values) and np.isfinite(values).all():
        return only_episode(float(values.mean()), len(values))
    return bootstrap_interval(values, confidence, seed)


def _column(done: _Done, name: str) -> Floats:
    return np.asarray(done.tables.episodes[name].to_numpy(), dtype=np.float64)


def _violated(done: _Done) -> int:
    """Episodes in which a hard limit was passed."""
    return int((_column(done, "violations_hard") > 0).sum())


def _least(episodes: pa.Table, column: str) -> float | None:
    least = float(np.min(episodes[column].to_numpy()))
    return least if np.isfinite(least) else None


def _check_names(arms: Sequence[Arm]) -> None:
    names = [arm.name for arm in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PolicyError(f"arms: found {twice[0]!r} twice, expected names that differ. Rename one of the policies.")
