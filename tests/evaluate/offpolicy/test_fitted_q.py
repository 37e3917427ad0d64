"""Fitted Q against values in closed form: a linear-quadratic plant, two states, and what a cut and an end mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

from fpo_pilot.evaluate.offpolicy import LogBatch, fit_q, fitted_q_estimate
from fpo_pilot.evaluate.offpolicy.fitted_q import limits, values_by_other_features

GAMMA = 0.9
A, B = np.array([[0.9, 0.2], [0.0, 0.8]]), np.array([[0.0], [0.5]])
COST, EFFORT = np.diag([1.0, 0.5]), 0.1
GAIN = np.array([[-0.3, -0.6]])


def quadratic_log(episodes: int = 60, steps: int = 20, seed: int = 0, noise: float = 0.0) -> LogBatch:
    """Random actions on x' = Ax + Bu + noise, reward −xᵀQx − ru²; every episode is cut, none ends."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(episodes, 2))
    rows: dict[str, list[np.ndarray]] = {"obs": [], "action": [], "reward": [], "next": []}
    for _ in range(steps):
        u = random.normal(size=(episodes, 1))
        rows["obs"].append(x)
        rows["action"].append(u)
        rows["reward"].append(-np.einsum("bi,ij,bj->b", x, COST, x) - EFFORT * u[:, 0] ** 2)
        x = x @ A.T + u @ B.T + noise * random.normal(size=x.shape)
        rows["next"].append(x)
    stacked = {name: torch.from_numpy(np.stack(values)) for name, values in rows.items()}
    shape = (steps, episodes)
    return LogBatch(
        obs=stacked["obs"],
        action=stacked["action"],
        reward=stacked["reward"],
        next_obs=stacked["next"],
        ends=torch.zeros(shape, dtype=torch.bool),
        kept=torch.ones(shape, dtype=torch.bool),
        step=torch.zeros(shape, dtype=torch.float64),
        starts=torch.ones(episodes, dtype=torch.bool),
    )


def linear_policy(batch: LogBatch, gain: np.ndarray = GAIN):
    following = batch.next_obs.flatten(0, 1)
    first = (batch.obs[0] @ torch.from_numpy(gain.T))[:, None]
    return lambda rows: (following[rows] @ torch.from_numpy(gain.T))[:, None], first


def value_of(x: np.ndarray, gain: np.ndarray = GAIN, noise: float = 0.0) -> np.ndarray:
    """−xᵀPx − γ/(1−γ)·σ² tr P, with P = Q + Kᵀ r K + γ (A+BK)ᵀ P (A+BK)."""
    closed = A + B @ gain
    stage = COST + EFFORT * gain.T @ gain
    p = solve_discrete_lyapunov(np.sqrt(GAMMA) * closed.T, stage)
    return -np.einsum("bi,ij,bj->b", x, p, x) - GAMMA / (1 - GAMMA) * noise**2 * np.trace(p)


def test_it_hits_the_lyapunov_equation_of_a_linear_plant() -> None:
    batch = quadratic_log()
    following, first = linear_policy(batch)
    fitted = fit_q(batch, following, first, discount=GAMMA, rounds=300, horizon=10**9)
    truth = value_of(batch.obs[0].numpy())
    found = (fitted.first @ fitted.weights).numpy()
    np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-3)


def test_its_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """60 logs of a noisy plant; at 95 % three or fewer of 60 are expected outside, up to 8 are let through."""
    outside = 0
    for seed in range(60):
        batch = quadratic_log(30, 10, seed, noise=0.3)
        following, first = linear_policy(batch)
        fitted = fit_q(batch, following, first, discount=GAMMA, rounds=60, horizon=10**9, cosines=2)
        estimate = fitted_q_estimate(fitted, batch, resamples=60)
        truth = -GAMMA / (1 - GAMMA) * 0.09 * np.trace(solve_p()) - np.trace(solve_p())  # x₀ is standard normal
        assert estimate.low is not None
        assert estimate.high is not None
        outside += not estimate.low <= truth <= estimate.high
    assert outside <= 8


def solve_p() -> np.ndarray:
    closed = A + B @ GAIN
    return solve_discrete_lyapunov(np.sqrt(GAMMA) * closed.T, COST + EFFORT * GAIN.T @ GAIN)


