"""Ten thousand projections against an oracle of another kind: every set of constraints that could be active is tried."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from fpo_pilot.shields import project

CLOSE = 1e-9


def best_of_all_faces(proposal: Tensor, normals: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Return the least weighted squared distance ``[B]``; infinite where no point satisfies all.

    The nearest point of a polytope is the nearest point of some face of it, whose constraints are independent: so it is the least
    distance among the projections on the intersections of at most A constraints that satisfy the others as well.
    """
    rows, count, actions = normals.shape
    scaled = normals / weight  # in y = weight · x the norm is the plain one
    target = proposal * weight
    best = torch.full((rows,), torch.inf, dtype=torch.float64)
    for size in range(actions + 1):
        for chosen in combinations(range(count), size):
            face, level = scaled[:, chosen], offsets[:, chosen]
            gram = face @ face.mT
            regular = torch.linalg.det(gram).abs() > 1e-12 if size else torch.ones(rows, dtype=torch.bool)
            safe = torch.where(regular[:, None, None], gram, torch.eye(size, dtype=torch.float64))
            beyond = (face @ target[..., None])[..., 0] - level
            pushed = torch.linalg.solve(safe, beyond[..., None])[..., 0]
            point = target - (face.mT @ pushed[..., None])[..., 0]
            allowed = regular & ((scaled @ point[..., None])[..., 0] <= offsets + CLOSE).all(dim=-1)
            distance = (point - target).square().sum(dim=-1)
            best = torch.where(allowed, torch.minimum(best, distance), best)
    return best


@pytest.mark.parametrize(
    ("actions", "planes", "rows"), [(1, 1, 2000), (2, 2, 2000), (2, 4, 2000), (3, 3, 2000), (3, 4, 1200), (4, 3, 800)]
)
def test_no_face_of_the_polytope_is_nearer_and_feasibility_agrees(actions: int, planes: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(10 * actions + planes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    proposal, normals, offsets = 2.0 * normal(rows, actions), normal(rows, planes, actions), 0.3 + normal(rows, planes)
    low, high = -torch.ones(actions, dtype=torch.float64), torch.ones(actions, dtype=torch.float64)
    weight = 0.5 + 1.5 * torch.rand(actions, generator=generator, dtype=torch.float64)
    got, feasible = project(proposal, normals, offsets, low, high, weight=weight)
    sides = torch.cat((torch.eye(actions), -torch.eye(actions))).double().expand(rows, -1, -1)
    every = torch.cat((normals, sides), dim=1)
    levels = torch.cat((offsets, torch.ones(rows, 2 * actions, dtype=torch.float64)), dim=1)
    wanted = best_of_all_faces(proposal, every, levels, weight)
    assert torch.equal(feasible, wanted.isfinite())
    assert int(feasible.sum()) > 0
    assert actions == 1 or int(feasible.sum()) < rows  # there were contradictions to find
    found = (weight * (got - proposal)).square().sum(dim=-1)[feasible]
    assert float((found - wanted[feasible]).abs().max()) < CLOSE
    kept = (every @ got[..., None])[..., 0] - levels
    assert float(kept[feasible].max()) < CLOSE
