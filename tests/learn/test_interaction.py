"""A rollout has the true next observation of every step, also of those with which an episode ends."""

from __future__ import annotations

import dataclasses

import torch

from fpo_pilot.evaluate.comparison import make_task, variant_spec
from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.interaction import collect
from fpo_pilot.learn.task import PlantTask
from fpo_pilot.plants.load import load_plant
from fpo_pilot.shields import build_stack
from fpo_pilot.specs.plant import ObservationTerm

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


def shielded_loop(copies: int, **spec: object):
    found = variant_spec("cstr_safety", "fpo")
    return make_task("cstr_safety", found.model_copy(update=spec)).loop(copies, seed=0, device="cpu")


def test_of_several_candidates_the_one_that_passes_is_kept_with_its_own_trace() -> None:
    spec = variant_spec("cstr_safety", "fpo").model_copy(update={"candidates": 8})
    loop = shielded_loop(16)
    generator = torch.Generator().manual_seed(0)
    policy = build_policy(spec, loop.observation_size, loop.action_size, generator=generator)
    loop.reset()
    several = collect(loop, policy, 20, 1.0, torch.Generator().manual_seed(1))
    loop = shielded_loop(16)
    alone = build_policy(
        variant_spec("cstr_safety", "fpo"),
        loop.observation_size,
        loop.action_size,
        generator=torch.Generator().manual_seed(0),
    )
    loop.reset()
    single = collect(loop, alone, 20, 1.0, torch.Generator().manual_seed(1))
    assert several.action.shape == single.action.shape
    assert {k: v.shape for k, v in several.trace.items()} == {k: v.shape for k, v in single.trace.items()}
    assert float(several.altered.double().mean()) < 0.5 * float(single.altered.double().mean())
    # the trace belongs to the action that is kept: the policy has not changed, so the ratio is one
    obs, action, trace = several.flat()
    torch.testing.assert_close(policy.log_ratio(obs, action, trace), torch.zeros(320), atol=1e-5, rtol=0.0)


def test_candidates_are_in_the_deployment_with_noise_and_one_without() -> None:
    spec = variant_spec("cstr_safety", "fpo").model_copy(update={"candidates": 4})
    policy = build_policy(spec, 6, 1, generator=torch.Generator().manual_seed(0))
    shapes = {}
    for mode in policy.modes():
        action, _ = policy.deploy(mode).act(torch.zeros(3, 6), torch.Generator().manual_seed(0))
        shapes[mode.label] = tuple(action.shape)
    assert shapes["noise 0"] == (3, 1)
    assert shapes["noise 1, 4 candidates"] == (3, 4, 1)


def test_a_policy_can_see_that_its_last_proposal_was_altered() -> None:
    plant = load_plant("cstr_safety")
    terms = (*plant.spec.observations, ObservationTerm(term="shield_active"))
    seen = dataclasses.replace(plant, spec=plant.spec.model_copy(update={"observations": terms}))
    assert plant.safety is not None
    loop = PlantTask(seen, build_stack(plant.safety, plant.spec)).loop(2, seed=0, device="cpu")
    assert loop.reset()[:, -1].tolist() == [-1.0, -1.0]
    now = seen.to_normalised(loop.simulation.applied).float()
    ask = torch.stack((now[0], now[1] + 2.0))  # the second asks for more than the rate allows
    assert loop.step(ask).observation[:, -1].tolist() == [-1.0, 1.0]
    assert loop.step(seen.to_normalised(loop.simulation.applied).float()).observation[:, -1].tolist() == [-1.0, -1.0]
    state = loop.state_dict()
    loop.step(ask)
    loop.load_state_dict(state)
    assert loop.observation[:, -1].tolist() == [-1.0, -1.0]
