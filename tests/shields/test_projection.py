"""The exact projection against SLSQP, by hand, and where it must say that there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from fpo_pilot.shields import project


def oracle(proposal, normals, offsets, low, high, weight):
    feasible = linprog(np.zeros(len(proposal)), A_ub=normals, b_ub=offsets, bounds=list(zip(low, high, strict=True)))
    if feasible.status == 2:
        return None
    square = weight**2
    best = None
    for start in (feasible.x, np.clip(proposal, low, high)):
        found = minimize(
            lambda x: float(square @ (x - proposal) ** 2),
            start,
            jac=lambda x: 2 * square * (x - proposal),
            bounds=list(zip(low, high, strict=True)),
            constraints=[{"type": "ineq", "fun": lambda x: offsets - normals @ x, "jac": lambda x: -normals}],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        if (normals @ found.x <= offsets + 1e-9).all() and (best is None or found.fun < best):
            best = found.fun
    return best


@pytest.mark.parametrize(("actions", "planes"), [(1, 1), (3, 1), (2, 2), (4, 3), (3, 4), (4, 6)])
def test_it_is_as_good_as_slsqp_and_agrees_on_what_is_infeasible(actions: int, planes: int) -> None:
    random = np.random.default_rng(100 * actions + planes)
    rows = 60
    proposal = random.normal(0, 2, (rows, actions))
    normals = random.normal(0, 1, (rows, planes, actions))
    offsets = random.normal(0.3, 1, (rows, planes))
    low, high = -np.ones(actions), np.ones(actions)
    weight = random.uniform(0.5, 2.0, actions)
    arrays = (torch.from_numpy(a) for a in (proposal, normals, offsets, low, high))
    got, feasible = project(*arrays, weight=torch.from_numpy(weight))
    missed = 0
    for row in range(rows):
        best = oracle(proposal[row], normals[row], offsets[row], low, high, weight)
        if planes <= 4:
            assert bool(feasible[row]) == (best is not None), row
        if not feasible[row]:
            missed += best is not None  # beyond four half-spaces an iteration that has not arrived counts as infeasible
            continue
        assert best is not None, row
        x = got[row].numpy()
        assert (normals[row] @ x <= offsets[row] + 1e-8).all()
        assert (x >= low - 1e-12).all()
        assert (x <= high + 1e-12).all()
        assert (weight**2 @ (x - proposal[row]) ** 2) <= best + (1e-9 if planes <= 4 else 1e-6)
    assert missed <= rows // 10


def test_a_corner_cut_by_hand() -> None:
    # nearest point of x + y ≤ 1 to (1, 1) is (½, ½); with x ≤ 0.2 it is (0.2, 0.8)
    plane, offset = torch.tensor([[[1.0, 1.0]]]).double(), torch.tensor([[1.0]]).double()
    point = torch.ones(1, 2).double()
    got, feasible = project(point, plane, offset, torch.zeros(2).double(), torch.ones(2).double())
    assert got[0].tolist() == pytest.approx([0.5, 0.5])
    assert feasible.all()
    got, _ = project(point, plane, offset, torch.zeros(2).double(), torch.tensor([0.2, 1.0]).double())
    assert got[0].tolist() == pytest.approx([0.2, 0.8])


def test_a_proposal_that_satisfies_all_is_returned_as_it_is() -> None:
    got, feasible = project(
        torch.tensor([[0.1, -0.2]]), torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.5]]), -torch.ones(2), torch.ones(2)
    )
    assert got.tolist() == [[pytest.approx(0.1), pytest.approx(-0.2)]]
    assert feasible.all()
    assert got.dtype == torch.float32


def test_a_contradiction_is_flagged_and_its_neighbours_are_not() -> None:
    normals = torch.tensor([[[1.0], [-1.0]], [[1.0], [-1.0]]]).double()
    offsets = torch.tensor([[-0.5, -0.5], [0.5, 0.5]]).double()  # x ≤ −½ and x ≥ ½; then −½ ≤ x ≤ ½
    got, feasible = project(
        torch.tensor([[0.9], [0.9]]).double(), normals, offsets, -torch.ones(1).double(), torch.ones(1).double()
    )
    assert feasible.tolist() == [False, True]
    assert got[1].item() == pytest.approx(0.5)


def test_what_is_not_a_number_is_infeasible() -> None:
    _, feasible = project(
        torch.tensor([[float("nan")]]), torch.tensor([[[1.0]]]), torch.tensor([[0.5]]), -torch.ones(1), torch.ones(1)
    )
    assert not feasible.any()
