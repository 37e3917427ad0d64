"""One batch of episodes, counted row by row: behind a shield, or with none.

Letters: B episodes of the batch, H steps of the horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fpo_pilot.certification.adversaries import HOLD, Proposer, Sequence, held, in_limits, least_fraction
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.plants.transition import Transition
from fpo_pilot.shields import ShieldContext
from fpo_pilot.shields.stack import ShieldStack
from fpo_pilot.shields.verdict import Verdict
from fpo_pilot.specs.evaluation import Scenario

SEARCHES = 4
"""Rounds of the sequence search."""
_ELITE = 0.25
_LEAST_SPREAD = 0.05


@dataclass(eq=False)
class Outcome:
    """What became of each episode ``[B]``, and its steps."""

    steps: Tensor
    violated: Tensor
    altered: Tensor
    infeasible: Tensor
    margins: dict[str, Tensor]
    """Least distance to each limit, in the unit of its signal."""
    score: Tensor
    """Least distance to a hard limit, as a fraction of the signal's range; −inf after a trip whose margin is not a number."""
    acted: dict[str, Tensor] = field(default_factory=dict)
    """By reason, whether interlocks latched, sequences held, or the integrity layer recognised something, at least once."""
    trace: dict[str, Tensor] = field(default_factory=dict)
    """``[H, B]`` true states, outputs, readings, proposals and applied actions, and whether the episode was running."""

    def rows(self, chosen: slice) -> Outcome:
        """Return some rows."""
        return Outcome(
            self.steps[chosen],
            self.violated[chosen],
            self.altered[chosen],
            self.infeasible[chosen],
            {name: value[chosen] for name, value in self.margins.items()},
            self.score[chosen],
            {name: value[chosen] for name, value in self.acted.items()},
            {name: value[:, chosen] for name, value in self.trace.items()},
        )


@torch.no_grad()
def run_batch(
    plant: Plant,
    scenario: Scenario,
    proposer: Proposer,
    *,
    episodes: int,
    seed: int,
    shield: ShieldStack | None,
    traced: bool = False,
) -> Outcome:
    """Run ``episodes`` copies to their ends.

    The seed decides start, disturbances and noise whatever is proposed, so row i with a shield and row i without it are a pair.

    Args:
        plant: what is driven.
        scenario: parameters and faults.
        proposer: who asks.
        episodes: B.
        seed: of the simulation.
        shield: what judges; None to send proposals to the actuators, which keep their own range and rate.
        traced: keep every step.
    """
    simulation = Simulation(plant, episodes, seed=seed, scenario=scenario, autoreset=False)
    observation = simulation.reset()
    incumbent = incumbent_controller(plant)
    incumbent.reset(episodes)
    if shield is not None:
        shield.reset()
    tally = _Tally(plant, episodes)
    for step in range(plant.horizon):
        proposal = proposer.propose(simulation, observation, step).to(simulation.dtype)
        verdict: Verdict | None = None
        action = proposal
        if shield is not None:
            asked = incumbent.act(simulation.signals(), simulation.applied)
            context = ShieldContext.read(simulation, fallback=asked.to(proposal.dtype), period=plant.period)
            verdict = shield(context, proposal)
            action = verdict.action
        reading = simulation.measurement
        seen = simulation.step(action)
        tally.add(seen, proposal, verdict, reading if traced else None)
        observation = seen.observation
    return tally.outcome()


