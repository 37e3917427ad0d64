from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fpo_pilot.learn.normaliser import Normaliser


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 2**31))
def test_merging_in_parts_is_numpy_on_the_whole(sizes: list[int], seed: int) -> None:
    rows = np.random.default_rng(seed).normal(3.0, 5.0, (sum(sizes), 2)) * [1.0, 1e3]
    normaliser = Normaliser(2)
    for chunk in np.split(rows, np.cumsum(sizes)[:-1]):
        normaliser.merge(torch.from_numpy(chunk))
    assert normaliser.mean.numpy() == pytest.approx(rows.mean(axis=0), rel=1e-9)
    assert normaliser.variance.numpy() == pytest.approx(rows.var(axis=0), rel=1e-6, abs=1e-9)
    assert normaliser.count.item() == len(rows)


def test_the_standard_deviation_does_not_shrink_as_more_is_seen() -> None:
    # a published normaliser drops its history, and its std falls as 1/√k
    normaliser = Normaliser(1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        normaliser.merge(torch.randn(1000, 1, generator=generator))
    assert normaliser.variance.sqrt().item() == pytest.approx(1.0, abs=0.02)


def test_observations_pass_unchanged_before_anything_was_seen() -> None:
    assert Normaliser(2)(torch.tensor([[1.0, -2.0]])).tolist() == [[1.0, -2.0]]


def test_a_batch_in_time_and_environments_counts_every_row() -> None:
    normaliser = Normaliser(3)
    normaliser.merge(torch.arange(24.0).reshape(2, 4, 3))
    assert normaliser.mean.tolist() == [10.5, 11.5, 12.5]


def test_what_hardly_varies_is_not_blown_up_and_a_freak_reading_is_cut() -> None:
    normaliser = Normaliser(2)
    normaliser.merge(torch.tensor([[0.5, -1.0], [0.5, 1.0]]))
    assert normaliser(torch.tensor([[0.501, 0.0]]))[0, 0].item() == pytest.approx(0.1, abs=1e-3)  # not 0.001/0
    assert normaliser(torch.tensor([[0.5, 1e6]])).tolist() == [[0.0, 10.0]]


def test_a_loaded_normaliser_normalises_as_the_saved_one() -> None:
    saved, loaded = Normaliser(2), Normaliser(2)
    saved.merge(torch.randn(50, 2) * 3.0 + 1.0)
    loaded.load_state_dict(saved.state_dict())
    rows = torch.randn(5, 2)
    assert torch.equal(saved(rows), loaded(rows))
