"""From a training spec to a policy, and from a run folder back to the policy that it trained."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError

from fpo_pilot.errors import CheckpointError
from fpo_pilot.learn.action_value import action_value, make_q
from fpo_pilot.learn.checkpoint import checkpoint_path, read_checkpoint
from fpo_pilot.learn.denoising_policy import DenoisingPolicy
from fpo_pilot.learn.flow_policy import FlowPolicy
from fpo_pilot.learn.gaussian_policy import GaussianPolicy
from fpo_pilot.learn.interaction import part
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.specs.training import DppoSpec, FlowQSpec, FpoSpec, TrainingSpec, training_spec_of

TrainedPolicy = FlowPolicy | DenoisingPolicy | GaussianPolicy


def build_policy(
    spec: TrainingSpec,
    observation_size: int,
    action_size: int,
    *,
    generator: torch.Generator | None = None,
    mirror: Mirror | None = None,
) -> TrainedPolicy:
    """Make the untrained policy of a spec; ``mirror`` holds the signs of what its ``mirror`` names."""
    if isinstance(spec, FlowQSpec):
        spec = spec.flow()
    if isinstance(spec, FpoSpec):
        return FlowPolicy(observation_size, action_size, spec, generator=generator, mirror=mirror)
    if isinstance(spec, DppoSpec):
        return DenoisingPolicy(observation_size, action_size, spec, generator=generator, mirror=mirror)
    return GaussianPolicy(observation_size, action_size, spec, generator=generator, mirror=mirror)


def load_policy(run_dir: Path, which: str = "best", *, device: str | torch.device = "cpu") -> TrainedPolicy:
    """Load a trained policy from its run folder; nothing else is needed.

    Args:
        run_dir: the run folder.
        which: ``best`` by evaluation during training (what is deployed), or ``latest``.
        device: where its tensors go.

    Raises:
        CheckpointError: there is none, or it does not fit together.
    """
    path = checkpoint_path(run_dir, which)
    tensors, facts = read_checkpoint(path, device=device)
    try:
        spec = training_spec_of(facts["spec"])
        sizes = int(facts["observation_size"]), int(facts["action_size"])
        mirror = None if facts.get("mirror") is None else Mirror(*(tuple(signs) for signs in facts["mirror"]))
        policy = build_policy(spec, *sizes, mirror=mirror).to(device)
        policy.load_state_dict(part(tensors, "policy."))
        if isinstance(spec, FlowQSpec) and spec.candidate_order == "value" and isinstance(policy, FlowPolicy):
            q = make_q(spec, *sizes, mirror=mirror).to(device)
            q.load_state_dict(part(tensors, "critic."))
            policy.value = action_value(q.eval().requires_grad_(False), policy.normaliser)
    except (ValidationError, KeyError, RuntimeError) as problem:
        raise CheckpointError(
            f"{path}: found a checkpoint that does not fit together ({str(problem).splitlines()[0]}), expected the policy of "
            "this release. Use the release that wrote it, or train again."
        ) from problem
    return policy.eval().requires_grad_(False)
