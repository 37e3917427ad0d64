"""Diffusion policy optimisation (DPPO, arXiv 2409.00588): PPO over the steps of a noisy denoising chain.

The chain is a Markov decision process inside each step of the plant: from noise, x_{k+1} ~ N(x_k + Δt·v(x_k, t_k), σ²),
k = 0 … K−1, and the action is x_K. Each step has a likelihood in closed form, and its own clip; only the last K' steps
are trained. Since σ does not change, its logarithm cancels in the ratio.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fpo_pilot.flow import Method, VelocityNetwork, integrate
from fpo_pilot.learn.losses import surrogate
from fpo_pilot.learn.mirror import Mirror, MirroredVelocity
from fpo_pilot.learn.normaliser import Normaliser
from fpo_pilot.learn.policy import Deployed, Deployment, PolicyLoss, Trace
from fpo_pilot.learn.velocity_policy import velocity_imitation, velocity_modes, velocity_network
from fpo_pilot.specs.training import DppoSpec


class DenoisingPolicy(nn.Module):
    """Noise to action along a learned velocity, with noise added at every step while it learns.

    Args:
        observation_size: O.
        action_size: A.
        spec: settings.
        generator: of the initial weights.
        mirror: in which the plant is the same; None for none.
    """

    clips: Tensor
    discounts: Tensor

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        spec: DppoSpec,
        *,
        generator: torch.Generator | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.action_size = action_size
        self.tuned = spec.flow_steps if spec.tuned_steps is None else min(spec.tuned_steps, spec.flow_steps)
        self.normaliser = Normaliser(observation_size, mirror)
        self.network = velocity_network(observation_size, action_size, spec, generator, mirror)
        self.frozen: VelocityNetwork | MirroredVelocity | None = None
        if self.tuned < spec.flow_steps:
            self.frozen = copy.deepcopy(self.network).requires_grad_(False)
        self.register_buffer("clips", chain_clips(spec.clip, spec.clip_base, self.tuned), persistent=False)
        powers = torch.arange(self.tuned - 1, -1, -1, dtype=torch.float32)
        self.register_buffer("discounts", spec.denoising_discount**powers, persistent=False)

    def freeze_beginning(self) -> None:
        """Let the steps that are not trained be those of the weights as they are now: call it once they are loaded."""
        if self.frozen is not None:
            self.frozen.load_state_dict(self.network.state_dict())

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Trace]:
        """Run the noisy chain; remember its start, the trained part of it, and the noise of its steps."""
        spec, steps = self.spec, self.spec.flow_steps
        start = torch.randn(obs.shape[0], self.action_size, generator=generator, device=obs.device, dtype=obs.dtype)
        shape = (obs.shape[0], steps, self.action_size)
        kicks = torch.randn(shape, generator=generator, device=obs.device, dtype=obs.dtype)
        chain = self._chain(obs, start, kicks * spec.chain_std)
        kept = slice(steps - self.tuned, None)
        old = -0.5 * kicks[:, kept].square().sum(dim=-1)
        trace = {"start": start, "kicks": kicks, "chain": chain[:, kept], "old_log_density": old}
        return chain[:, -1], trace

    def _chain(self, obs: Tensor, start: Tensor, noise: Tensor) -> Tensor:
        """Return all points ``[B, K+1, A]`` of the chain from ``start`` with ``noise`` ``[B, K, A]`` added to its steps."""
        seen, steps = self.normaliser(obs), self.spec.flow_steps
        trained = self.network.condition(seen)
        before = trained if self.frozen is None else self.frozen.condition(seen)
        x, points = start, [start]
        for k in range(steps):
            field = trained if k >= steps - self.tuned else before
            time = x.new_full((1,), k / steps)
            x = x + field(x, time) / steps + noise[:, k]
            points.append(x)
        return torch.stack(points, dim=1)

    def log_ratio(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the log of the likelihood ratio of each trained step, ``[B, K']``."""
        chain, steps = trace["chain"], self.spec.flow_steps
        points = chain[:, :-1]
        first = steps - self.tuned
        time = torch.arange(first, steps, dtype=points.dtype, device=points.device) / steps
        field = self.network.condition(self.normaliser(obs).unsqueeze(1))
        mean = points + field(points, time.expand(points.shape[:-1])) / steps
        now = -0.5 * ((chain[:, 1:] - mean) / self.spec.chain_std).square().sum(dim=-1)
        return now - trace["old_log_density"]

    def loss(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor], advantage: Tensor) -> PolicyLoss:
        """Return the clipped surrogate: step k has advantage A·γ_d^{K'−1−k} and a clip of its own."""
        log_ratio = self.log_ratio(obs, action, trace)
        gain = advantage.unsqueeze(-1) * self.discounts
        objective = surrogate(log_ratio, gain, clip=self.clips, trust_region="ppo")
        return PolicyLoss.of(objective.mean(), log_ratio, clip=self.clips)

    def imitation_loss(
        self, obs: Tensor, action: Tensor, generator: torch.Generator | None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the flow-matching loss of ``action``, each row times its ``weight`` ``[B]``."""
        return velocity_imitation(self.network, self.normaliser(obs), action, self.spec, generator, weight)

    def sample(
        self, obs: Tensor, noise: Tensor, scale: Tensor | float, *, method: Method = "euler", steps: int | None = None
    ) -> Tensor:
        """Return what the chain makes of ``scale``·``noise`` when nothing is added at its steps."""
        if self.frozen is not None:
            return self._chain(obs, scale * noise, self._quiet(obs))[:, -1]
        count = self.spec.flow_steps if steps is None else steps
        return integrate(self.network, self.normaliser(obs), scale * noise, method=method, steps=count)

    def _quiet(self, obs: Tensor) -> Tensor:
        return obs.new_zeros((obs.shape[0], self.spec.flow_steps, self.action_size))

    def replay(self, obs: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the action made now of the noise that was drawn then, that of the steps included."""
        return self._chain(obs, trace["start"], trace["kicks"] * self.spec.chain_std)[:, -1]

    @torch.no_grad()
    def exact_log_density(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return NaN ``[B]``: the density of the action alone is an integral over all chains, and is not known."""
        return torch.full(obs.shape[:1], torch.nan, dtype=torch.float64, device=obs.device)

    def remembered_log_density(self, trace: Mapping[str, Tensor]) -> None:
        """Return None: what is remembered is the density of the chain."""

    def deploy(self, deployment: Deployment) -> Deployed:
        """Return the policy as it will run."""
        return Deployed(self, deployment, self.action_size)

    def modes(self, method: Method = "euler", steps: int | None = None) -> tuple[Deployment, ...]:
        """List the deployment noise scales to choose from; the steps themselves add none."""
        return velocity_modes(self.spec, method, steps)


def chain_clips(clip: float, base: float, steps: int) -> Tensor:
    """Return the clip of each step ``[K']``: base + (clip − base)·(e^{3k/(K'−1)} − 1)/(e³ − 1); the last one is ``clip``.

    Source: arXiv 2409.00588, appendix; one step alone has ``clip``.
    """
    if steps == 1:
        return torch.tensor([clip])
    share = torch.arange(steps, dtype=torch.float64) / (steps - 1)
    return (base + (clip - base) * torch.expm1(3.0 * share) / math.expm1(3.0)).to(torch.float32)
