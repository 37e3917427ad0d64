"""What learns from a buffer of all that was collected: Q(s, a) by its own targets, the flow up the gradient of Q.

Letters: B rows of a minibatch, M members of the ensemble, O observation, A action.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from fpo_pilot.learn.action_value import make_q, q_input
from fpo_pilot.learn.beginning import begin_as_incumbent
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.flow_policy import FlowPolicy
from fpo_pilot.learn.interaction import Interaction, Rollout, part
from fpo_pilot.learn.logged import LoggedEpisodes
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.learn.monitors import action_monitors
from fpo_pilot.learn.optimiser import FlatNetwork, Optimiser
from fpo_pilot.learn.policy import Deployment, Trace
from fpo_pilot.learn.replay import ReplayBuffer, Transitions, transitions
from fpo_pilot.learn.update import Targets, certainty, rollout_figures
from fpo_pilot.learn.warm_start import fit_to_log
from fpo_pilot.specs.training import Cloning, FlowQSpec

_LEAST_SIZE = 1e-6
"""Least divisor of Q: before anything was learned its size is 0."""


class Exploring:
    """A policy with noise beside its own; what it proposes is cut to the limits, since Q knows nothing beyond them.

    Args:
        policy: what samples.
        std: of the noise, in half spans.
    """

    def __init__(self, policy: FlowPolicy, std: float) -> None:
        self.policy, self.std = policy, std

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Trace]:
        """Return the action ``[B, A]``; the trace keeps the start of the flow, and where it ended as ``sampled``."""
        shape = (obs.shape[0], self.policy.action_size)
        start, noise = (torch.randn(shape, generator=generator, device=obs.device, dtype=obs.dtype) for _ in range(2))
        sampled = self.policy.sample(obs, start, 1.0)
        return (sampled + self.std * noise).clamp(-1.0, 1.0), {"start": start, "sampled": sampled}

    def modes(self) -> tuple[Deployment, ...]:
        """List the deployments of the policy."""
        return self.policy.modes()


class ReplayLearner:
    """An ensemble of Q with slow targets, and a flow whose velocity is taught by both Q and the actions of the buffer.

    Args:
        policy: on its device.
        spec: settings.
        observation_size: O.
        action_size: A.
        generator: of the initial weights of Q.
        mirror: in which the plant is the same; None for none.
        device: where Q and the buffer live.
    """

    watched: tuple[str, ...] = ("policy_loss", "value_loss", "gradient_norm")

    def __init__(
        self,
        policy: FlowPolicy,
        spec: FlowQSpec,
        observation_size: int,
        action_size: int,
        *,
        generator: torch.Generator,
        mirror: Mirror | None,
        device: str,
    ) -> None:
        self.policy, self.spec, self.device = policy, spec, device
        self.warm_up = spec.critic_warm_up
        sizes = (observation_size, action_size)
        self.q = make_q(spec, *sizes, mirror=mirror, generator=generator).to(device)
        self.target = copy.deepcopy(self.q)
        self.weights = FlatNetwork(policy)
        self._q_weights, self._target_weights = FlatNetwork(self.q), FlatNetwork(self.target)
        self.actor_optimiser = Optimiser((self.weights,), spec)
        self.critic_optimiser = Optimiser((self._q_weights,), spec)
        self.buffer = ReplayBuffer(spec.capacity, observation_size, action_size, device=device)
        self.acting = Exploring(policy, spec.exploration)

    def critics(self) -> dict[str, Critic]:
        """Return what the best checkpoint keeps beside the policy."""
        return {"critic": self.q, "target_critic": self.target}

    def begin_from_log(self, logged: LoggedEpisodes, generator: torch.Generator) -> None:
        """Fit the policy to a log, put its transitions into the buffer, and teach Q what they were worth."""
        value, optimiser = self._state_value()
        fit_to_log(self.policy, value, optimiser, logged, self.spec, generator)
        device = self.device
        found = transitions(
            logged.obs.to(device),
            logged.action.to(device),
            logged.reward.to(device) * self.spec.reward_scale,
            logged.next_obs.to(device),
            logged.terminated.to(device),
            logged.truncated.to(device),
            discount=self.spec.discount,
            n_step=self.spec.n_step,
        )
        kept = logged.kept.to(device).flatten()
        self.buffer.add(Transitions(**{name: column[kept] for name, column in vars(found).items()}))
        settings = self.spec.warm_start
        self._warm_up(settings.passes, settings.minibatch, generator)

    def begin_as_incumbent(self, loop: Interaction, settings: Cloning, generator: torch.Generator) -> None:
        """Fit the policy to demonstrations of the incumbent, remember what was done in them, and teach Q their worth."""
        value, optimiser = self._state_value()
        shown = begin_as_incumbent(loop, self.policy, value, optimiser, self.spec, settings, generator)
        self._remember(shown, shown.trace["done"])
        self._warm_up(settings.passes, settings.minibatch, generator)

    def _state_value(self) -> tuple[Critic, Optimiser]:
        """Make the critic of states that a copy may be weighted by; Q takes over from it."""
        size = self.policy.normaliser.mean.numel()
        seed = torch.Generator().manual_seed(0)
        value = Critic(size, width=self.spec.critic.width, depth=self.spec.critic.depth, generator=seed).to(self.device)
        return value, Optimiser((self.weights, FlatNetwork(value)), self.spec)

    def _warm_up(self, passes: int, minibatch: int, generator: torch.Generator) -> None:
        """Let Q learn from the buffer while the policy stands still."""
        parts = max(1, self.buffer.size // minibatch)
        for _ in range(passes):
            self._rescale(self.buffer.draw(minibatch, generator), generator)
            for _ in range(parts):
                self._teach_q(self.buffer.draw(minibatch, generator), generator)
        self.critic_optimiser.forget()

    def set_rate(self, rate: float, *, policy: float) -> None:
        """Set the learning rate of Q, and that of the policy."""
        self.actor_optimiser.set_rate(policy)
        self.critic_optimiser.set_rate(rate)

    def learn(
        self,
        rollout: Rollout,
        generator: torch.Generator | None,
        *,
        policy_frozen: bool,
        statistics_frozen: bool,
        exact: bool,
    ) -> dict[str, Tensor]:
        """Take ``rollout`` into the buffer and learn from that; see :class:`fpo_pilot.learn.learner.Learner`."""
        self._remember(rollout, rollout.action)
        rows = max(1, rollout.reward.numel() // self.spec.minibatches)
        value, returns = self._rescale(self.buffer.draw(rows, generator), generator)
        records: list[Tensor] = []
        for _ in range(self.spec.passes * self.spec.minibatches):
            batch = self.buffer.draw(rows, generator)
            value_loss = self._teach_q(batch, generator)
            loss, matching = self.policy_loss(batch, generator)
            norm = torch.full_like(value_loss, 0.0) if policy_frozen else self.actor_optimiser.step(loss)[0]
            records.append(torch.stack((loss.detach(), value_loss, matching, norm)))
        means = torch.stack(records).mean(dim=0).unbind(0)
        if not statistics_frozen:  # others would make another policy of the same weights
            self.policy.normaliser.merge(rollout.obs)
        figures = dict(zip(("policy_loss", "value_loss", "cfm_loss", "gradient_norm"), means, strict=True))
        figures |= rollout_figures(rollout, Targets(returns - value, returns, value))
        return figures | action_monitors(self.policy, rollout)

    def _remember(self, rollout: Rollout, action: Tensor) -> None:
        found = transitions(
            rollout.obs,
            action,
            rollout.reward,
            rollout.next_obs,
            rollout.terminated,
            rollout.truncated,
            discount=self.spec.discount,
            n_step=self.spec.n_step,
        )
        self.buffer.add(found)

    @torch.no_grad()
    def targets(self, batch: Transitions, generator: torch.Generator | None) -> Tensor:
        """Return r + continuation·Q'(s', a') ``[B]``, a' sampled from the policy and cut to the limits.

        Of the members of Q' the least or the mean, as the spec says.
        """
        noise = self._noise(batch.action, generator)
        following = self.policy.sample(batch.next_obs, noise, 1.0)
        values = self.target.values(self._input(batch.next_obs, following))
        value = values.amin(dim=0) if self.spec.target == "min" else values.mean(dim=0)
        return batch.reward + batch.continuation * value

    def policy_loss(self, batch: Transitions, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return −Q(s, x̂)/scale + λ‖v − u‖², a scalar, and its second part without λ and gradient.

        With a weight of the ensemble's uncertainty, rows on which its members differ count less.
        """
        spec, rows = self.spec, batch.reward.shape[0]
        noise = self._noise(batch.action, generator)
        # at the times at which the sampler of training looks
        grid = torch.randint(0, spec.flow_steps, (rows,), generator=generator, device=noise.device)
        time = grid.to(noise.dtype) / spec.flow_steps
        reached, error = self.policy.improved(batch.obs, batch.action, noise, time, bound=spec.correction_bound)
        self.q.requires_grad_(False)
        values = self.q.values(self._input(batch.obs, reached))
        self.q.requires_grad_(True)
        value = values.mean(dim=0)
        size = value.detach().abs().mean() if spec.q_scale == "size" else self.q.std.to(value.dtype)
        value = value / size.clamp(min=_LEAST_SIZE)
        if spec.uncertainty_weight > 0.0 and spec.critics > 1:
            value = value * certainty(values.detach(), spec.uncertainty_weight)
        matching = error.mean()
        return spec.matching * matching - value.mean(), matching.detach()

    def _teach_q(self, batch: Transitions, generator: torch.Generator | None) -> Tensor:
        """Take one step of Q towards its targets, and let the target networks follow; return the loss."""
        wanted = self.q.scaled(self.targets(batch, generator))
        loss = self.q.loss(self._input(batch.obs, batch.action), wanted)
        self.critic_optimiser.step(loss)
        with torch.no_grad():
            self._target_weights.vector.lerp_(self._q_weights.vector, self.spec.target_rate)
        return loss.detach()

    @torch.no_grad()
    def _rescale(self, batch: Transitions, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Move the units of both networks towards targets of now, alike; return values and targets ``[B]``."""
        value = self.q(self._input(batch.obs, batch.action))
        returns = self.targets(batch, generator)
        for critic in (self.q, self.target):
            critic.rescale(returns)
        return value, returns

    def _input(self, obs: Tensor, action: Tensor) -> Tensor:
        return q_input(self.policy.normaliser, obs, action)

    def _noise(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)

    def roll_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back Q and its targets; optimisers forget, and the buffer drops what is no number."""
        for name, critic in self.critics().items():
            critic.load_state_dict(part(tensors, f"{name}."))
        self.actor_optimiser.forget()
        self.critic_optimiser.forget()
        self.buffer.drop_broken()

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the next update depends on, but for the policy."""
        parts = {**self.critics(), **self._memories()}
        return {f"{prefix}.{name}": value for prefix, one in parts.items() for name, value in one.state_dict().items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        for prefix, one in {**self.critics(), **self._memories()}.items():
            one.load_state_dict(part(tensors, f"{prefix}."))

    def _memories(self) -> dict[str, Optimiser | ReplayBuffer]:
        return {
            "actor_optimiser": self.actor_optimiser,
            "critic_optimiser": self.critic_optimiser,
            "buffer": self.buffer,
        }
