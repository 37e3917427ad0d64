"""Q(s, a): what a network of states and actions looks at, and how it orders what a policy has sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.learn.normaliser import Normaliser
from fpo_pilot.learn.policy import ActionValue
from fpo_pilot.specs.training import FlowQSpec


def make_q(
    spec: FlowQSpec,
    observation_size: int,
    action_size: int,
    *,
    mirror: Mirror | None = None,
    generator: torch.Generator | None = None,
) -> Critic:
    """Make the ensemble of Q of a spec, untrained."""
    return Critic(
        observation_size + action_size,
        width=spec.critic.width,
        depth=spec.critic.depth,
        members=spec.critics,
        generator=generator,
        mirror=None if mirror is None else Mirror(mirror.observation + mirror.action, ()),
    )


def q_input(normaliser: Normaliser, obs: Tensor, action: Tensor) -> Tensor:
    """Return what Q looks at, ``[B, O + A]``: beyond the limits an action is the limit, for the plant as for Q."""
    return torch.cat((normaliser(obs), action.clamp(-1.0, 1.0)), dim=-1)


def action_value(q: Critic, normaliser: Normaliser) -> ActionValue:
    """Return the function of raw observations ``[B, O]`` and actions ``[B, A]`` that gives the mean of the ensemble, ``[B]``."""

    @torch.no_grad()
    def value(obs: Tensor, action: Tensor) -> Tensor:
        found: Tensor = q(q_input(normaliser, obs, action))
        return found

    return value
