"""The buffer of an off-policy training: what a transition sums, what a ring forgets, and what a resumed run finds in it."""

from __future__ import annotations

import pytest
import torch

from fpo_pilot.learn.replay import ReplayBuffer, Transitions, transitions


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(1)


def of(n_step: int, terminated: tuple[int, ...] = (), truncated: tuple[int, ...] = ()) -> Transitions:
    """Return the transitions of four steps of one environment: rewards 1, 2, 4, 8, next observations 10, 20, 30, 40."""
    flags = [torch.tensor([[step in which] for step in range(4)]) for which in (terminated, truncated)]
    return transitions(
        column(0.0, 10.0, 20.0, 30.0).unsqueeze(-1),
        column(0.0, 0.5, 3.0, -3.0).unsqueeze(-1),
        column(1.0, 2.0, 4.0, 8.0),
        column(10.0, 20.0, 30.0, 40.0).unsqueeze(-1),
        *flags,
        discount=0.5,
        n_step=n_step,
    )


def told(found: Transitions) -> list[list[float]]:
    return [found.reward.tolist(), found.next_obs[:, 0].tolist(), found.continuation.tolist()]


def test_of_one_step_a_truncation_bootstraps_the_true_next_observation_and_a_termination_does_not() -> None:
    assert told(of(1, terminated=(1,), truncated=(2,))) == [
        [1.0, 2.0, 4.0, 8.0],
        [10.0, 20.0, 30.0, 40.0],
        [0.5, 0.0, 0.5, 0.5],
    ]


def test_three_steps_are_summed_with_their_discount_and_fewer_where_the_rollout_ends() -> None:
    assert told(of(3)) == [
        [1 + 1 + 1, 2 + 2 + 2, 4 + 4, 8],  # 1 + 2/2 + 4/4, …
        [30.0, 40.0, 40.0, 40.0],
        [0.125, 0.125, 0.25, 0.5],
    ]


def test_a_sum_never_reaches_into_the_next_episode() -> None:
    assert told(of(3, truncated=(1,))) == [[2.0, 2.0, 8.0, 8.0], [20.0, 20.0, 40.0, 40.0], [0.25, 0.5, 0.25, 0.5]]
    assert told(of(3, terminated=(1,))) == [[2.0, 2.0, 8.0, 8.0], [20.0, 20.0, 40.0, 40.0], [0.0, 0.0, 0.25, 0.5]]


def test_an_action_beyond_the_limits_is_remembered_as_the_limit() -> None:
    assert of(1).action[:, 0].tolist() == [0.0, 0.5, 1.0, -1.0]


def rows(*values: float) -> Transitions:
    one = torch.tensor(values)
    return Transitions(one.unsqueeze(-1), one.unsqueeze(-1), one, one.unsqueeze(-1), one)


def held(buffer: ReplayBuffer) -> list[float]:
    return sorted(buffer.state_dict()["reward"].tolist())


def test_the_oldest_rows_make_room_for_the_newest() -> None:
    buffer = ReplayBuffer(5, 1, 1, device="cpu")
    buffer.add(rows(1, 2, 3))
    assert held(buffer) == [1, 2, 3]
    buffer.add(rows(4, 5, 6))
    assert held(buffer) == [2, 3, 4, 5, 6]
    buffer.add(rows(7))
    assert held(buffer) == [3, 4, 5, 6, 7]
    buffer.add(rows(*range(10, 22)))  # more than there is room for
    assert held(buffer) == [17, 18, 19, 20, 21]
    buffer.add(rows(30))
    assert held(buffer) == [18, 19, 20, 21, 30]


def test_only_what_was_remembered_is_drawn_and_its_columns_stay_together() -> None:
    buffer = ReplayBuffer(100, 1, 1, device="cpu")
    buffer.add(rows(3, 5, 7))
    drawn = buffer.draw(200, torch.Generator().manual_seed(0))
    assert sorted(set(drawn.reward.tolist())) == [3, 5, 7]
    for name in ("obs", "action", "next_obs"):
        assert torch.equal(getattr(drawn, name)[:, 0], drawn.reward)


@pytest.mark.parametrize("full", [False, True])
def test_a_buffer_that_was_saved_goes_on_alike(full: bool) -> None:
    first, second = (ReplayBuffer(5, 1, 1, device="cpu") for _ in range(2))
    first.add(rows(*range(7 if full else 3)))
    second.load_state_dict(first.state_dict())
    for buffer in (first, second):
        buffer.add(rows(10, 11, 12))
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("given", [(1, float("nan"), 3), (1, 2, 3, float("inf"), 5, float("nan"), 7)])
def test_what_is_no_number_is_dropped_and_the_oldest_still_goes_first(given: tuple[float, ...]) -> None:
    buffer = ReplayBuffer(5, 1, 1, device="cpu")
    buffer.add(rows(*given))
    buffer.drop_broken()
    sound = [value for value in given[-5:] if value < 100]
    assert buffer.state_dict()["reward"].tolist() == sound
    buffer.add(rows(*[8.0] * (5 - len(sound) + 1)))
    assert held(buffer) == sound[1:] + [8.0] * (6 - len(sound))
