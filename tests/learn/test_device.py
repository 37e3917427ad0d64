"""Everything between an observation and a step of the optimiser runs on "meta", which refuses to mix devices or to give values."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.constraint import Multiplier
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.interaction import Loop, collect, evaluate_modes
from fpo_pilot.learn.learner import build_learner
from fpo_pilot.learn.monitors import monitors
from fpo_pilot.learn.optimiser import FlatNetwork, Optimiser
from fpo_pilot.learn.update import make_targets, rollout_figures, update
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields.build import build_stack
from fpo_pilot.specs.training import Constraint, DppoSpec, FlowQSpec, FpoSpec, GaussianPpoSpec, Network

SMALL = {"num_envs": 6, "rollout_steps": 3, "minibatches": 2, "passes": 1, "actor": Network(width=8, depth=2)}
SPECS = [
    FpoSpec(**SMALL, ratio="averaged", trust_region="ppo", clip=0.05),
    FpoSpec(**SMALL, ratio="per_draw", trust_region="aspo", loss_bound=20.0, weighting="velocity"),
    GaussianPpoSpec(**SMALL),
    FpoSpec(**SMALL, path="variance_preserving", huber=1.0, regulariser=0.2, critics=2, uncertainty_weight=1.0),
    DppoSpec(**SMALL),
    DppoSpec(**SMALL, tuned_steps=3),
]


def brief(name: str, steps: int) -> Plant:
    """Return a plant whose episodes are short."""
    plant = load_plant(name)
    timing = plant.spec.timing.model_copy(update={"horizon": steps})
    return dataclasses.replace(plant, spec=plant.spec.model_copy(update={"timing": timing}))


@pytest.mark.parametrize("shielded", [False, True])
@pytest.mark.parametrize("spec", SPECS, ids=["fpo", "per-draw", "gaussian", "diffusion", "dppo", "dppo-tuned"])
def test_collecting_updating_watching_and_evaluating_never_leave_the_device(spec, shielded: bool) -> None:
    plant = brief("cstr_safety", steps=5)  # every step is a step like the others, and shapes are slow to compute
    assert plant.safety is not None
    shield = build_stack(plant.safety, plant.spec, device="meta") if shielded else None
    loop = Loop(Simulation(plant, spec.num_envs, device="meta"), shield, correction_penalty=spec.correction_penalty)
    sizes = loop.simulation.observation_size, loop.simulation.action_size
    policy = build_policy(spec, *sizes).to("meta")
    critic = Critic(sizes[0], width=8, depth=2, members=spec.critics).to("meta")
    cost_critic = Critic(sizes[0], width=8, depth=2).to("meta")
    price = Multiplier(Constraint(), device="meta")
    optimiser = Optimiser((FlatNetwork(policy), FlatNetwork(critic), FlatNetwork(cost_critic)), spec)
    loop.reset()
    rollout = collect(loop, policy, spec.rollout_steps, 1.0, None)
    multiplier = price.move(rollout.cost.mean())
    targets = make_targets(rollout, critic, policy, spec, cost_critic=cost_critic, multiplier=multiplier)
    found = update(policy, critic, optimiser, rollout, targets, spec, None, cost_critic=cost_critic)
    found |= rollout_figures(rollout, targets) | monitors(policy, rollout, targets, clip=spec.clip)
    policy.normaliser.merge(rollout.obs)
    assert all(value.is_meta and value.shape == () for value in found.values())
    scales = tuple(mode.noise_scale for mode in policy.modes())
    returns = evaluate_modes(loop, policy, scales if spec.num_envs % len(scales) == 0 else scales[:2], None)
    assert returns.is_meta


@pytest.mark.parametrize("settings", [{"q_scale": "size"}, {"n_step": 2, "uncertainty_weight": 1.0, "target": "mean"}])
def test_learning_from_a_buffer_never_leaves_the_device(settings: dict[str, object]) -> None:
    spec = FlowQSpec(**SMALL, capacity=10, **settings)
    plant = brief("cstr", steps=5)
    loop = Loop(Simulation(plant, spec.num_envs, device="meta"), None)
    sizes = loop.simulation.observation_size, loop.simulation.action_size
    policy = build_policy(spec, *sizes).to("meta")
    generator = torch.Generator()
    learner = build_learner(spec, policy, *sizes, generator=generator, mirror=None, device="meta")
    loop.reset()
    for _ in range(2):  # the second rollout goes round the end of the ring
        rollout = collect(loop, learner.acting, spec.rollout_steps, 1.0, None)
        found = learner.learn(rollout, None, policy_frozen=False, statistics_frozen=False, exact=True)
    assert all(value.is_meta and value.shape == () for value in found.values())
