"""The exact projection against SLSQP, by hand, and where it must say that there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields import project
from fpo_pilot.shields.projection import dual


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


@pytest.mark.parametrize(
    ("actions", "planes"), [(1, 1), (3, 1), (12, 1), (2, 2), (4, 3), (1, 4), (3, 4), (5, 4), (10, 3), (4, 6), (2, 9)]
)
def test_it_is_as_good_as_slsqp_and_agrees_on_what_is_infeasible(actions: int, planes: int) -> None:
    random = np.random.default_rng(100 * actions + planes)
    rows = 40
    proposal = random.normal(0, 2, (rows, actions))
    normals = random.normal(0, 1, (rows, planes, actions))
    offsets = random.normal(0.3, 1, (rows, planes))
    low, high = -np.ones(actions), np.ones(actions)
    weight = random.uniform(0.5, 2.0, actions)
    arrays = (torch.from_numpy(a) for a in (proposal, normals, offsets, low, high))
    got, feasible = project(*arrays, weight=torch.from_numpy(weight))
    for row in range(rows):
        best = oracle(proposal[row], normals[row], offsets[row], low, high, weight)
        assert bool(feasible[row]) == (best is not None), row
        if best is None:
            continue
        x = got[row].numpy()
        assert (normals[row] @ x <= offsets[row] + 1e-8).all()
        assert (x >= low - 1e-12).all()
        assert (x <= high + 1e-12).all()
        assert (weight**2 @ (x - proposal[row]) ** 2) <= best + 1e-9


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


def random_problem(actions: int, planes: int, rows: int = 6, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    at = {"generator": generator, "dtype": torch.float64}
    return [
        2.0 * torch.randn(rows, actions, **at),
        torch.randn(rows, planes, actions, **at),
        torch.rand(rows, planes, **at),
        -torch.ones(actions, dtype=torch.float64),
        torch.ones(actions, dtype=torch.float64),
        0.5 + torch.rand(rows, actions, **at),
    ]


@pytest.mark.parametrize("planes", [0, 1, 3, 5])
def test_its_gradient_is_that_of_finite_differences(planes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual, "_ROUNDS", 1)  # enough for these problems
    arguments = [argument.requires_grad_() for argument in random_problem(3, planes, rows=3)]
    _, feasible = project(*arguments[:5], weight=arguments[5])
    assert feasible.all()  # the origin is feasible
    assert torch.autograd.gradcheck(lambda *a: project(*a[:5], weight=a[5])[0], arguments, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("planes", [0, 1, 2, 6])
def test_it_runs_where_a_value_cannot_be_asked_for_and_on_an_empty_batch(
    planes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dual, "_ROUNDS", 1)
    arguments = random_problem(3, planes)
    got, feasible = project(*(argument.to("meta") for argument in arguments[:5]))
    assert (got.device.type, got.shape, feasible.shape) == ("meta", (6, 3), (6,))
    got, feasible = project(*(argument[:0] for argument in arguments[:3]), *arguments[3:5])
    assert (got.shape, feasible.shape) == ((0, 3), (0,))


def test_a_row_is_solved_the_same_alone_and_in_single_precision_nearly_so() -> None:
    arguments = random_problem(4, 3, rows=20)
    whole, _ = project(*arguments[:5])
    for row in range(20):
        alone, _ = project(*(argument[row : row + 1] for argument in arguments[:3]), *arguments[3:5])
        assert torch.allclose(alone, whole[row : row + 1], rtol=0.0, atol=1e-12)
    single, feasible = project(*(argument.float() for argument in arguments[:5]))
    assert single.dtype == torch.float32
    assert feasible.all()
    assert torch.allclose(single.double(), whole, rtol=0.0, atol=1e-5)


def test_bounds_may_be_infinite_and_the_same_half_space_may_be_given_twice() -> None:
    infinite = torch.tensor([torch.inf, torch.inf])
    got, feasible = project(torch.tensor([[5.0, 5.0]]), torch.ones(1, 2, 2), torch.ones(1, 2), -infinite, infinite)
    assert got[0].tolist() == pytest.approx([0.5, 0.5])
    assert feasible.all()


def test_a_proposal_too_far_away_to_tell_the_nearest_point_is_not_certified() -> None:
    got, feasible = project(
        torch.tensor([[1e30, 5.0]]), torch.ones(1, 2, 2), torch.tensor([[1.0, 1.5]]), torch.zeros(2), torch.ones(2)
    )
    assert not feasible.any()
    assert ((got >= 0.0) & (got <= 1.0)).all()


def test_shapes_that_do_not_fit_are_refused_with_both_shapes() -> None:
    with pytest.raises(ShieldError, match=r"\(2, 3\).*\(2, 1, 2\)"):
        project(torch.zeros(2, 3), torch.zeros(2, 1, 2), torch.zeros(2, 1), -torch.ones(3), torch.ones(3))
    with pytest.raises(ShieldError, match="batch dimension"):
        project(torch.zeros(3), torch.zeros(1, 3), torch.zeros(1), -torch.ones(3), torch.ones(3))


def test_a_bound_that_single_precision_cannot_say_is_kept() -> None:
    bound = torch.tensor([350.1], dtype=torch.float64)  # the nearest float32 is 350.1000061
    for sign in (1.0, -1.0):
        low, high = (torch.zeros(1), bound) if sign > 0 else (-bound, torch.zeros(1))
        got, feasible = project(
            torch.tensor([[sign * 400.0]]), torch.zeros(1, 0, 1), torch.zeros(1, 0), low.double(), high.double()
        )
        assert got.dtype == torch.float32
        assert feasible.all()
        assert float(got.double().abs()) <= 350.1


@pytest.mark.parametrize("planes", [1, 2])
def test_a_gradient_with_respect_to_the_weight_is_finite_where_a_bound_is_not(planes: int) -> None:
    proposal, normals, offsets, low, _, weight = random_problem(3, planes, rows=3)
    weight.requires_grad_()
    got, _ = project(proposal, normals, offsets, low, torch.full_like(low, torch.inf), weight=weight)
    got.sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()
