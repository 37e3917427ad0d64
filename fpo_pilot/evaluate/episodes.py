"""Runs all episodes of one arm as one batch, through the shield or not, and counts and logs what happens.

Letters: B episodes, A actions, M measured signals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fpo_pilot.evaluate.arms import Actor, Sight
from fpo_pilot.evaluate.goals import GoalScores, GoalTally
from fpo_pilot.learn.step_record import Array, StepRecorder
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields.candidates import judge
from fpo_pilot.shields.verdict import ShieldContext

if TYPE_CHECKING:
    from fpo_pilot.plants.controllers import Controller
    from fpo_pilot.plants.plant import Plant
    from fpo_pilot.plants.transition import Transition
    from fpo_pilot.shields.stack import ShieldStack
    from fpo_pilot.shields.verdict import Verdict as ShieldVerdict
    from fpo_pilot.specs.evaluation import Scenario


@dataclass(frozen=True)
class EpisodeBatch:
    """Totals of each episode ``[B]``, and the logged steps of the first few."""

    steps: Array
    returns: Array
    terminated: Array
    truncated: Array
    tripped: Array
    """Whether the episode ended by a trip."""
    violations_hard: Array
    """Steps with a hard margin below 0."""
    violations_soft: Array
    interventions: Array
    """Steps in which the shield altered the proposal."""
    terms: dict[str, Array]
    margin_min: dict[str, Array]
    goals: GoalScores
    log: dict[str, Any]
    """Columns of the step log, by episode and then by step; empty if none was asked for."""


@dataclass(frozen=True)
class Conditions:
    """Under what an arm is run."""

    scenario: Scenario
    seed: int
    episodes: int
    log_episodes: int = 0


def run_episodes(
    plant: Plant, actor: Actor, conditions: Conditions, *, shield: ShieldStack | None, incumbent: Controller | None
) -> EpisodeBatch:
    """Run one batch of episodes to their ends.

    Args:
        plant: the plant.
        actor: what proposes the actions; reset for ``conditions.episodes`` episodes.
        conditions: scenario, seed, numbers of episodes. The seed decides start, disturbances and sensor noise, whatever
            the actor does, so episode i is the same for all arms.
        shield: what judges every proposal; None to let proposals reach the actuator, which clamps to its range.
        incumbent: runs along for the log, and as the shield's fallback; needed with a shield.

    Returns:
        Totals and logged steps. What comes after the end of an episode is not counted.
    """
    simulation = Simulation(
        plant, conditions.episodes, seed=conditions.seed, scenario=conditions.scenario, autoreset=False
    )
    observation = simulation.reset()
    if incumbent is not None:
        incumbent.reset(conditions.episodes)
    if shield is not None:
        shield.reset()
    tally = _Tally(plant, conditions.episodes)
    recorder = StepRecorder(plant, min(conditions.log_episodes, conditions.episodes))
    for step in range(plant.horizon):
        applied = simulation.applied.clone()
        signals = simulation.signals()
        asked = incumbent.act(signals, applied) if incumbent is not None else None
        proposal = actor.propose(Sight(observation, signals, applied, step)).to(applied.dtype)
        proposal, verdict = _judge(simulation, shield, proposal, applied, asked)
        action = proposal if verdict is None else verdict.action.to(applied.dtype)
        altered = torch.zeros_like(tally.running) if verdict is None else verdict.altered(proposal)
        recorder.before(simulation, asked, proposal, action)
        transition = simulation.step(action, altered)
        recorder.after(transition, altered, verdict)
        tally.add(transition, altered)
        observation = transition.observation
        if not bool(tally.running.any()):
            break
    return tally.batch(recorder)


def _judge(
    simulation: Simulation, shield: ShieldStack | None, proposal: Tensor, applied: Tensor, asked: Tensor | None
) -> tuple[Tensor, ShieldVerdict | None]:
    """Return what is proposed ``[B, A]``, of several candidates the one that the shield takes, and the verdict."""
    if shield is None:
        return (proposal if proposal.dim() == 2 else proposal[:, 0]), None
    fallback = torch.full_like(applied, torch.nan) if asked is None else asked.to(applied.dtype)
    period = simulation.plant.period
    context = ShieldContext.read(simulation, fallback=fallback, period=period, incumbent=asked)
    judged = judge(shield, context, proposal)
    return judged.proposal, judged.verdict


@dataclass
class _Tally:
    """Counts while episodes run; a row that has ended is not counted any more."""

    plant: Plant
    episodes: int
    running: Tensor = field(init=False)
    totals: dict[str, Tensor] = field(init=False)
    terms: dict[str, Tensor] = field(default_factory=dict)
    margins: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start with every episode running and nothing counted."""
        self.running = torch.ones(self.episodes, dtype=torch.bool)
        counted = ("steps", "violations_hard", "violations_soft", "interventions", "terminated", "truncated", "tripped")
        self.totals = {name: torch.zeros(self.episodes, dtype=torch.int64) for name in counted}
        self.kinds = {limit.id: limit.kind for limit in self.plant.limits}
        self.goals = GoalTally(self.plant, self.episodes)

    def add(self, transition: Transition, altered: Tensor) -> None:
        """Count one step."""
        running = self.running
        self._sum("steps", torch.ones_like(running))
        self._sum("interventions", altered)
        for kind in ("hard", "soft"):
            passed = torch.zeros_like(running)
            for name, margin in transition.margins.items():
                passed |= (margin < 0.0) & (self.kinds[name] == kind)
            if kind == "hard":
                passed |= transition.cost > 0.0
            self._sum(f"violations_{kind}", passed)
        for name, value in transition.terms.items():
            before = self.terms.get(name, torch.zeros(self.episodes, dtype=torch.float64))
            self.terms[name] = before + torch.where(running, value.to(torch.float64), 0.0)
        for name, margin in transition.margins.items():
            before = self.margins.get(name, torch.full((self.episodes,), torch.inf, dtype=torch.float64))
            self.margins[name] = torch.where(running, torch.minimum(before, margin.to(torch.float64)), before)
        self.goals.add(transition, running)
        self._sum("terminated", transition.terminated)
        self._sum("truncated", transition.truncated)
        self._sum("tripped", transition.tripped)
        self.running = running & ~(transition.terminated | transition.truncated)

    def batch(self, recorder: StepRecorder) -> EpisodeBatch:
        """Close the count."""
        numbers = {name: value.numpy() for name, value in self.totals.items()}
        terms = {name: value.numpy() for name, value in self.terms.items()}
        returns = np.sum(list(terms.values()), axis=0) if terms else np.zeros(self.episodes)
        return EpisodeBatch(
            steps=numbers["steps"],
            returns=returns,
            terminated=numbers["terminated"] > 0,
            truncated=numbers["truncated"] > 0,
            tripped=numbers["tripped"] > 0,
            violations_hard=numbers["violations_hard"],
            violations_soft=numbers["violations_soft"],
            interventions=numbers["interventions"],
            terms=terms,
            margin_min={name: value.numpy() for name, value in self.margins.items()},
            goals=self.goals.scores(numbers["steps"], numbers["tripped"] > 0),
            log=_logged(recorder, numbers["steps"]),
        )

    def _sum(self, name: str, happened: Tensor) -> None:
        self.totals[name] = self.totals[name] + (happened & self.running)


def _logged(recorder: StepRecorder, lengths: Array) -> dict[str, Any]:
    """Return the columns, episode by episode, without what came after the end of each."""
    tables = recorder.taken()
    if not tables:
        return {}
    kept = np.arange(tables["flags"].shape[1]) < np.asarray(lengths)[: recorder.rows, None]  # [E, T]
    episode, step = np.nonzero(kept)
    return {**recorder.columns(tables, kept), "episode_id": episode, "step": step, "t": recorder.times(step)}
