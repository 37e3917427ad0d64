"""A rollout has the true next observation of every step, also of those with which an episode ends."""

from __future__ import annotations

import torch

from fpo_pilot.evaluate.comparison import make_task, variant_spec
from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.interaction import collect

TASK = "cstr"


def test_the_next_observation_of_a_truncated_step_is_not_that_of_the_reset() -> None:
    """Published programs bootstrap from the state after the reset, which is another episode's."""
    spec = variant_spec(TASK, "fpo")
    loop = make_task(TASK, spec).loop(3, seed=0, device="cpu")
    policy = build_policy(spec, loop.observation_size, loop.action_size, generator=torch.Generator().manual_seed(0))
    loop.reset()
    steps = loop.horizon + 5
    rollout = collect(loop, policy, steps, 1.0, torch.Generator().manual_seed(0))
    end = loop.horizon - 1
    assert rollout.truncated[end].all()
    assert int(rollout.truncated.sum()) == 3
    for step in range(steps - 1):
        follows = torch.equal(rollout.next_obs[step], rollout.obs[step + 1])
        assert follows == (step != end)
    # the last entry is the progress of the episode, −1 at its start and 1 at its end
    torch.testing.assert_close(rollout.next_obs[end, :, -1], torch.ones(3))
    torch.testing.assert_close(rollout.obs[end + 1, :, -1], -torch.ones(3))