def two_states(steps: int, seed: int = 0, episodes: int = 200) -> LogBatch:
    """State 0 or 1; action ±1 stays or moves with a chance of 0.8; state 1 pays 1; seen as ±1."""
    random = np.random.default_rng(seed)
    state = random.integers(0, 2, episodes)
    rows: dict[str, list[np.ndarray]] = {"obs": [], "action": [], "reward": [], "next": []}
    for _ in range(steps):
        action = random.choice([-1.0, 1.0], episodes)
        rows["obs"].append(2.0 * state[:, None] - 1.0)
        rows["action"].append(action[:, None])
        rows["reward"].append(state.astype(float))
        toggles = (action > 0) == (random.random(episodes) < 0.8)
        state = np.where(toggles, 1 - state, state)
        rows["next"].append(2.0 * state[:, None] - 1.0)
    stacked = {name: torch.from_numpy(np.stack(values)) for name, values in rows.items()}
    shape = (steps, episodes)
    ends = torch.zeros(shape, dtype=torch.bool)
    share = (torch.arange(steps, dtype=torch.float64) / steps)[:, None].expand(shape)
    return LogBatch(
        stacked["obs"], stacked["action"], stacked["reward"], stacked["next"], ends, torch.ones(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.float64) + 0.0 * share, torch.ones(episodes, dtype=torch.bool),
    )  # fmt: skip


def test_it_hits_two_states_in_closed_form() -> None:
    """The policy moves in state 0 and stays in 1: V = (I − γP)⁻¹ r with P = [[.2, .8], [.2, .8]]."""
    batch = two_states(25)
    towards = batch.next_obs.flatten(0, 1)
    fitted = fit_q(
        batch, lambda rows: -towards[rows][:, None], -batch.obs[0][:, None], discount=GAMMA, rounds=200, horizon=10**9
    )
    v0, v1 = np.linalg.solve(np.eye(2) - GAMMA * np.array([[0.2, 0.8], [0.2, 0.8]]), [0.0, 1.0])
    found = (fitted.first @ fitted.weights).numpy()
    states = batch.obs[0, :, 0].numpy()
    assert found[states > 0].mean() == pytest.approx(v1, rel=0.03)
    assert found[states < 0].mean() == pytest.approx(v0, rel=0.03)


def test_filling_changes_nothing() -> None:
    batch = quadratic_log(25, 10)
    following, first = linear_policy(batch)
    plain = fit_q(batch, following, first, discount=GAMMA, rounds=50, horizon=10**9)

    def filled(values: torch.Tensor) -> torch.Tensor:
        return torch.cat((values, torch.full_like(values[:3], 1e6 if values.is_floating_point() else 0)))

    padded = dataclasses.replace(batch, **{f.name: filled(getattr(batch, f.name)) for f in dataclasses.fields(batch)
                                           if f.name not in ("starts", "log_density", "kept")})  # fmt: skip
    padded = dataclasses.replace(padded, kept=torch.cat((batch.kept, torch.zeros(3, 25, dtype=torch.bool))))
    following, first = linear_policy(padded)
    other = fit_q(padded, following, first, discount=GAMMA, rounds=50, horizon=10**9)
    assert fitted_q_estimate(plain, batch).value == fitted_q_estimate(other, padded).value


def test_an_end_stops_the_value_and_a_cut_goes_on() -> None:
    """One state, reward 1: of an episode of 5 steps that ends, 5; where it is only cut after 5, as many as rounds."""
    shape = (5, 20)
    ones = torch.ones(shape, dtype=torch.float64)
    step = (torch.arange(5, dtype=torch.float64) / 5)[:, None].expand(shape)
    batch = LogBatch(
        ones[..., None], torch.randn((*shape, 1), generator=torch.Generator().manual_seed(0)).double(), ones,
        ones[..., None], torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool), step,
        torch.ones(20, dtype=torch.bool),
    )  # fmt: skip
    zero = torch.zeros(20, 1, 1, dtype=torch.float64)
    last = torch.zeros(shape, dtype=torch.bool)
    last[-1] = True

    def value(given: LogBatch, rounds: int) -> float:
        fitted = fit_q(given, lambda rows: torch.zeros(len(rows), 1, 1), zero, rounds=rounds, horizon=5, cosines=32)
        return float((fitted.first @ fitted.weights).mean())

    assert value(dataclasses.replace(batch, ends=last), 5) == pytest.approx(5.0, abs=0.02)
    assert value(dataclasses.replace(batch, step=torch.zeros(shape).double()), 8) == pytest.approx(8.0, abs=0.05)


