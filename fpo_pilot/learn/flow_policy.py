"""A flow policy trained by FPO (arXiv 2507.21053; per-draw ratios and ASPO after 2602.02481).

The ratio is no likelihood ratio: it is the exponential of how much the flow-matching loss of the action taken fell.
At the policy that acted its gradient is what the method needs; it is never fed to an importance-sampling estimator.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fpo_pilot.flow import Method, flow_matching_loss, integrate, log_density
from fpo_pilot.flow.integrators import integrate_field
from fpo_pilot.flow.matching import field_loss
from fpo_pilot.learn.losses import straight_through_clamp, surrogate
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.learn.normaliser import Normaliser
from fpo_pilot.learn.policy import ActionValue, Deployed, Deployment, PolicyLoss, Trace
from fpo_pilot.learn.squash import EDGE, tanh_log_slope
from fpo_pilot.learn.velocity_policy import velocity_imitation, velocity_modes, velocity_network
from fpo_pilot.specs.training import FpoSpec


class FlowPolicy(nn.Module):
    """Noise to action along a learned velocity field.

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
        spec: FpoSpec,
        *,
        generator: torch.Generator | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.action_size = action_size
        self.normaliser = Normaliser(observation_size, mirror)
        self.network = velocity_network(observation_size, action_size, spec, generator, mirror)
        self.value: ActionValue | None = None
        """Orders the candidates in use; not part of the weights, :func:`fpo_pilot.learn.load_policy` sets it where a run has one."""

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Trace]:
        """Sample from full noise; remember that noise, the draws of noise and time, and their losses as the policy acted."""
        spec, batch, draws = self.spec, obs.shape[0], self.spec.samples_per_action
        features = self.network.observe(self.normaliser(obs))  # once for all steps of the sampler and all draws
        start = torch.randn(batch, self.action_size, generator=generator, device=obs.device, dtype=obs.dtype)
        reached = integrate_field(self.network.field(features), start, steps=spec.flow_steps)
        shape = (batch, draws, self.action_size)
        noise = torch.randn(shape, generator=generator, device=obs.device, dtype=obs.dtype)
        # With the weight t² a draw at t = 0 would have neither loss nor gradient, so it is not drawn.
        first = 1 if spec.weighting == "noise" else 0
        grid = torch.randint(first, spec.flow_steps, (batch, draws), generator=generator, device=obs.device)
        time = grid.to(obs.dtype) / spec.flow_steps
        loss = field_loss(
            self.network.field(features.unsqueeze(1)),
            reached,
            noise,
            time,
            weighting=spec.weighting,
            reduction=spec.reduction,
            path=spec.path,
            huber=spec.huber,
        )
        trace = {"start": start, "noise": noise, "time": time, "old_loss": self._bounded(loss)}
        return (reached.tanh(), trace | {"u": reached}) if spec.squash else (reached, trace)

    def _reached(self, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return where the flow ended: the inverse of tanh is never taken."""
        return trace["u"] if self.spec.squash else action

    def flow_loss(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the flow-matching loss of each remembered draw, ``[B, N]``."""
        loss = flow_matching_loss(
            self.network,
            self.normaliser(obs),
            self._reached(action, trace),
            trace["noise"],
            trace["time"],
            weighting=self.spec.weighting,
            reduction=self.spec.reduction,
            path=self.spec.path,
            huber=self.spec.huber,
        )
        return self._bounded(loss)

    def _bounded(self, loss: Tensor) -> Tensor:
        """Bound a loss; both the old and the new one: a bound on one alone would make identical policies differ."""
        return loss if self.spec.loss_bound is None else loss.clamp(max=self.spec.loss_bound)

    def log_ratio(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return old loss minus new loss, averaged over the draws ``[B]`` or of each ``[B, N]``, as the spec says."""
        return self._log_ratio(self.flow_loss(obs, action, trace), trace["old_loss"])

    def _log_ratio(self, new_loss: Tensor, old_loss: Tensor) -> Tensor:
        gain = old_loss - new_loss
        return gain.mean(dim=-1) if self.spec.ratio == "averaged" else gain

    def loss(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor], advantage: Tensor) -> PolicyLoss:
        """Return the clipped surrogate of FPO on a minibatch."""
        new_loss = self.flow_loss(obs, action, trace)
        log_ratio = straight_through_clamp(self._log_ratio(new_loss, trace["old_loss"]), self.spec.log_ratio_bound)
        objective = surrogate(log_ratio, advantage, clip=self.spec.clip, trust_region=self.spec.trust_region)
        matching = new_loss.mean()
        total = objective.mean() + self.spec.regulariser * matching if self.spec.regulariser else objective.mean()
        return PolicyLoss.of(total, log_ratio, clip=self.spec.clip, cfm_loss=matching.detach())

    def improved(
        self, obs: Tensor, action: Tensor, noise: Tensor, time: Tensor, *, bound: float
    ) -> tuple[Tensor, Tensor]:
        """Return the action that the flow makes of ``action`` and noise, and the error that it makes on the way.

        x̂ = a + (1 − t)·clip(v − u, ±bound) with u = a − ε and v at x_t = (1 − t)·ε + t·a: where the straight line of the
        velocity ends, but no farther from a than the bound allows (QF3, arXiv 2610.08789). Its gradient is the velocity's.

        Args:
            obs: ``[B, O]``.
            action: ``[B, A]``, a.
            noise: ``[B, A]``, ε.
            time: ``[B]``, t.
            bound: of each entry of v − u.

        Returns:
            x̂ ``[B, A]`` and ‖v − u‖² ``[B]``.
        """
        moment = time.unsqueeze(-1)
        point = (1.0 - moment) * noise + moment * action
        error = self.network(self.normaliser(obs), point, time) - (action - noise)
        return action + (1.0 - moment) * error.clamp(-bound, bound), error.square().sum(dim=-1)

    def imitation_loss(
        self, obs: Tensor, action: Tensor, generator: torch.Generator | None, weight: Tensor | None = None
    ) -> Tensor:
        """Return the flow-matching loss of ``action``, each row times its ``weight`` ``[B]``."""
        end = torch.atanh(action.clamp(-EDGE, EDGE)) if self.spec.squash else action
        return velocity_imitation(self.network, self.normaliser(obs), end, self.spec, generator, weight)

    def sample(
        self, obs: Tensor, noise: Tensor, scale: Tensor | float, *, method: Method = "euler", steps: int | None = None
    ) -> Tensor:
        """Return the action that the flow makes of ``scale``·``noise``."""
        count = self.spec.flow_steps if steps is None else steps
        reached = integrate(self.network, self.normaliser(obs), scale * noise, method=method, steps=count)
        return reached.tanh() if self.spec.squash else reached

    def replay(self, obs: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the action made now of the noise that was drawn then."""
        return self.sample(obs, trace["start"], 1.0)

    @torch.no_grad()
    def exact_log_density(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the exact log-density of the Euler sampler at ``action``, ``[B]`` float64; a diagnostic, and slow."""
        end = self._reached(action, trace)
        density = log_density(self.network, self.normaliser(obs), end, steps=self.spec.flow_steps)
        return density - tanh_log_slope(end.to(density.dtype)) if self.spec.squash else density

    def remembered_log_density(self, trace: Mapping[str, Tensor]) -> None:
        """Return None: the exact density costs more than the step itself."""

    def deploy(self, deployment: Deployment) -> Deployed:
        """Return the policy as it will run."""
        return Deployed(self, deployment, self.action_size, value=self.value)

    def modes(self, method: Method = "euler", steps: int | None = None) -> tuple[Deployment, ...]:
        """List the deployment noise scales to choose from; zero is not always best (several modes need noise)."""
        return velocity_modes(self.spec, method, steps)