class _Tally:
    """Counts while episodes run."""

    def __init__(self, plant: Plant, episodes: int) -> None:
        self.plant = plant
        self.running = torch.ones(episodes, dtype=torch.bool)
        nothing = torch.zeros(episodes, dtype=torch.int64)
        self.steps, self.altered, self.infeasible = nothing, nothing, nothing
        self.violated = torch.zeros(episodes, dtype=torch.bool)
        self.score = torch.full((episodes,), torch.inf, dtype=torch.float64)
        self.margins: dict[str, Tensor] = {}
        self.acted: dict[str, Tensor] = {}
        self._trace: list[dict[str, Tensor]] = []

    def add(self, seen: Transition, proposal: Tensor, verdict: Verdict | None, reading: Tensor | None) -> None:
        """Count one step."""
        running = self.running
        self.steps = self.steps + running
        if verdict is not None:
            self.altered = self.altered + (running & verdict.altered(proposal))
            self.infeasible = self.infeasible + (running & ~verdict.feasible)
            for name, flag in _acts(self.plant, verdict).items():
                self.acted[name] = self.acted.get(name, torch.zeros_like(running)) | (running & flag)
        self.violated = self.violated | (running & (seen.cost > 0.0))
        infinite = torch.full_like(self.score, torch.inf)
        for name, margin in seen.margins.items():
            known = torch.where(running, margin.to(torch.float64), torch.inf)
            self.margins[name] = torch.minimum(self.margins.get(name, infinite), known)
        fraction = least_fraction(self.plant, dict(seen.margins), infinite)
        # a step in which a peak between two steps tripped the plant, or a state that is not finite, has no margin of its own
        fraction = torch.where(seen.tripped, torch.minimum(fraction, torch.zeros_like(fraction)), fraction)
        self.score = torch.where(running, torch.minimum(self.score, fraction), self.score)
        if reading is not None:
            self._trace.append(_traced(self.plant, seen, proposal, reading, running))
        self.running = running & ~(seen.terminated | seen.truncated)

    def outcome(self) -> Outcome:
        """Close the count."""
        names = self._trace[0].keys() if self._trace else ()
        trace = {name: torch.stack([row[name] for row in self._trace]) for name in names}
        return Outcome(
            self.steps, self.violated, self.altered, self.infeasible, self.margins, self.score, self.acted, trace
        )


def _acts(plant: Plant, verdict: Verdict) -> dict[str, Tensor]:
    """Return what layers did in a step, ``[B]`` bool by reason; the phases of a sequence are one."""
    found = {name: flag for name, flag in verdict.reasons.items() if name.startswith(("interlock:", "integrity."))}
    for rule in () if plant.safety is None else plant.safety.sequences:
        phases = [verdict.reasons.get(f"sequence:{rule.id}.{phase}") for phase in rule.phases]
        known = [flag for flag in phases if flag is not None]
        if known:
            found[f"sequence:{rule.id}"] = torch.stack(known).any(dim=0)
    return found


def _traced(plant: Plant, seen: Transition, proposal: Tensor, reading: Tensor, running: Tensor) -> dict[str, Tensor]:
    columns: Mapping[str, tuple[tuple[str, ...], Tensor]] = {
        "state": (plant.state_names, seen.state),
        "reading": (plant.measured_names, reading),
        "proposed": (plant.action_names, proposal),
        "applied": (plant.action_names, seen.applied),
    }
    row = {
        f"{kind}.{name}": column
        for kind, (names, values) in columns.items()
        for name, column in zip(names, values.unbind(-1), strict=True)
    }
    return row | {f"margin.{name}": margin for name, margin in seen.margins.items()} | {"running": running}


def search_sequences(plant: Plant, scenario: Scenario, *, episodes: int, seed: int, shield: ShieldStack) -> Sequence:
    """Search, by the cross-entropy method, open-loop sequences that come nearest to a hard limit behind the shield.

    Actions are held for ten steps. Each round draws B sequences, keeps the quarter with the least margins, and draws the next ones
    around them. Row i always has the same start and noise, so the worst sequence of each row over all rounds is returned as it was tried.

    Args:
        plant: what is driven.
        scenario: parameters and faults.
        episodes: B.
        seed: of the simulation and of the draws.
        shield: behind which is searched.

    Returns:
        ``[H, B, A]``.
    """
    generator = torch.Generator().manual_seed(seed)
    knots, actions = -(-plant.horizon // HOLD), len(plant.action_names)
    mean = torch.full((knots, 1, actions), 0.5, dtype=torch.float64)
    spread = torch.full_like(mean, 0.5)
    worst = torch.full((episodes,), torch.inf, dtype=torch.float64)
    kept = mean.expand(-1, episodes, -1).clone()
    for _ in range(SEARCHES):
        noise = torch.randn((knots, episodes, actions), generator=generator, dtype=torch.float64)
        tried = (mean + spread * noise).clamp(0.0, 1.0)
        proposals = Sequence(in_limits(plant, held(tried, plant.horizon)))
        score = run_batch(plant, scenario, proposals, episodes=episodes, seed=seed, shield=shield).score
        elite = tried[:, score.argsort()[: max(2, int(_ELITE * episodes))]]
        mean, spread = elite.mean(dim=1, keepdim=True), elite.std(dim=1, keepdim=True).clamp(min=_LEAST_SPREAD)
        kept = torch.where((score < worst)[None, :, None], tried, kept)
        worst = torch.minimum(worst, score)
    return Sequence(in_limits(plant, held(kept, plant.horizon)))
