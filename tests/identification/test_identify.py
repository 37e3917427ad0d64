"""What is known of a system must be found again: its matrices, its noise, and which action the log says nothing of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fpo_pilot.errors import LogError
from fpo_pilot.identification import identify, residual
from fpo_pilot.identification.linear import choose_linear, fit_linear, score, state_space
from fpo_pilot.identification.windows import MOST_ORDER, cut, predict, split

torch.set_num_threads(1)


def test_a_known_linear_system_is_recovered_without_noise(log, spec, true_system) -> None:
    found = identify(log(), spec(), None, kind="linear")
    assert (found.linear.order, found.linear.ridge) == (1, 0.0)
    for got, true in zip(state_space(found.weights, 2), true_system, strict=True):
        assert np.abs(got.numpy() - true).max() < 1e-6
    assert all(signal.many.model < 1e-6 for signal in found.accuracy)
    assert found.good_enough


def test_with_noise_the_held_out_error_is_about_the_noise(log, spec) -> None:
    noise = 0.05
    found = identify(log(noise=noise), spec(), None, kind="linear")
    for signal in found.accuracy:
        # the target alone has the noise; after twenty steps next to nothing is left of that of the start
        assert signal.many.model == pytest.approx(noise, rel=0.15)
        assert noise < signal.one.model < 1.6 * noise


def test_a_second_order_system_needs_the_past(log, spec) -> None:
    hidden = log(noise=0.0)
    only_x = [type(s)(s.episode, s.measured[:, :1], s.applied) for s in hidden.stretches]
    signals = {k: v for k, v in spec().signals.items() if k != "y"}
    plant = spec(
        signals=signals, observations=({"signal": "x"},), episode={"start": {"x": {"kind": "fixed", "value": 0}}}
    )
    log_of_x = type(hidden)(("x",), ("u", "v"), tuple(only_x), hidden.episodes, hidden.rows, 0, 0, 0)
    found = identify(log_of_x, plant, None, kind="linear")
    # By elimination of y: x(k+2) = tr(A) x(k+1) − det(A) x(k) + …, exact with two rows of the past.
    assert found.linear.order == 2
    matrix, _, _ = state_space(found.weights, 2)  # on [x, x − x before]
    assert matrix[0].tolist() == pytest.approx([1.7 - 0.74, 0.74], abs=1e-6)


def test_the_seed_decides_everything(log, spec, monkeypatch) -> None:
    monkeypatch.setattr(residual, "ITERATIONS", 50)
    first, again, other = (identify(log(noise=0.02), spec(), None, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.weights.gain, again.weights.gain)
    assert first.accuracy == again.accuracy
    assert first.accuracy != other.accuracy


def test_a_network_finds_what_is_not_linear(log, spec) -> None:
    base = log(noise=0.01)
    bent = []
    for s in base.stretches:
        measured = [np.zeros(2)]
        for u in s.applied[:-1]:
            x, y = measured[-1]
            measured.append(np.array([0.8 * x + 0.5 * u[0], 0.7 * y + 0.5 * np.abs(x) + 0.3 * u[1]]))
        bent.append(type(s)(s.episode, np.array(measured), s.applied))
    data = type(base)(base.signals, base.actions, tuple(bent), base.episodes, base.rows, 0, 0, 0)
    linear, neural = (identify(data, spec(), None, kind=kind) for kind in ("linear", "neural"))
    assert neural.kind == "neural"
    assert neural.accuracy[1].many.model < 0.5 * linear.accuracy[1].many.model


def test_a_network_that_does_not_help_is_not_kept(log, spec, monkeypatch) -> None:
    monkeypatch.setattr(residual, "ITERATIONS", 50)
    found = identify(log(episodes=20, noise=0.05), spec(), None, kind="neural")
    assert (found.asked, found.kind) == ("neural", "linear")


@pytest.mark.parametrize(("fault", "kind"), [("still", "still"), ("feedback", "entangled")])
def test_an_action_that_the_log_says_nothing_of_is_named(log, spec, fault, kind) -> None:
    found = identify(log(**{fault: True}), spec(), None, kind="linear")
    assert [(reason.kind, reason.name) for reason in found.reasons if reason.kind in {"still", "entangled"}] == [
        (kind, "v")
    ]
    assert not found.good_enough
    assert found.excitation[0].own == pytest.approx(1 / np.sqrt(3) / 2, rel=0.05)  # uniform over the whole range


def test_noise_alone_is_not_a_plant(log, spec) -> None:
    random = np.random.default_rng(0)
    base = log()
    noise = tuple(type(s)(s.episode, random.normal(size=s.measured.shape), s.applied) for s in base.stretches)
    found = identify(type(base)(base.signals, base.actions, noise, 40, base.rows, 0, 0, 0), spec(), None, kind="linear")
    assert {reason.kind for reason in found.reasons} == {"error"}
    assert all(0.9 < signal.share < 1.1 for signal in found.accuracy)


def test_few_episodes_cannot_carry_intervals(log, spec) -> None:
    assert [r.kind for r in identify(log(episodes=8), spec(), None, kind="linear").reasons] == ["level"]
    with pytest.raises(LogError, match="found 4 of 4 episodes"):
        identify(log(episodes=4), spec(), None)
    with pytest.raises(LogError, match="found 0 of 40 episodes with 23 good rows"):
        identify(log(steps=22), spec(), None)


def test_parts_share_no_episode_and_leave_none_out(log) -> None:
    parts = split(log(episodes=37), 20, seed=1)
    episodes = [{s.episode for s in part} for part in (parts.fit, parts.select, parts.calibrate, parts.test)]
    assert sorted(e for part in episodes for e in part) == list(range(37))
    assert [len(part) for part in episodes] == [17, 6, 7, 7]


def test_a_window_begins_with_what_was_measured_and_sees_nothing_after(log, spec) -> None:
    data = log(noise=0.1)
    weights = identify(data, spec(), None, kind="linear").weights
    windows = cut(data.stretches, MOST_ORDER, 5)
    blind = windows.rows(torch.arange(windows.count))
    blind.measured[:, MOST_ORDER:] = 7.0
    assert torch.equal(predict(weights, blind), predict(weights, windows))
    later = windows.rows(torch.arange(windows.count))
    later.applied[:, MOST_ORDER - 1] += 0.5  # the action of now moves the first prediction
    assert not torch.equal(predict(weights, later)[:, 0], predict(weights, windows)[:, 0])
    assert score(weights, windows, torch.ones(2, dtype=torch.float64)) < 0.2


def test_a_small_gain_is_not_worth_the_past(log, spec) -> None:
    """Under noise more rows of the past always help a little; a plant of first order gets a model of first order."""
    data = log(noise=0.05)
    parts = split(data, 20, seed=0)
    rows, held_out = cut(parts.fit, MOST_ORDER, 1, most=None), cut(parts.select, MOST_ORDER, 20)
    bounds = torch.full((2,), -20.0).double(), torch.full((2,), 20.0).double()
    spread = torch.ones(2).double()
    errors = [score(fit_linear(rows, order, 0.0, *bounds), held_out, spread) for order in (1, 2, 3)]
    assert errors[1] < errors[0] < 1.1 * errors[1]
    assert choose_linear(rows, held_out, spread, *bounds)[1].order == 1
