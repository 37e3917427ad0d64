"""The seam between the trainer and what learns: from one rollout at a time, or from a buffer of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import torch
from torch import Tensor

from fpo_pilot.learn.build import TrainedPolicy
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.flow_policy import FlowPolicy
from fpo_pilot.learn.interaction import Interaction, Proposing, Rollout
from fpo_pilot.learn.logged import LoggedEpisodes
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.learn.on_policy import OnPolicyLearner
from fpo_pilot.learn.optimiser import FlatNetwork
from fpo_pilot.learn.replay_learner import ReplayLearner
from fpo_pilot.specs.training import Cloning, FlowQSpec, TrainingSpec


class Learner(Protocol):
    """Owns critics, optimisers and memory of a training; the policy is the trainer's, and is moved here."""

    weights: FlatNetwork
    """Of the policy."""
    warm_up: int
    """Updates at the beginning of any training in which the policy stands still."""
    watched: tuple[str, ...]
    """Figures of an update that must be finite."""

    @property
    def acting(self) -> Proposing:
        """What proposes actions while collecting."""

    def critics(self) -> dict[str, Critic]:
        """Return what the best checkpoint keeps beside the policy, by name."""

    def begin_from_log(self, logged: LoggedEpisodes, generator: torch.Generator) -> None:
        """Fit the policy to a log, and what values it."""

    def begin_as_incumbent(self, loop: Interaction, settings: Cloning, generator: torch.Generator) -> None:
        """Fit the policy to demonstrations of the incumbent, and what values it."""

    def set_rate(self, rate: float, *, policy: float) -> None:
        """Set the learning rate of what values the policy, and that of the policy."""

    def learn(
        self,
        rollout: Rollout,
        generator: torch.Generator | None,
        *,
        policy_frozen: bool,
        statistics_frozen: bool,
        exact: bool,
    ) -> dict[str, Tensor]:
        """Learn from what was just collected.

        Args:
            rollout: by :attr:`acting`.
            generator: of minibatches and noise.
            policy_frozen: only what values the policy learns; the policy stays as it is to the bit.
            statistics_frozen: those of the observations stay as well: with others the same weights are another policy.
            exact: also measure what is too slow for every update.

        Returns:
            Figures by their column in metrics.parquet, scalars on the device.
        """

    def roll_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back the critics of a checkpoint, and forget what led astray."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the next update depends on, but for the policy."""

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state_dict` was taken."""


def build_learner(
    spec: TrainingSpec,
    policy: TrainedPolicy,
    observation_size: int,
    action_size: int,
    *,
    generator: torch.Generator,
    mirror: Mirror | None,
    device: str,
) -> Learner:
    """Make what learns by ``spec``; ``generator`` draws the initial weights of its critics."""
    if isinstance(spec, FlowQSpec):
        flow = cast(FlowPolicy, policy)  # that is what build_policy makes of it
        sizes = (observation_size, action_size)
        return ReplayLearner(flow, spec, *sizes, generator=generator, mirror=mirror, device=device)
    return OnPolicyLearner(policy, spec, observation_size, generator=generator, mirror=mirror, device=device)
