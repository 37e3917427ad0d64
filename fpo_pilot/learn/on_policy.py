"""What learns from one rollout at a time: the policy by its own clipped loss, beside a critic of the state's value."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fpo_pilot.learn.beginning import begin_as_incumbent
from fpo_pilot.learn.build import TrainedPolicy
from fpo_pilot.learn.constraint import Multiplier
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.health import WATCHED
from fpo_pilot.learn.interaction import Interaction, Rollout, part
from fpo_pilot.learn.logged import LoggedEpisodes
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.learn.monitors import density_gap, exact_densities, monitors
from fpo_pilot.learn.optimiser import FlatNetwork, Optimiser
from fpo_pilot.learn.update import make_targets, rollout_figures, update
from fpo_pilot.learn.warm_start import fit_to_log
from fpo_pilot.specs.training import Cloning, DppoSpec, FpoSpec, GaussianPpoSpec

OnPolicySpec = FpoSpec | DppoSpec | GaussianPpoSpec


class OnPolicyLearner:
    """Advantages of a rollout, then passes over it; it is forgotten afterwards.

    Args:
        policy: on its device.
        spec: settings.
        observation_size: O.
        generator: of the initial weights of the critics.
        mirror: in which the plant is the same; None for none.
        device: where the critics live.
    """

    warm_up = 0
    watched: tuple[str, ...] = WATCHED

    def __init__(
        self,
        policy: TrainedPolicy,
        spec: OnPolicySpec,
        observation_size: int,
        *,
        generator: torch.Generator,
        mirror: Mirror | None,
        device: str,
    ) -> None:
        self.policy, self.spec = policy, spec
        layers = {"width": spec.critic.width, "depth": spec.critic.depth}
        made = Critic(observation_size, **layers, members=spec.critics, generator=generator, mirror=mirror)
        self.critic = made.to(device)
        self.multiplier: Multiplier | None = None
        self.cost_critic: Critic | None = None
        if spec.constraint is not None:
            self.multiplier = Multiplier(spec.constraint, device=device)
            self.cost_critic = Critic(observation_size, **layers, generator=generator, mirror=mirror).to(device)
        self.weights = FlatNetwork(policy)
        critics = (FlatNetwork(critic) for critic in self.critics().values())
        self.optimiser = Optimiser((self.weights, *critics), spec)

    @property
    def acting(self) -> TrainedPolicy:
        """The policy itself: its own noise is what explores."""
        return self.policy

    def critics(self) -> dict[str, Critic]:
        """Return what the best checkpoint keeps beside the policy."""
        found = {"critic": self.critic, "cost_critic": self.cost_critic}
        return {name: critic for name, critic in found.items() if critic is not None}

    def begin_from_log(self, logged: LoggedEpisodes, generator: torch.Generator) -> None:
        """Fit policy and critic to a log."""
        fit_to_log(self.policy, self.critic, self.optimiser, logged, self.spec, generator)

    def begin_as_incumbent(self, loop: Interaction, settings: Cloning, generator: torch.Generator) -> None:
        """Fit policy and critic to demonstrations of the incumbent."""
        begin_as_incumbent(loop, self.policy, self.critic, self.optimiser, self.spec, settings, generator)

    def set_rate(self, rate: float, *, policy: float) -> None:
        """Set the learning rate of the critics, and that of the policy."""
        self.optimiser.set_rate(rate, first=policy)

    def learn(
        self,
        rollout: Rollout,
        generator: torch.Generator | None,
        *,
        policy_frozen: bool,
        statistics_frozen: bool,
        exact: bool,
    ) -> dict[str, Tensor]:
        """Learn from ``rollout``; return figures, scalars on the device. See :class:`fpo_pilot.learn.learner.Learner`."""
        price = None if self.multiplier is None else self.multiplier.move(rollout.cost.mean())
        targets = make_targets(
            rollout,
            self.critic,
            self.policy,
            self.spec,
            cost_critic=self.cost_critic,
            multiplier=0.0 if price is None else price.to(rollout.reward.dtype),
        )
        densities = exact_densities(self.policy, rollout) if exact else None
        diagnostics = update(
            self.policy,
            self.critic,
            self.optimiser,
            rollout,
            targets,
            self.spec,
            generator,
            cost_critic=self.cost_critic,
            policy_frozen=policy_frozen,
        )
        if not statistics_frozen:  # others would make another policy of the same weights
            self.policy.normaliser.merge(rollout.obs)
        figures = diagnostics | rollout_figures(rollout, targets)
        figures |= monitors(self.policy, rollout, targets, clip=self.spec.clip)
        if densities is not None:
            figures["density_gap"] = density_gap(self.policy, rollout, densities)
        if price is not None:
            figures["multiplier"] = price
        return figures

    def roll_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back the critics of a checkpoint; the optimiser forgets: its moments led astray."""
        for name, critic in self.critics().items():
            critic.load_state_dict(part(tensors, f"{name}."))
        self.optimiser.forget()

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the next update depends on, but for the policy."""
        tensors: dict[str, Tensor] = {}
        if self.multiplier is not None:
            tensors |= {f"multiplier.{name}": value for name, value in self.multiplier.state_dict().items()}
        for prefix, critic in self.critics().items():
            tensors |= {f"{prefix}.{name}": value for name, value in critic.state_dict().items()}
        return tensors | {f"optimiser.{name}": value for name, value in self.optimiser.state_dict().items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        if self.multiplier is not None:
            self.multiplier.load_state_dict(part(tensors, "multiplier."))
        for prefix, critic in self.critics().items():
            critic.load_state_dict(part(tensors, f"{prefix}."))
        self.optimiser.load_state_dict(part(tensors, "optimiser."))
