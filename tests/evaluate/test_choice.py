from __future__ import annotations

import math

from fpo_pilot.evaluate.choice import Tried, choose
from fpo_pilot.evidence import Interval
from fpo_pilot.learn.policy import Deployment


def tried(scale: float, mean: float, violated: int = 0) -> Tried:
    return Tried(Deployment(noise_scale=scale), Interval(mean=mean, low=mean - 1, high=mean + 1, n=8), violated)


def test_the_best_mean_return_is_chosen() -> None:
    chosen = choose("flow", [tried(0.0, -40.0), tried(0.5, -2.26), tried(1.0, -2.24)], seed=9)
    assert (chosen.noise_scale, chosen.seed) == (1.0, 9)
    first = chosen.chosen_from[0]
    assert (first.label, first.mean, first.low, first.high) == ("noise 0", -40.0, -41.0, -39.0)


def test_of_equal_means_the_smallest_noise_is_chosen() -> None:
    chosen = choose("flow", [tried(1.0, -20.0), tried(0.5, -20.0 - 1e-7), tried(0.0, -20.5)], seed=9)
    assert chosen.noise_scale == 0.5
    assert "smallest noise of 2 that are equal" in chosen.reason


def test_fewer_violations_come_before_a_better_return() -> None:
    chosen = choose("flow", [tried(0.0, -10.0, violated=1), tried(1.0, -30.0)], seed=9)
    assert chosen.noise_scale == 1.0
    assert "fewest episodes with a hard violation (0)" in chosen.reason


def test_a_mean_that_is_not_a_number_is_not_chosen() -> None:
    nothing = Tried(Deployment(noise_scale=0.0), Interval(mean=math.nan, low=math.nan, high=math.nan, n=8), 0)
    chosen = choose("flow", [nothing, tried(1.0, -1e9)], seed=9)
    assert chosen.noise_scale == 1.0
    assert chosen.chosen_from[0].mean is None
    assert choose("flow", [nothing, nothing], seed=9).noise_scale == 0.0


def test_a_single_deployment_is_taken_as_it_is() -> None:
    chosen = choose("flow", [tried(0.5, math.nan)], seed=9)
    assert (chosen.noise_scale, chosen.chosen_from, chosen.reason) == (0.5, (), "the only one declared")
