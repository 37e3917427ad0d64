"""The active-set search: what it proves is true, and it leaves next to nothing for the enumeration."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fpo_pilot.shields.projection import active, exact
from fpo_pilot.shields.projection.dual import certified_pattern
from fpo_pilot.shields.projection.problem import Problem, scaled, solve


def problem_of(proposal: Tensor, normals: Tensor, offsets: Tensor, high: float = 1.0) -> Problem:
    top = torch.full_like(proposal, high)
    return scaled(proposal, normals, offsets, -top, top, torch.ones_like(proposal))


def random_problem(actions: int, planes: int, rows: int) -> Problem:
    generator = torch.Generator().manual_seed(actions + 10 * planes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return problem_of(2.0 * normal(rows, actions), normal(rows, planes, actions), 0.3 + normal(rows, planes))


def table(*rows: list[float]) -> Tensor:
    return torch.tensor([*rows], dtype=torch.float64)


def test_a_constraint_is_let_go_again_by_hand() -> None:
    # Normals at 0°, 60° and −60°, passed by 2, 1.5 and 1.5: the first is taken in first, and 3 along it is what the other two ask for.
    half, root = 0.5, 0.75**0.5
    normals = table([1.0, 0.0], [half, root], [half, -root])[None]
    problem = problem_of(table([0.0, 0.0]), normals, table([-2.0, -1.5, -1.5]), high=10.0)
    multipliers, hopeless = active.settle(problem)
    _, y, certified = certified_pattern(problem, multipliers)
    assert y[0].tolist() == pytest.approx([-3.0, 0.0])
    assert multipliers[0].tolist() == pytest.approx([0.0, 3.0, 3.0])
    assert certified.all()
    assert not hopeless.any()


def test_a_contradiction_is_proved_and_a_point_that_just_remains_is_not_taken_for_one() -> None:
    slabs = table([1.0, 0.0], [-1.0, 0.0]).expand(3, -1, -1)  # x ≤ h₀ and x ≥ −h₁
    offsets = table([0.2, -0.2], [0.2, -0.2 - 1e-6], [-2.0, 2.0])  # the point 0.2 alone; nothing; outside of the box
    _, hopeless = active.settle(problem_of(torch.zeros(3, 2, dtype=torch.float64), slabs, offsets))
    assert hopeless.tolist() == [False, True, True]


@pytest.mark.parametrize(("actions", "planes"), [(1, 2), (2, 2), (2, 4), (3, 4), (4, 3), (4, 4), (8, 4)])
def test_it_leaves_next_to_nothing_for_the_enumeration(actions: int, planes: int) -> None:
    problem = random_problem(actions, planes, 1000)
    multipliers, hopeless = active.settle(problem)
    _, _, certified = certified_pattern(problem, multipliers)
    assert not (certified & hopeless).any()
    assert int((~certified & ~hopeless).sum()) <= 5


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.lists(st.integers(-3, 3), min_size=2, max_size=2),
            st.lists(st.integers(-2, 2), min_size=6, max_size=6),
            st.lists(st.integers(-4, 4), min_size=3, max_size=3),
        ),
        min_size=1,
        max_size=20,
    ),
    high=st.sampled_from([0.5, 1.0, 2.0, torch.inf]),
)
def test_on_problems_full_of_ties_its_proofs_agree_with_the_enumeration(
    rows: list[tuple[list[int], ...]], high: float
) -> None:
    """Small whole numbers: parallel, equal and zero normals, corners met by several constraints, empty and single-point sets."""
    proposal, flat, offsets = (
        table(*(list(map(float, part)) for part in column)) for column in zip(*rows, strict=True)
    )
    problem = problem_of(proposal, flat.reshape(-1, 3, 2), offsets, high)
    pattern, feasible = exact.enumerate_patterns(problem)
    multipliers, hopeless = active.settle(problem)
    _, y, certified = certified_pattern(problem, multipliers)
    assert not (hopeless & feasible).any()
    assert not (certified & ~feasible).any()
    wanted = solve(problem, pattern).clamp(problem.low, problem.high).square().sum(dim=-1)
    assert torch.allclose(y.square().sum(dim=-1)[certified], wanted[certified], rtol=0.0, atol=1e-9)
