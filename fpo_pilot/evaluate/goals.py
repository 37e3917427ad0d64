"""How far each episode keeps the goals of its plant: the share of the steps that count, and the robustness.

``avoid`` says always not, ``reach`` eventually, ``drive`` from ``within_steps`` on always (which is the same as: within so
many steps, and from then on always). Their robustness over an episode is the least of its steps, and for ``reach`` the
greatest. After a trip the plant stands still, so the steps that it loses count as not satisfied; after a declared end of
the task nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from fpo_pilot.plants.plant import Plant
    from fpo_pilot.plants.transition import Transition
    from fpo_pilot.specs.plant import Goal

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class GoalScores:
    """By goal, one number of each episode ``[B]``; NaN where the episode ended before the goal was asked."""

    satisfaction: dict[str, Array]
    """Share, 0 to 1, of the steps that count at which the goal is kept; of ``reach`` whether it was reached."""
    robustness: dict[str, Array]
    """Least margin over the goal's scale (of ``reach`` the greatest): positive where the goal is kept in full."""


@dataclass
class GoalTally:
    """Counts while B episodes run."""

    plant: Plant
    episodes: int
    goals: tuple[Goal, ...] = field(init=False)
    kept: dict[str, Tensor] = field(init=False)
    robustness: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing kept and nothing known."""
        self.goals = tuple(goal for goal in self.plant.spec.goals if goal.minimize is None and goal.maximize is None)
        worst = {goal.name: -torch.inf if goal.reach is not None else torch.inf for goal in self.goals}
        self.kept = {name: torch.zeros(self.episodes, dtype=torch.int64) for name in worst}
        self.robustness = {
            name: torch.full((self.episodes,), value, dtype=torch.float64) for name, value in worst.items()
        }

    def add(self, transition: Transition, running: Tensor) -> None:
        """Count one step where an episode is still running, ``[B]``."""
        for goal in self.goals:
            counts = running & (transition.episode_length >= _first_step(goal))
            holds = transition.kpi[f"goal.{goal.name}"] > 0.0
            self.kept[goal.name] = self.kept[goal.name] + (holds & counts)
            before, now = self.robustness[goal.name], transition.robustness[goal.name].to(torch.float64)
            extreme = torch.maximum(before, now) if goal.reach is not None else torch.minimum(before, now)
            self.robustness[goal.name] = torch.where(counts, extreme, before)

    def scores(self, steps: Array, tripped: Array) -> GoalScores:
        """Close the count.

        Args:
            steps: ``[B]`` steps of each episode.
            tripped: ``[B]`` whether it ended by a trip.
        """
        satisfaction, robustness = {}, {}
        due = np.where(tripped, self.plant.horizon, steps)
        for goal in self.goals:
            kept, extreme = self.kept[goal.name].numpy(), self.robustness[goal.name].numpy()
            if goal.reach is not None:
                satisfaction[goal.name] = (kept > 0).astype(np.float64)
            else:
                counted = np.maximum(due - _first_step(goal) + 1, 0)
                satisfaction[goal.name] = np.where(counted > 0, kept / np.maximum(counted, 1), np.nan)
            robustness[goal.name] = np.where(np.isfinite(extreme), extreme, np.nan)
        return GoalScores(satisfaction, robustness)


def _first_step(goal: Goal) -> int:
    """Return the length of an episode from which on a goal counts."""
    return goal.within_steps or 1
