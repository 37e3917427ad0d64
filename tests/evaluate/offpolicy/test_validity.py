"""What must not pass for an answer: no whole episode, copies, limits, one draw of a noisy policy, the shield off."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from fpo_pilot.evaluate.offpolicy import LogBatch, OffPolicyEstimate, decide, fit_q, fitted_q_estimate, support
from fpo_pilot.evaluate.offpolicy.atoms import share_on_a_limit
from fpo_pilot.evaluate.offpolicy.fitted_q import Features
from fpo_pilot.evaluate.offpolicy.judgement import _kernel
from fpo_pilot.evaluate.offpolicy.log import BehindShield
from fpo_pilot.plants.load import load_plant
from tests.evaluate.offpolicy.test_fitted_q import linear_policy, quadratic_log

BAD = OffPolicyEstimate(method="FQE", valid=True, value=-9.0, low=-9.5, high=-8.5)


@pytest.mark.parametrize(("beyond", "logged"), [(0.0, math.nan), (math.nan, -5.0), (0.0, -math.inf)])
def test_a_number_that_is_missing_is_no_answer_and_never_no_veto(beyond: float, logged: float) -> None:
    assert decide([BAD], 0.0, -5.0, margin=1.0).result == "veto"
    assert decide([BAD], beyond, logged, margin=1.0).result == "no answer"


def copied(batch: LogBatch, times: int, noise: float) -> LogBatch:
    """Return every stretch ``times`` times, apart from rounding."""

    def repeated(value: torch.Tensor) -> torch.Tensor:
        made = value.repeat(times) if value.dim() == 1 else value.repeat(1, times, *(1,) * (value.dim() - 2))
        drawn = torch.randn(made.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return made + noise * drawn if made.is_floating_point() else made

    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return dataclasses.replace(batch, **{name: repeated(value) for name, value in fields.items() if value is not None})


def test_copies_of_an_episode_are_one_whatever_their_rounding() -> None:
    batch = copied(quadratic_log(7, 12, noise=0.3), 10, 1e-7)
    assert (batch.episodes, batch.distinct_episodes) == (70, 7)
    assert quadratic_log(70, 12, noise=0.3).distinct_episodes == 70
    following, first = linear_policy(batch)
    estimate = fitted_q_estimate(fit_q(batch, following, first, discount=0.9, rounds=20, horizon=10**9), batch)
    assert not estimate.valid
    assert "70 episodes, 7 of them no copy" in estimate.reason


def test_a_log_of_copies_supports_the_policy_that_wrote_it() -> None:
    """Beside copies every row is at distance 0, and rounding alone would put the policy beyond the log."""
    batch = copied(quadratic_log(3, 40, noise=0.3), 30, 0.0)
    assert support(batch, batch.action + 1e-6) <= 0.02
    assert support(batch, batch.action + 20.0) == 1.0


def test_a_proposal_on_a_limit_is_unknown_and_one_beyond_it_is_known() -> None:
    plant = load_plant("cstr")  # Tc from 295 to 302 K, no rate
    applied = plant.to_normalised(torch.tensor([[295.0], [298.0], [300.0], [302.0]], dtype=torch.float64))[:, None]
    rows = torch.zeros(4, 1)
    nothing = torch.zeros(4, 1, dtype=torch.bool)
    batch = LogBatch(
        torch.zeros(4, 1, 1), applied.float(), rows, torch.zeros(4, 1, 1), nothing, ~nothing, rows,
        torch.ones(1, dtype=torch.bool), rows,
    )  # fmt: skip
    assert share_on_a_limit(plant, batch, applied.float()) == 0.5
    assert share_on_a_limit(plant, batch, applied + torch.tensor([[[-0.2]], [[0.0]], [[0.0]], [[0.1]]])) == 0.0


def test_a_proposal_on_the_rate_limit_is_unknown() -> None:
    plant = load_plant("cstr_safety")
    assert plant.safety is not None
    rate = plant.safety.actions["Tc"].rate
    assert rate is not None
    applied = torch.tensor([298.0, 298.0 + 0.5 * rate, 298.0 + 1.5 * rate, 298.0 + 1.2 * rate], dtype=torch.float64)
    action = plant.to_normalised(applied[:, None])[:, None]
    rows, nothing = torch.zeros(4, 1), torch.zeros(4, 1, dtype=torch.bool)
    batch = LogBatch(
        torch.zeros(4, 1, 1), action, rows, torch.zeros(4, 1, 1), nothing, ~nothing, rows,
        torch.ones(1, dtype=torch.bool), rows,
    )  # fmt: skip
    assert share_on_a_limit(plant, batch, action) == 0.25


def test_one_draw_of_a_noisy_policy_does_not_make_it_deterministic() -> None:
    batch = dataclasses.replace(quadratic_log(5, 4), log_density=torch.zeros(4, 5))
    behind = BehindShield(load_plant("cstr"), lambda obs, _: obs[:, :1], draws=1, seed=0, noisy=True)
    zero = torch.zeros(4, 5)
    estimate = _kernel(batch, None, behind, zero, zero, 0)  # type: ignore[arg-type]
    assert not estimate.valid
    assert "draws nothing" in estimate.reason


def test_the_features_of_many_signals_grow_with_their_number_and_not_its_square() -> None:
    z = torch.randn(50, 155, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert Features.fitted(z)(z).shape == (50, 1 + 155 + 155 + 64)
    few = z[:, :10]
    assert Features.fitted(few)(few).shape == (50, 1 + 10 + 55 + 64)
