"""Runs the stages on one simulated plant in accelerated time; what is decided is decided by the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fpo_pilot.errors import LogError, RolloutError
from fpo_pilot.evidence import GateResult
from fpo_pilot.evidence.blocks import Block, judge
from fpo_pilot.logs.decisions import Enter
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.rollout.blocks import switchback
from fpo_pilot.rollout.cycle import PROPOSAL, Cell, Cycle, PolicyAct
from fpo_pilot.rollout.machine import (
    BlockFinished,
    Event,
    GuardFired,
    RolloutState,
    StagePlan,
    advance,
    stage_name,
    start,
)
from fpo_pilot.rollout.plan import make_plan, stage_spec
from fpo_pilot.rollout.record import Recorder, set_aside
from fpo_pilot.specs import spec_hash
from fpo_pilot.specs.evaluation import FaultKind, Scenario, SensorFault
from fpo_pilot.specs.safety import SafetySpec, StageName

FAULT_FROM, FAULT_STEPS = 20, 10
"""A drill's fault comes in the middle of an episode and lasts long enough to be seen."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Injection:
    """A drill: a sensor fault in the first episode that the policy drives in ``stage``."""

    signal: str
    kind: FaultKind
    stage: StageName
    value: float = 0.0


@dataclass(frozen=True)
class RolloutResult:
    """How a roll-out ended."""

    folder: Path
    final_stage: str
    final_authority: float
    episodes: int
    transitions: tuple[dict[str, Any], ...]
    guards: tuple[dict[str, Any], ...]


def run_rollout(
    plant: Plant,
    safety: SafetySpec,
    policy_act: PolicyAct,
    run_dir: Path,
    *,
    seed: int,
    inject: Injection | None = None,
    random_actions: bool = False,
    progress: Progress | None = None,
    max_episodes: int | None = None,
    model_hash: str = "",
    command: str = "",
    enter: Enter | None = None,
    mode: str = "",
) -> RolloutResult:
    """Take a policy through the stages on the simulated plant.

    In shadow the incumbent drives and the policy computes beside it. In bounded and full, episodes of the policy and of the
    incumbent alternate in switchback pairs whose order is drawn before the start. It ends when full authority has held for
    its least number of blocks, on a hold or a roll-back (only an operator goes on from there), or after ``max_episodes``.

    Args:
        plant: the plant.
        safety: its safety spec, with stages.
        policy_act: the policy as deployed.
        run_dir: gets steps/, blocks.parquet, events.parquet, rollout.json; an earlier roll-out there is moved to ``earlier/``.
        seed: of the plant, the policy's noise and the switchback.
        inject: a sensor fault to drill.
        random_actions: a drill with random actions in the policy's place.
        progress: told the number of episodes and the stage.
        max_episodes: stop after so many.
        model_hash: of the policy's checkpoint.
        command: for the record.
        enter: enters decisions in the ledger of the run, as they happen; None where there is none.
        mode: how the policy is deployed, for the step log.

    Raises:
        RolloutError: the spec has no stages, or the fault names no measured signal.
    """
    if inject is not None and inject.signal not in plant.measured_names:
        raise RolloutError(
            f"inject: found the signal {inject.signal!r}, expected one of {', '.join(plant.measured_names)}. Name a measured signal."
        )
    hashes = {"model": model_hash, "plant": spec_hash(plant.spec), "safety": spec_hash(safety)}
    plan = make_plan(safety, tuple(hashes.values()))
    notes = set_aside(run_dir)
    runner = _Runner(
        plant,
        safety,
        plan,
        policy_act,
        Recorder(run_dir, plant, hashes, enter, mode),
        seed,
        inject=inject,
        random_actions=random_actions,
    )
    for text in notes:
        runner.record.note(text)
    try:
        runner.run(max_episodes, progress or (lambda done, text: None))
    except BaseException:
        runner.record.abandon()
        raise
    state = runner.state
    document = runner.record.finish(
        command=command,
        seed=seed,
        final_stage=stage_name(state, plan),
        final_authority=state.authority,
    )
    return RolloutResult(
        folder=run_dir,
        final_stage=document["final_stage"],
        final_authority=document["final_authority"],
        episodes=document["episodes"],
        transitions=tuple(document["transitions"]),
        guards=tuple(document["guards"]),
    )