def test_a_log_of_few_episodes_gives_no_estimate() -> None:
    batch = quadratic_log(19, 5)
    following, first = linear_policy(batch)
    estimate = fitted_q_estimate(fit_q(batch, following, first, rounds=5, horizon=5), batch)
    assert (estimate.valid, estimate.value) == (False, None)
    assert "19 episodes" in estimate.reason


def test_the_interval_reaches_to_what_other_features_say_and_no_farther() -> None:
    batch = quadratic_log(30, 10, noise=0.3)
    following, first = linear_policy(batch)
    fitted = fit_q(batch, following, first, discount=GAMMA, rounds=60, horizon=10**9, cosines=2)
    plain = fitted_q_estimate(fitted, batch)
    assert plain.value is not None
    assert plain.low is not None
    assert plain.high is not None
    wide = fitted_q_estimate(fitted, batch, others=(plain.value - 2.0, plain.value + 0.5, plain.value + 1.0))
    assert wide.value == plain.value
    assert wide.low == pytest.approx(plain.low - 2.0)
    assert wide.high == pytest.approx(plain.high + 1.0)
    above = fitted_q_estimate(fitted, batch, others=(plain.value + 1.0,))
    assert above.low == pytest.approx(plain.low)


@pytest.mark.parametrize("wild", [np.nan, np.inf, -1e9, 1e9])
def test_a_fit_that_does_not_settle_or_is_not_possible_makes_no_estimate(wild: float) -> None:
    batch = quadratic_log(30, 10, noise=0.3)
    following, first = linear_policy(batch)
    fitted = fit_q(batch, following, first, discount=GAMMA, rounds=60, horizon=10**9, cosines=2)
    found = fitted_q_estimate(fitted, batch, possible=(-1e3, 0.0), others=(-20.0, wild))
    assert not found.valid
    assert found.reason


def test_features_that_leave_more_than_is_possible_make_no_estimate() -> None:
    batch = quadratic_log(30, 10, noise=0.3)
    following, first = linear_policy(batch)
    fitted = fit_q(batch, following, first, discount=GAMMA, rounds=60, horizon=10**9, cosines=2)
    plain = fitted_q_estimate(fitted, batch, possible=(-1e3, 0.0))
    assert plain.valid
    assert plain.high is not None
    found = fitted_q_estimate(
        fitted, batch, possible=(-1e3, 0.0), others=(-1e-3,)
    )  # possible itself, but not its limit
    assert not found.valid
    assert "beyond what the logged rewards allow" in found.reason


def test_where_all_features_hold_the_truth_they_agree() -> None:
    """Of a linear plant quadratic features hold the value whole, and cosines beside them change nothing."""
    batch = quadratic_log()
    following, first = linear_policy(batch)
    truth = float(value_of(batch.obs[0].numpy()).mean())
    found = values_by_other_features(batch, following, first, discount=GAMMA, rounds=300, horizon=10**9)
    assert len(found) == 5
    assert found == pytest.approx([truth] * 5, rel=2e-3)


def test_other_features_differ_where_the_value_is_not_quadratic() -> None:
    """Reward |x| of a plant that stays: the quadratic fit alone is off, more cosines come nearer."""
    random = np.random.default_rng(0)
    batch = dataclasses.replace(quadratic_log(200, 1), ends=torch.ones(1, 200, dtype=torch.bool))
    batch = dataclasses.replace(
        batch, reward=batch.obs[..., 0].abs() ** 0.5 + 0.01 * torch.from_numpy(random.normal(size=(1, 200)))
    )
    zero = torch.zeros(200, 1, 1, dtype=torch.float64)
    truth = float(batch.obs[0, :, 0].abs().sqrt().mean())
    following = lambda rows: torch.zeros(len(rows), 1, 1, dtype=torch.float64)  # noqa: E731
    found = values_by_other_features(batch, following, zero, rounds=1, horizon=10**9)
    stiff, loose = found[0], found[3]
    assert abs(loose - truth) < abs(stiff - truth)
    assert max(found) - min(found) > 0.01


def test_limits_of_few_episodes_reach_farther_than_percentiles() -> None:
    drawn = np.random.default_rng(0).normal(size=20_000).tolist()
    # √(10/9)·t(0.975; 9) = 1.0541·2.2622 = 2.3846 spreads; 1.96 in the limit of many
    assert limits(drawn, 10, 0.95)[1] == pytest.approx(2.3846, abs=0.08)
    assert limits(drawn, 100_000, 0.95)[1] == pytest.approx(1.96, abs=0.05)
    assert np.isnan(limits([1.0], 10, 0.95)).all()
