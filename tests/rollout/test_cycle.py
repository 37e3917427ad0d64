"""What is sent in one cycle is judged, also where it is not the policy's own action."""

from __future__ import annotations

import pytest
import torch

from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.rollout.cycle import ENFORCED, Cell, Cycle


class Hot:
    """An incumbent that asks for the hottest jacket, which no look ahead can certify for long."""

    def reset(self, batch: int) -> None: ...

    def act(self, signals: object, applied: torch.Tensor) -> torch.Tensor:
        return torch.full_like(applied, 310.0)


@pytest.mark.parametrize("authority", [0.0, 0.3])
def test_where_the_backup_acts_in_the_place_of_what_was_mixed_it_is_named_and_with_authority_a_guard(
    authority: float,
) -> None:
    plant = load_plant("cstr_late")
    assert plant.safety is not None
    cell = Cell(plant, plant.safety, lambda *_: (torch.full((1, 1), -1.0), {}), torch.Generator(), random_actions=False)
    cell.incumbent = Hot()  # type: ignore[assignment]
    simulation = Simulation(plant, 1, seed=5, autoreset=False)
    observation, last, guards = cell.begin(simulation), simulation.applied, []
    replaced = 0
    for _ in range(20):
        before = len(guards)
        cycle: Cycle = cell.run(
            simulation, observation, authority=authority, demote=lambda reason: guards.append(reason) or authority
        )
        reach = authority * 20.0
        mixed = cycle.incumbent + (cycle.shielded - cycle.incumbent).clamp(-reach, reach)
        expected = mixed.clamp(last - 3.0, last + 3.0).clamp(290.0, 310.0)
        named = any(code.startswith(ENFORCED) for code in cycle.reasons)
        assert named == (not torch.allclose(expected, cycle.applied))
        assert cycle.feasible == (not named or authority == 0.0)
        assert guards[before:] == (["infeasible"] if named and authority > 0.0 else [])
        replaced += named
        observation, last = cycle.transition.observation, cycle.applied
    assert replaced > 0
