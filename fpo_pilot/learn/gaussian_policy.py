"""A Gaussian policy trained by PPO (arXiv 1707.06347), plain or squashed by tanh, with the care that the flow gets."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from fpo_pilot.flow import Method
from fpo_pilot.learn.losses import surrogate
from fpo_pilot.learn.mirror import Mirror, MirroredPerceptron
from fpo_pilot.learn.network import Perceptron
from fpo_pilot.learn.normaliser import Normaliser
from fpo_pilot.learn.policy import Deployed, Deployment, PolicyLoss, Trace
from fpo_pilot.learn.squash import EDGE, tanh_log_slope
from fpo_pilot.specs.training import GaussianPpoSpec


class GaussianPolicy(nn.Module):
    """Mean and standard deviation from one network; the action is the sample, or its tanh.

    log π = Σ log N(u; μ, σ), minus Σ 2(log 2 − u − softplus(−2u)) where a = tanh u; σ = softplus(·) + floor. The
    trace keeps u, so that the inverse of tanh is never taken.

    Args:
        observation_size: O.
        action_size: A.
        spec: settings.
        generator: of the initial weights.
        mirror: in which the plant is the same; None for none.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        spec: GaussianPpoSpec,
        *,
        generator: torch.Generator | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.action_size = action_size
        self.normaliser = Normaliser(observation_size, mirror)
        network = Perceptron(
            observation_size, 2 * action_size, width=spec.actor.width, depth=spec.actor.depth, generator=generator
        )
        self.network: Perceptron | MirroredPerceptron = network
        if mirror is not None:  # the mean changes sign, the standard deviation does not
            signs = mirror.action + (1.0,) * action_size
            self.network = MirroredPerceptron(network, mirror.observation, signs)
        # σ starts at initial_std: softplus(b) + floor = initial_std
        start = math.log(math.expm1(max(spec.initial_std - spec.std_floor, 1e-6)))
        with torch.no_grad():
            self.network.last.weight.mul_(0.01)
            self.network.last.bias[action_size:].fill_(start)

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return μ and σ of u, ``[B, A]`` each."""
        mean, raw = self.network(self.normaliser(obs)).chunk(2, dim=-1)
        return mean, functional.softplus(raw) + self.spec.std_floor

    def log_density(self, obs: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return log π of the action that ``u`` ``[B, A]`` makes, ``[B]``, and the entropy of u, ``[B]``."""
        return self._density(*self.distribution(obs), u)

    def _density(self, mean: Tensor, std: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        z = (u - mean) / std
        log_std = std.log()
        density = (-0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        if self.spec.squash:
            density = density - tanh_log_slope(u)
        return density, (0.5 + 0.5 * math.log(2 * math.pi) + log_std).sum(dim=-1)

    def _squash(self, u: Tensor) -> Tensor:
        return u.tanh() if self.spec.squash else u

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Trace]:
        """Sample; remember u and the log-density of the policy that acted."""
        mean, std = self.distribution(obs)
        start = torch.randn(mean.shape, generator=generator, device=obs.device, dtype=obs.dtype)
        u = mean + std * start
        density, _ = self._density(mean, std, u)
        return self._squash(u), {"start": start, "u": u, "old_log_density": density}

    def log_ratio(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the log of the likelihood ratio, ``[B]``."""
        return self.log_density(obs, trace["u"])[0] - trace["old_log_density"]

    def loss(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor], advantage: Tensor) -> PolicyLoss:
        """Return PPO's clipped surrogate with an entropy bonus on a minibatch."""
        density, entropy = self.log_density(obs, trace["u"])
        log_ratio = density - trace["old_log_density"]
        objective = surrogate(log_ratio, advantage, clip=self.spec.clip, trust_region="ppo")
        total = objective.mean() - self.spec.entropy_coefficient * entropy.mean()
        return PolicyLoss.of(total, log_ratio, clip=self.spec.clip)

    def imitation_loss(
        self, obs: Tensor, action: Tensor, generator: torch.Generator | None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the negative log-likelihood of the u behind ``action``, each row times its ``weight`` ``[B]``."""
        mean, std = self.distribution(obs)
        u = torch.atanh(action.clamp(-EDGE, EDGE)) if self.spec.squash else action
        loss = (0.5 * ((u - mean) / std).square() + std.log()).sum(dim=-1)
        return loss.mean() if weight is None else (weight * loss).mean()

    def sample(
        self, obs: Tensor, noise: Tensor, scale: Tensor | float, *, method: Method = "euler", steps: int | None = None
    ) -> Tensor:
        """Return the action of μ + ``scale``·σ·``noise``; there is no sampler, so ``method`` and ``steps`` change nothing."""
        mean, std = self.distribution(obs)
        return self._squash(mean + scale * std * noise)

    def replay(self, obs: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the action made now of the noise that was drawn then."""
        return self.sample(obs, trace["start"], 1.0)

    @torch.no_grad()
    def exact_log_density(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the log-density at the actions taken, ``[B]``."""
        return self.log_density(obs, trace["u"])[0]

    def remembered_log_density(self, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the log-density with which the actions were sampled."""
        return trace["old_log_density"]

    def deploy(self, deployment: Deployment) -> Deployed:
        """Return the policy as it will run."""
        return Deployed(self, deployment, self.action_size)

    def modes(self, method: Method = "euler", steps: int | None = None) -> tuple[Deployment, ...]:
        """List the mean and the sampled policy; there is no sampler to choose."""
        return tuple(Deployment(scale, candidates=self.spec.candidates) for scale in (0.0, 1.0))