class _Runner:
    """The roll-out under way."""

    def __init__(
        self,
        plant: Plant,
        safety: SafetySpec,
        plan: StagePlan,
        act: PolicyAct,
        record: Recorder,
        seed: int,
        *,
        inject: Injection | None,
        random_actions: bool,
    ) -> None:
        seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(4)]
        self.plant, self.safety, self.plan, self.record, self.inject = plant, safety, plan, record, inject
        self.cell = Cell(plant, safety, act, torch.Generator().manual_seed(seeds[0]), random_actions=random_actions)
        self.simulation = Simulation(plant, 1, seed=seeds[1], autoreset=False)
        self.faulty: Simulation | None = None
        if inject is not None:
            fault = SensorFault(
                signal=inject.signal,
                kind=inject.kind,
                from_step=FAULT_FROM,
                to_step=FAULT_FROM + FAULT_STEPS,
                value=inject.value,
            )
            self.faulty = Simulation(plant, 1, seed=seeds[3], scenario=Scenario(faults=(fault,)), autoreset=False)
        most = sum(rung.max_blocks for rung in plan.rungs)
        self.schedule = switchback(seeds[2], most)
        self.state: RolloutState = start(plan)
        self.rung_blocks: list[Block] = []
        self.results: list[GateResult] = []
        """What the gates of the rung said after its last block."""
        self.pairs = 0
        self.hard = {limit.id for limit in safety.limits if limit.kind == "hard"}

    def run(self, max_episodes: int | None, progress: Progress) -> None:
        """Run episode after episode until the machine stands still."""
        for arm, pair in self._arms():
            if max_episodes is not None and len(self.record.blocks) >= max_episodes:
                break
            rung, before = self.plan.rungs[self.state.rung], self.state
            with torch.inference_mode():
                block = self._episode(arm, pair)
            progress(float(len(self.record.blocks) + 1), f"{rung.stage} {before.authority:g}")
            self._keep(block)
            self.rung_blocks.append(block)
            if self.state.mode != "running":
                break
            self._decide(block)
            if self.state.mode != "running" or self._is_done():
                break
        if self.state.mode == "running" and self.rung_blocks:
            self._enter(self.results, self.plan.rungs[self.state.rung].stage, self.state.authority)

    def _arms(self) -> Iterator[tuple[str, int | None]]:
        """Yield who drives next; a rung that is entered begins with a whole pair."""
        while True:
            if self.state.authority <= 0.0:
                yield "incumbent", None
                continue
            pair, rung = self.pairs, self.state.rung
            self.pairs += 1
            for arm in self.schedule[pair % len(self.schedule)]:
                if self.state.rung == rung:
                    yield arm, pair

    def _is_done(self) -> bool:
        last = len(self.plan.rungs) - 1
        return self.state.rung == last and self.state.blocks >= self.plan.rungs[last].min_blocks

    def _episode(self, arm: str, pair: int | None) -> Block:
        rung = self.plan.rungs[self.state.rung]
        stage, driven = stage_spec(self.safety, rung.stage), self.state.authority
        episode = len(self.record.blocks)
        simulation = self._simulation_for(arm, rung.stage)
        observation = self.cell.begin(simulation)
        first = self.record.clock
        counts = {"violations_hard": 0, "interventions": 0, "infeasible": 0}
        latencies: list[float] = []
        distances: list[float] = []
        returned, step = 0.0, 0
        for step in range(self.plant.horizon):
            authority = self.state.authority if arm == "policy" else 0.0

            def demote(reason: str, step: int = step, arm: str = arm) -> float:
                self._guard(reason, rung.stage, episode, step)
                return self.state.authority if arm == "policy" else 0.0

            cycle = self.cell.run(simulation, observation, authority=authority, demote=demote)
            self._log(cycle, stage=rung.stage, arm=arm, episode=episode, step=step)
            violated = self._violated(cycle.transition.margins) or bool(cycle.transition.tripped)
            if violated and arm == "policy":
                self._guard("hard_violation", rung.stage, episode, step)
            for name, happened in (
                ("violations_hard", violated),
                ("interventions", cycle.altered),
                ("infeasible", not cycle.feasible),
            ):
                counts[name] += int(happened)
            latencies.append(cycle.latency_us)
            distances.append(cycle.distance)
            returned += float(cycle.transition.reward)
            observation = cycle.transition.observation
            if bool(cycle.transition.terminated) or bool(cycle.transition.truncated):
                break
        return Block(
            seq=first,
            stage=rung.stage,
            rung=self.state.rung,
            authority=driven,
            arm=arm,
            pair=pair,
            episode=episode,
            steps=step + 1,
            returned=returned,
            distance=(distance := float(np.sqrt(np.mean(np.square(distances))))),
            outside_band=int(not distance <= stage.agreement_band),
            latency_us_p99=float(np.percentile(latencies, 99)),
            **counts,
        )

    def _simulation_for(self, arm: str, stage: str) -> Simulation:
        drilled = self.inject is not None and stage == self.inject.stage and (arm == "policy" or stage == "shadow")
        return self.faulty if drilled and self.faulty is not None else self.simulation

    def _violated(self, margins: Any) -> bool:
        return any(float(margin) < 0.0 for name, margin in margins.items() if name in self.hard)

    def _guard(self, reason: str, stage: str, episode: int, step: int) -> None:
        detail = {"error": self.cell.last_error} if reason == PROPOSAL and self.cell.last_error else None
        authority = self.state.authority
        self.record.guard(reason, stage=stage, authority=authority, episode=episode, step=step, detail=detail)
        self._tell(GuardFired(self.record.clock, reason), episode, step)

    def _decide(self, block: Block) -> None:
        rung, authority = self.plan.rungs[self.state.rung], self.state.authority
        self.results = judge(stage_spec(self.safety, rung.stage), self.rung_blocks)
        verdicts = {result.name: result.verdict for result in self.results}
        before = self.state.rung
        self._tell(BlockFinished(self.record.clock, verdicts), block.episode, block.steps - 1)
        if self.state.rung != before or self.state.mode != "running":
            self._enter(self.results, rung.stage, authority)
            self.rung_blocks = []
        if self.state.authority > authority:
            self._commit(block)

    def _enter(self, results: list[GateResult], stage: str, authority: float) -> None:
        """Record what the gates said of a rung."""
        self.record.verdicts(results, stage=stage, episode=len(self.record.blocks) - 1, authority=authority)

    def _log(self, cycle: Cycle, *, stage: str, arm: str, episode: int, step: int) -> None:
        """Log one cycle; without a log there is no authority."""
        try:
            self.record.cycle(cycle, stage=stage, arm=arm, episode=episode, step=step)
        except LogError as problem:
            raise self._unlogged(problem, stage, episode, step) from problem

    def _keep(self, block: Block) -> None:
        """Put the block on the disk; without a log there is no authority."""
        try:
            self.record.block(block)
        except LogError as problem:
            raise self._unlogged(problem, block.stage, block.episode, block.steps - 1) from problem

    def _commit(self, block: Block) -> None:
        """Put a promotion on the disk before its authority is used: after a crash none is found that was not granted."""
        try:
            self.record.commit()
        except LogError as problem:
            raise self._unlogged(problem, block.stage, block.episode, block.steps - 1) from problem

    def _unlogged(self, problem: LogError, stage: str, episode: int, step: int) -> RolloutError:
        """Take all authority away, and say why the roll-out ends here."""
        self._guard("log_unavailable", stage, episode, step)
        return RolloutError(
            f"{self.record.run_dir}: found that the log cannot be written ({problem}); all authority was taken away. "
            "Free space or mend the folder, then begin the roll-out again."
        )

    def _tell(self, event: Event, episode: int, step: int) -> None:
        self.state, changes = advance(self.state, event, self.plan)
        for change in changes:
            self.record.transition(change, episode=episode, step=step)
