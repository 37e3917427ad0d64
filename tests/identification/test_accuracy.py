"""Conformal intervals must cover whole episodes as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fpo_pilot.identification.accuracy import Intervals, calibrate, episode_scores, measure
from fpo_pilot.identification.linear import fit_linear
from fpo_pilot.identification.windows import MOST_ORDER, Windows, cut

RANGE = torch.tensor([-20.0, -20.0], dtype=torch.float64), torch.tensor([20.0, 20.0], dtype=torch.float64)


def still_model(signals: int = 1):
    """Return a model that says that nothing changes."""
    rows = Windows(torch.zeros(8, 4, signals).double(), torch.randn(8, 4, 1).double(), torch.zeros(8).long(), 3)
    return fit_linear(rows, 1, 0.0, *(bound[:signals] for bound in RANGE))


def windows_of(future: list[list[float]], episodes: list[int]) -> Windows:
    """Return windows that start at 0 and go through ``future`` [N][H]."""
    rows = torch.tensor(future, dtype=torch.float64)
    measured = torch.cat((torch.zeros(len(rows), MOST_ORDER), rows), dim=1).unsqueeze(-1)
    return Windows(measured, torch.zeros(len(rows), measured.shape[1], 1).double(), torch.tensor(episodes), MOST_ORDER)


def test_the_score_of_an_episode_is_its_worst_prediction() -> None:
    windows = windows_of([[1.0, -4.0], [2.0, 1.0], [0.5, 0.5]], [7, 7, 9])
    size = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    # episode 7: max(1/1, 4/2, 2/1, 1/2) = 2; episode 9: max(0.5/1, 0.5/2) = 0.5
    assert episode_scores(still_model(), windows, size).flatten().tolist() == [2.0, 0.5]


def test_the_interval_is_the_kth_smallest_score_times_the_usual_error() -> None:
    usual = windows_of([[1.0, 2.0], [-1.0, -2.0]], [0, 1])  # root mean squares 1 and 2
    calibration = windows_of([[float(i), 0.0] for i in range(1, 10)], list(range(9)))  # scores 1 … 9
    found = calibrate(still_model(), usual, calibration, level=0.8)
    # k = ⌈10 · 0.8⌉ = 8
    assert (found.level, found.half_width.flatten().tolist()) == (0.8, [8.0, 16.0])
    fewer = calibrate(still_model(), usual, windows_of([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]], [0, 1, 2]), level=0.9)
    assert fewer.level == 0.75  # three episodes reach 3/4, with the largest score
    assert fewer.half_width.flatten().tolist() == [3.0, 6.0]


def test_intervals_cover_new_episodes_as_often_as_they_say() -> None:
    """Over many draws of calibration sets; rows of an episode share their noise level, so steps are no evidence."""
    random = np.random.default_rng(0)
    model, covered, draws, level = still_model(), 0, 400, 0.8
    for _ in range(draws):
        size = np.exp(random.normal(size=(15, 1, 1)))  # one for each episode
        rows = size * random.normal(size=(15, 6, 3))
        flat = rows.reshape(-1, 3).tolist()
        usual, calibration, new = (
            windows_of(flat[low * 6 : high * 6], list(np.repeat(np.arange(high - low), 6)))
            for low, high in ((0, 5), (5, 14), (14, 15))
        )
        intervals = calibrate(model, usual, calibration, level=level)
        covered += bool(episode_scores(model, new, intervals.half_width).max() <= 1.0)
    # with 9 scores and level 0.8 the probability is exactly 8/10; three standard errors of 400 draws
    assert covered / draws == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / draws))


def test_errors_are_root_mean_squares_at_their_step() -> None:
    test = windows_of([[3.0, 0.0], [-4.0, 6.0]], [0, 1])
    mean, spread = torch.tensor([1.0]).double(), torch.tensor([2.0]).double()
    intervals = Intervals(torch.tensor([[3.5], [6.0]]).double(), 0.9, 9)
    (found,) = measure(still_model(), test, intervals, mean, spread, ("x",), ("m",))
    assert found.one.model == pytest.approx(math.sqrt((9 + 16) / 2))
    assert found.many.model == found.many.persistence == pytest.approx(math.sqrt(36 / 2))
    assert found.many.mean == pytest.approx(math.sqrt((1 + 25) / 2))
    assert found.share == pytest.approx(math.sqrt(18) / 2)
    assert (found.episodes_covered, found.predictions_covered) == (1, 0.75)


def test_a_long_record_is_thinned_evenly(log) -> None:
    assert cut(log(episodes=10).stretches, 3, 20, most=None).count == 10 * 38
    thin = cut(log(episodes=10).stretches, 3, 20, most=100)
    assert thin.count == 95  # every fourth of 380
    assert len(thin.episode.unique()) == 10
