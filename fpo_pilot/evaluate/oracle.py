"""The oracle: the best sequence of actions for an episode that is known beforehand. No controller can do better.

Single shooting: the cost of an episode as a function of its actions, in [−1, 1], is minimised by L-BFGS-B within the
limits, rates included. The gradient is by central differences, all of them as one batch of the simulation, so that
any plant will do, whatever its reward, disturbances and actuators. Several starts are tried for a few iterations, and
the best is carried to convergence.

It needs an episode that its actions decide. Elsewhere an open loop is no bound, and there is no oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from fpo_pilot.evaluate.arms import Sight, controller_actor
from fpo_pilot.evaluate.determinism import chance_in_plant
from fpo_pilot.plants.simulation import Simulation

if TYPE_CHECKING:
    from fpo_pilot.plants.plant import Plant
    from fpo_pilot.specs.evaluation import Scenario

Floats = np.ndarray[Any, np.dtype[np.float64]]

MOST_VARIABLES = 512
"""Steps times actions; beyond it the differences cost too much."""
DIFFERENCE = 1e-4
"""Step of the differences, of a half span: the error is about 1e-8 of the cost's curvature."""
STARTS = 2
FIRST_ITERATIONS = 3
MOST_ITERATIONS = 100
_MEMORY = 30
_TOLERANCE = 1e-7
_TRIP = 10.0
"""A trip costs this many times the largest cost of a step, for every step that is lost."""


@dataclass(frozen=True)
class Plan:
    """The best actions found, ``[T, A]`` in engineering units, and what they cost."""

    actions: Tensor
    cost: float
    gradients: int


@dataclass(frozen=True)
class NoPlan:
    """There is no oracle here, for this reason."""

    reason: str


def plan_episode(plant: Plant, scenario: Scenario, *, starts: int = STARTS) -> Plan | NoPlan:
    """Minimise the cost (−return) of an episode over its actions.

    Args:
        plant: the plant.
        scenario: the condition.
        starts: how many of the starting sequences are tried.

    Returns:
        The plan, or the reason why there is none.
    """
    drawn = chance_in_plant(plant, scenario)
    if drawn:
        return NoPlan(f"the episode is not decided by its actions: {', '.join(drawn)} is drawn")
    variables = plant.horizon * len(plant.action_names)
    if variables > MOST_VARIABLES:
        return NoPlan(f"the episode has {variables} actions to choose, more than {MOST_VARIABLES}")
    problem = _Problem(plant, scenario)
    candidates = _starting_points(plant, scenario)
    costs = problem.costs(candidates)
    best: tuple[float, Floats] | None = None
    for index in np.argsort(costs)[:starts]:
        found = problem.minimise(candidates[index], FIRST_ITERATIONS)
        if best is None or found[0] < best[0]:
            best = found
    if best is None or not np.isfinite(best[0]):
        return NoPlan("no starting sequence has a finite cost")
    cost, actions = problem.minimise(best[1], MOST_ITERATIONS)
    return Plan(problem.play(actions), cost, problem.gradients)


class _Problem:
    """Cost and gradient of action sequences, flat ``[T·A]`` in [−1, 1]."""

    def __init__(self, plant: Plant, scenario: Scenario) -> None:
        self.plant = plant
        self.variables = plant.horizon * len(plant.action_names)
        self.batch = 2 * self.variables + 1
        self.simulation = Simulation(plant, self.batch, scenario=scenario, autoreset=False)
        self.gradients = 0
        self._applied: list[Tensor] = []
        limits = {} if plant.safety is None else plant.safety.actions
        rates = [limits[name].rate if name in limits else None for name in plant.action_names]
        self._rate = torch.tensor([torch.inf if rate is None else rate for rate in rates], dtype=torch.float64)

    def play(self, sequence: Floats) -> Tensor:
        """Return the actions ``[T, A]`` in engineering units that a sequence ``[T·A]`` comes to within the rates."""
        self.costs(sequence[None])
        return torch.stack(self._applied)

    def costs(self, sequences: Floats) -> Floats:
        """Return the costs ``[K]`` of up to ``2·T·A + 1`` sequences ``[K, T·A]``."""
        rows = np.concatenate([sequences, np.repeat(sequences[-1:], self.batch - len(sequences), axis=0)])
        normalised = torch.from_numpy(rows).reshape(self.batch, self.plant.horizon, -1)
        simulation = self.simulation
        simulation.reset()
        cost = torch.zeros(self.batch, dtype=torch.float64)
        dearest = torch.zeros_like(cost)
        running = torch.ones(self.batch, dtype=torch.bool)
        self._applied = []
        for step in range(self.plant.horizon):
            last = simulation.applied
            asked = self.plant.to_engineering(normalised[:, step])
            transition = simulation.step(torch.clamp(asked, last - self._rate, last + self._rate))
            self._applied.append(transition.applied[0].clone())
            spent = -torch.stack([term.to(torch.float64) for term in transition.terms.values()]).sum(dim=0)
            cost = cost + torch.where(running, spent, 0.0)
            dearest = torch.maximum(dearest, spent.abs().nan_to_num())
            tripped = running & transition.tripped
            cost = cost + torch.where(tripped, _TRIP * (1.0 + dearest) * (self.plant.horizon - step), 0.0)
            running = running & ~transition.terminated
        return np.asarray(cost[: len(sequences)].numpy())

    def minimise(self, start: Floats, iterations: int) -> tuple[float, Floats]:
        """Go down from ``start`` ``[T·A]``."""
        found = optimize.minimize(
            self._value_and_gradient,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-1.0, 1.0)] * self.variables,
            options={"maxiter": iterations, "maxcor": _MEMORY, "ftol": _TOLERANCE, "gtol": 1e-7},
        )
        return float(found.fun), np.asarray(found.x)

    def _value_and_gradient(self, point: Floats) -> tuple[float, Floats]:
        self.gradients += 1
        index = np.arange(self.variables)
        above, below = np.minimum(point + DIFFERENCE, 1.0), np.maximum(point - DIFFERENCE, -1.0)
        sequences = np.repeat(point[None], self.batch, axis=0)
        sequences[1 + index, index] = above
        sequences[1 + self.variables + index, index] = below
        costs = self.costs(sequences)
        gradient = (costs[1 : 1 + self.variables] - costs[1 + self.variables :]) / (above - below)
        return float(costs[0]), gradient


def _starting_points(plant: Plant, scenario: Scenario) -> Floats:
    """What hold and the incumbent would do, and constant actions, ``[K, T·A]`` in [−1, 1]."""
    kinds: Sequence[Any] = ("hold",) if plant.safety is None else ("hold", "incumbent")
    played = [_closed_loop(plant, scenario, kind) for kind in kinds]
    played += [np.full(plant.horizon * len(plant.action_names), level) for level in (-0.5, 0.0, 0.5)]
    return np.clip(np.stack(played), -1.0, 1.0)


def _closed_loop(plant: Plant, scenario: Scenario, kind: Any) -> Floats:
    simulation = Simulation(plant, 1, scenario=scenario, autoreset=False)
    observation = simulation.reset()
    actor = controller_actor(plant, kind, 1)
    actions = []
    for step in range(plant.horizon):
        asked = actor.propose(Sight(observation, simulation.signals(), simulation.applied, step))
        transition = simulation.step(asked)
        observation = transition.observation
        actions.append(plant.to_normalised(transition.applied)[0])
    return np.asarray(torch.stack(actions).reshape(-1).to(torch.float64).nan_to_num().numpy())
