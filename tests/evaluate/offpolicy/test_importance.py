"""Importance sampling on a bandit and a chain of which the truth is known; validity, filling, support, and the veto."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from fpo_pilot.evaluate.offpolicy import (
    LogBatch,
    OffPolicyEstimate,
    decide,
    kernel_log_ratio,
    per_decision,
    support,
    weighted_doubly_robust,
)

STEPS, MU, PI = 4, 0.5, 0.7
"""Actions 0 or 1 with these chances of 1; the reward of a step is its action times the number of the step, less noise."""


def chain(episodes: int, seed: int) -> tuple[LogBatch, torch.Tensor]:
    random = np.random.default_rng(seed)
    action = (random.random((STEPS, episodes)) < MU).astype(float)
    reward = action * np.arange(1, STEPS + 1)[:, None] + 0.1 * random.normal(size=action.shape)
    log_ratio = np.where(action > 0, math.log(PI / MU), math.log((1 - PI) / (1 - MU)))
    shape = (STEPS, episodes)
    ends = torch.zeros(shape, dtype=torch.bool)
    ends[-1] = True
    zeros = torch.zeros((*shape, 1), dtype=torch.float64)
    batch = LogBatch(
        zeros, torch.from_numpy(action)[..., None], torch.from_numpy(reward), zeros, ends,
        torch.ones(shape, dtype=torch.bool), torch.zeros(shape).double(), torch.ones(episodes, dtype=torch.bool),
    )  # fmt: skip
    return batch, torch.from_numpy(log_ratio)


TRUTH = PI * STEPS * (STEPS + 1) / 2


def exact_model(batch: LogBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Q and V of the policy at the logged states."""
    later = [PI * sum(range(t + 2, STEPS + 1)) for t in range(STEPS)]
    now = torch.arange(1, STEPS + 1, dtype=torch.float64)[:, None]
    ahead = torch.tensor(later, dtype=torch.float64)[:, None]
    return batch.action[..., 0] * now + ahead, (PI * now + ahead).expand(batch.reward.shape)


@pytest.mark.parametrize("doubly", [False, True])
def test_over_two_thousand_logs_the_mean_is_the_truth(doubly: bool) -> None:
    """Self-normalised weights are biased by the order of 1/episodes; with 200 of them that is below three standard errors."""
    found = []
    for seed in range(2000):
        batch, log_ratio = chain(200, seed)
        if doubly:
            q, v = exact_model(batch)
            estimate = weighted_doubly_robust(batch, log_ratio, 0.5 * q, 0.5 * v, resamples=1)  # a wrong model
        else:
            estimate = per_decision(batch, log_ratio, resamples=1)
        found.append(estimate.value)
    values = np.array(found, dtype=float)
    assert values.mean() == pytest.approx(TRUTH, abs=3 * values.std() / math.sqrt(2000) + TRUTH / 200)


def test_with_an_exact_model_doubly_robust_is_far_closer() -> None:
    batch, log_ratio = chain(100, 1)
    q, v = exact_model(batch)
    exact = weighted_doubly_robust(batch, log_ratio, q, v)
    plain = per_decision(batch, log_ratio)
    assert exact.value == pytest.approx(TRUTH, abs=0.1)
    assert exact.high is not None
    assert exact.low is not None
    assert plain.high is not None
    assert plain.low is not None
    assert exact.high - exact.low < 0.2 * (plain.high - plain.low)


def test_weights_of_one_give_the_mean_and_an_interval_that_holds_it() -> None:
    batch, _ = chain(50, 2)
    estimate = per_decision(batch, torch.zeros(STEPS, 50).double())
    assert estimate.value == pytest.approx(float(batch.reward.sum(dim=0).mean()))
    assert estimate.effective_sample_size == pytest.approx(50.0)
    assert estimate.largest_weight_share == pytest.approx(1 / 50)


def test_filling_and_cut_stretches_change_nothing() -> None:
    batch, log_ratio = chain(30, 3)
    more = dataclasses.replace(
        batch,
        **{
            name: torch.cat((getattr(batch, name), torch.full_like(getattr(batch, name)[:2], 7)))
            for name in ("obs", "action", "reward", "next_obs", "step")
        },
        ends=torch.cat((batch.ends, torch.zeros(2, 30, dtype=torch.bool))),
        kept=torch.cat((batch.kept, torch.zeros(2, 30, dtype=torch.bool))),
    )
    filled = per_decision(more, torch.cat((log_ratio, torch.full((2, 30), 3.0).double())))
    assert filled.value == pytest.approx(per_decision(batch, log_ratio).value)
    cut = dataclasses.replace(batch, ends=batch.ends & (torch.arange(30) < 20))
    part = dataclasses.replace(batch, **{f.name: getattr(batch, f.name)[:, :20] for f in dataclasses.fields(batch)
                                         if f.name not in ("starts", "log_density")}, starts=batch.starts[:20])  # fmt: skip
    assert per_decision(cut, log_ratio).value == pytest.approx(per_decision(part, log_ratio[:, :20]).value)


def test_without_a_density_and_with_degenerate_weights_there_is_no_estimate() -> None:
    batch, log_ratio = chain(30, 4)
    unknown = per_decision(batch, None)
    assert (unknown.valid, unknown.value) == (False, None)
    assert "density" in unknown.reason
    wild = per_decision(batch, 20.0 * log_ratio)
    assert not wild.valid
    assert wild.largest_weight_share is not None
    assert wild.largest_weight_share > 0.1
    assert "effective episodes" in wild.reason


def test_the_kernel_ratio_by_hand() -> None:
    distance = torch.tensor([[[0.1, -0.2]]], dtype=torch.float64)
    found = kernel_log_ratio(distance, 0.5, torch.tensor([[-1.0]], dtype=torch.float64))
    expected = -0.5 * (0.04 + 0.16) - 2 * math.log(0.5) - math.log(2 * math.pi) + 1.0
    assert found.item() == pytest.approx(expected)


def test_support_is_a_hundredth_inside_the_log_and_all_of_it_far_away() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (20, 50)
    obs, action = (torch.randn((*shape, 2), generator=generator).double() for _ in range(2))
    flat = torch.zeros(shape).double()
    batch = LogBatch(obs, action, flat, obs, flat > 1, flat < 1, flat, torch.ones(50, dtype=torch.bool))
    assert support(batch, action) <= 0.011
    assert support(batch, action + 20.0) == 1.0


def valid(low: float, high: float) -> OffPolicyEstimate:
    return OffPolicyEstimate(method="FQE", valid=True, value=(low + high) / 2, low=low, high=high)


def test_it_vetoes_what_is_surely_worse_and_never_promotes() -> None:
    off = OffPolicyEstimate(method="WDR", valid=False, reason="no density")
    assert decide([valid(-9, -6), off], 0.0, -5.0, margin=0.5).result == "veto"
    assert decide([valid(-9, -5.2)], 0.0, -5.0, margin=0.5).result == "no veto"
    better = decide([valid(-4, -3)], 0.0, -5.0, margin=0.5)
    assert better.result == "no veto"
    assert "promotes nothing" in better.reasons[0]
    assert decide([valid(-9, -6)], 0.3, -5.0, margin=0.5).result == "no answer"
    assert decide([off], 0.0, -5.0, margin=0.5).reasons == ("WDR: no density",)
