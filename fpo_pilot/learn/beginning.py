"""How a training may begin other than afresh: as the incumbent, or as the policy of another run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fpo_pilot.errors import CheckpointError
from fpo_pilot.learn.build import TrainedPolicy
from fpo_pilot.learn.checkpoint import read_checkpoint
from fpo_pilot.learn.cloning import clone, demonstrate
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.denoising_policy import DenoisingPolicy
from fpo_pilot.learn.interaction import Interaction, Rollout, part
from fpo_pilot.learn.optimiser import Optimiser
from fpo_pilot.specs.training import Cloning, Common


def begin_as_incumbent(
    loop: Interaction,
    policy: TrainedPolicy,
    critic: Critic,
    optimiser: Optimiser,
    spec: Common,
    settings: Cloning,
    generator: torch.Generator | None,
) -> Rollout:
    """Become the incumbent: observation statistics, policy and critic come from its demonstrations, which are returned."""
    shown = demonstrate(
        loop,
        loop.horizon,
        exploration=settings.exploration,
        reward_scale=spec.reward_scale,
        generator=generator,
    )
    policy.normaliser.merge(shown.obs)
    clone(policy, critic, optimiser, shown, spec, generator)
    settle(policy)
    return shown


def begin_from_run(path: Path, policies: Sequence[TrainedPolicy], device: str) -> None:
    """Take policy and observation statistics of another run into each of ``policies``.

    Raises:
        CheckpointError: they are of other sizes or kind.
    """
    tensors, _ = read_checkpoint(path, device=device)
    try:
        for policy in policies:
            policy.load_state_dict(_fitting(policy, part(tensors, "policy.")))
            settle(policy)
    except RuntimeError as problem:
        raise CheckpointError(
            f"{path}: found a policy of other sizes or kind ({str(problem).splitlines()[-1].strip()}), expected one "
            "that this training could have made. Give both the same actor, time_frequencies and observations."
        ) from problem


def settle(policy: TrainedPolicy) -> None:
    """Let the steps of a chain that are not trained be those of the weights it begins with."""
    if isinstance(policy, DenoisingPolicy):
        policy.freeze_beginning()


def _fitting(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let a chain with frozen steps take the weights of a policy that has none: both halves begin with them."""
    wanted = module.state_dict().keys()
    missing = {name for name in wanted if name.startswith("frozen.") and name not in tensors}
    return tensors | {name: tensors[name.replace("frozen.", "network.", 1)] for name in missing}
