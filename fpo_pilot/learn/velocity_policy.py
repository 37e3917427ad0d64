"""What policies with a velocity network share: how the network is made, and how they may be deployed."""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.flow import Method, VelocityNetwork, flow_matching_loss
from fpo_pilot.learn.mirror import Mirror, MirroredVelocity
from fpo_pilot.learn.policy import Deployment
from fpo_pilot.specs.training import DppoSpec, FpoSpec

NOISE_SCALES = (0.0, 0.5, 1.0)
_DRAWS = 8
"""Noise and time of a copied action, each time it is seen."""


def velocity_network(
    observation_size: int,
    action_size: int,
    spec: FpoSpec | DppoSpec,
    generator: torch.Generator | None,
    mirror: Mirror | None = None,
) -> VelocityNetwork | MirroredVelocity:
    """Make the untrained network of a spec."""
    network = VelocityNetwork(
        observation_size,
        action_size,
        width=spec.actor.width,
        depth=spec.actor.depth,
        frequencies=spec.time_frequencies,
        output_scale=spec.output_scale,
        generator=generator,
    )
    return network if mirror is None else MirroredVelocity(network, mirror)


def velocity_modes(spec: FpoSpec | DppoSpec, method: Method, steps: int | None) -> tuple[Deployment, ...]:
    """List the noise scales to choose from; zero is not always best (several modes need noise)."""
    count = spec.flow_steps if steps is None else steps
    return tuple(Deployment(scale, method, count, spec.candidates) for scale in NOISE_SCALES)


def velocity_imitation(
    network: VelocityNetwork | MirroredVelocity,
    seen: Tensor,
    action: Tensor,
    spec: FpoSpec | DppoSpec,
    generator: torch.Generator | None,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the flow-matching loss of copying ``action`` ``[B, A]`` at normalised observations, a scalar.

    A ``weight`` ``[B]`` says how much each row counts; without one all count alike.

    Times are those at which the sampler of training looks (arXiv 2210.02747, equation 23, for the straight path).
    """
    shape = (action.shape[0], _DRAWS, action.shape[1])
    noise = torch.randn(shape, generator=generator, device=action.device, dtype=action.dtype)
    grid = torch.randint(0, spec.flow_steps, shape[:2], generator=generator, device=action.device)
    time = grid.to(action.dtype) / spec.flow_steps
    path = spec.path if isinstance(spec, FpoSpec) else "straight"
    loss = flow_matching_loss(network, seen, action, noise, time, path=path)
    return loss.mean() if weight is None else (weight.unsqueeze(-1) * loss).mean()
