"""The runs that the deep questions are about: each is made once, when it is first asked for.

Letters: T steps, B rows, S states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.plants.transition import Transition
from fpo_pilot.plants.watched import state_ranges

ROWS = 3
"""Rows of a trajectory."""
NUDGE = 1e-6
"""Disturbance of the start, in ranges of the states, by whose growth a chaotic plant is known."""
_SWING = 0.25
"""The actions of a trajectory keep within this part of their span about the start: a trip would end the comparison."""
_HELD = 5
_KEEP, _LOW, _HIGH, _BANG = range(4)


@dataclass(frozen=True)
class Path:
    """A trajectory under a fixed sequence of actions."""

    states: Tensor
    """``[T, B, S]`` float64."""
    tripped: Tensor
    """``[T, B]``."""


@dataclass
class Trial:
    """A plant on trial.

    Args:
        plant: the plant.
        steps: length of every trajectory; that of the episode if it is shorter.
    """

    plant: Plant
    steps: int

    def __post_init__(self) -> None:
        """No trajectory is longer than an episode."""
        self.steps = min(self.steps, self.plant.horizon)

    @cached_property
    def start(self) -> Tensor:
        """Start states ``[B, S]`` float64."""
        return Simulation(self.plant, ROWS, seed=0).state

    @cached_property
    def actions(self) -> Tensor:
        """Actions ``[T, B, A]`` in engineering units, each held for a few steps."""
        plant, generator = self.plant, torch.Generator().manual_seed(1)
        low, high, start = (
            torch.tensor(row, dtype=torch.float64) for row in (plant.action_low, plant.action_high, plant.action_start)
        )
        shape = (-(-self.steps // _HELD), ROWS, len(plant.action_names))
        uniform = 2.0 * torch.rand(shape, dtype=torch.float64, generator=generator) - 1.0
        held = torch.clamp(start + _SWING * (high - low) * uniform, low, high)
        return held.repeat_interleave(_HELD, dim=0)[: self.steps]

    @cached_property
    def path(self) -> Path:
        """The trajectory in float64; disturbances and parameters are nominal, as in all of them."""
        return self.follow(self.plant, self.start, self.actions)

    @cached_property
    def growth(self) -> Tensor:
        """By how much a nudge of the start has grown at each step, ``[T, B]``; never less than before."""
        low, high = state_ranges(self.plant, self.start)
        nudged = self.follow(self.plant, self.start + NUDGE * (high - low), self.actions)
        return torch.cummax(self.distance(nudged), dim=0).values / NUDGE

    def follow(self, plant: Plant, state: Tensor, actions: Tensor) -> Path:
        """Step ``plant`` from ``state`` ``[B, S]`` under ``actions`` ``[T, B, A]``, in the type of the state."""
        states, trips = [], []
        for action in actions.to(state.dtype):
            state, tripped = plant.step(state, action)
            states.append(state.to(torch.float64))
            trips.append(tripped)
        return Path(torch.stack(states), torch.stack(trips))

    def distance(self, other: Path, rows: slice = slice(None)) -> Tensor:
        """Return ``[T, B]`` the distance to the trajectory, in ranges of the states; 0 where either has tripped."""
        low, high = state_ranges(self.plant, self.start)
        apart = ((other.states - self.path.states[:, rows]).abs() / (high - low)).amax(dim=-1)
        return torch.where(other.tripped | self.path.tripped[:, rows], 0.0, apart)

    def finer(self) -> Plant:
        """Return the plant with twice as many substeps."""
        dynamics = self.plant.spec.dynamics
        finer = dynamics.model_copy(update={"substeps": 2 * dynamics.substeps})
        return replace(self.plant, spec=self.plant.spec.model_copy(update={"dynamics": finer}))

    @cached_property
    def random_run(self) -> tuple[Transition, ...]:
        """The plant with all that is random in it, under random and extreme actions; see :meth:`simulate`."""
        return self.simulate(seed=5)

    def simulate(self, seed: int) -> tuple[Transition, ...]:
        """Run four rows of random actions, and rows of none, lowest, highest and alternating ones."""
        plant, generator = self.plant, torch.Generator().manual_seed(6)
        rows = 8
        simulation = Simulation(plant, rows, seed=seed, autoreset=False)
        found = []
        for step in range(self.steps):
            asked = 2.0 * torch.rand((rows, simulation.action_size), dtype=torch.float64, generator=generator) - 1.0
            asked[4 + _LOW], asked[4 + _HIGH] = -1.0, 1.0
            asked[4 + _BANG] = 1.0 if step % 2 else -1.0
            action = plant.to_engineering(asked)
            action[4 + _KEEP] = simulation.applied[4 + _KEEP]
            found.append(simulation.step(action))
        return tuple(found)


def running(run: tuple[Transition, ...]) -> Tensor:
    """Tell ``[T, B]`` which steps of a run without resets belong to an episode, its last one included."""
    ended = torch.stack([step.terminated | step.truncated for step in run]).cummax(dim=0).values
    return torch.cat((torch.ones_like(ended[:1]), ~ended[:-1]))
