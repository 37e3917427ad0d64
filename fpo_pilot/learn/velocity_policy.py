"""What policies with a velocity network share: how the network is made, and how they may be deployed."""

from __future__ import annotations

import torch

from fpo_pilot.flow import Method, VelocityNetwork
from fpo_pilot.learn.policy import Deployment
from fpo_pilot.specs.training import DppoSpec, FpoSpec

NOISE_SCALES = (0.0, 0.5, 1.0)


def velocity_network(
    observation_size: int, action_size: int, spec: FpoSpec | DppoSpec, generator: torch.Generator | None
) -> VelocityNetwork:
    """Make the untrained network of a spec."""
    return VelocityNetwork(
        observation_size,
        action_size,
        width=spec.actor.width,
        depth=spec.actor.depth,
        frequencies=spec.time_frequencies,
        output_scale=spec.output_scale,
        generator=generator,
    )


def velocity_modes(spec: FpoSpec | DppoSpec, method: Method, steps: int | None) -> tuple[Deployment, ...]:
    """List the noise scales to choose from; zero is not always best (several modes need noise)."""
    count = spec.flow_steps if steps is None else steps
    return tuple(Deployment(noise_scale=scale, method=method, steps=count) for scale in NOISE_SCALES)
