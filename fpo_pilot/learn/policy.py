"""The seam of every policy: it acts, it says how it changed, it owns its loss. The trainer names no algorithm.

Letters: B rows, O observation, A action, N draws. Actions are normalised: −1 and +1 are the limits; they are stored
as sampled, neither squashed nor clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fpo_pilot.flow import Method
from fpo_pilot.learn.normaliser import Normaliser

Trace = dict[str, Tensor]
"""What a policy remembers of how it acted, ``[B, ...]`` each; enough for :meth:`Policy.log_ratio`."""


ActionValue = Callable[[Tensor, Tensor], Tensor]
"""What actions ``[B, A]`` are worth at raw observations ``[B, O]``: ``[B]``."""


@dataclass(frozen=True)
class PolicyLoss:
    """The loss of one minibatch with what one wants to know of it; all are scalars that stay on the device."""

    loss: Tensor
    ratio_mean: Tensor
    ratio_min: Tensor
    ratio_max: Tensor
    clip_fraction: Tensor
    cfm_loss: Tensor
    """Mean flow-matching loss; NaN where there is none."""

    @classmethod
    def of(cls, loss: Tensor, log_ratio: Tensor, *, clip: float | Tensor, cfm_loss: Tensor | None = None) -> PolicyLoss:
        """Add what one wants to know to ``loss``, a scalar; ``log_ratio`` is ``[B]`` or ``[B, N]``."""
        ratio = log_ratio.detach().exp()
        low, high = torch.aminmax(ratio)
        clipped = ((ratio - 1.0).abs() > clip).to(ratio.dtype).mean()
        missing = torch.full_like(low, torch.nan)
        return cls(loss, ratio.mean(), low, high, clipped, missing if cfm_loss is None else cfm_loss)


@dataclass(frozen=True)
class Deployment:
    """How a policy is sampled where it is used, apart from how it was sampled in training.

    ``noise_scale`` σ in [0, 1]: a flow starts from σ·ε, a Gaussian adds σ·std·ε to its mean. ``method`` and ``steps``
    are those of a flow's sampler; a Gaussian has none.
    """

    noise_scale: float = 0.0
    method: Method = "euler"
    steps: int = 10
    candidates: int = 1
    """Actions that are sampled in each step; the shield takes the first that it need not alter. Without noise they are one."""

    @property
    def label(self) -> str:
        """Short name for tables; of the sampler only what is unusual."""
        sampler = "" if (self.method, self.steps) == ("euler", 10) else f", {self.method} {self.steps}"
        several = f", {self.candidates} candidates" if self.candidates > 1 and self.noise_scale > 0.0 else ""
        return f"noise {self.noise_scale:g}{sampler}{several}"


class Acting(Protocol):
    """A policy as deployed."""

    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Trace]:
        """Return normalised actions ``[B, A]``, or candidates ``[B, K, A]``, for raw observations ``[B, O]``."""
        ...


class Policy(Protocol):
    """What the trainer, the evaluation and the roll-out ask of a policy. Observations are raw; the policy normalises them."""

    normaliser: Normaliser

    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Trace]:
        """Sample as in training; return the action ``[B, A]`` and its trace."""
        ...

    def log_ratio(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return ``[B]`` or ``[B, N]``, the log of the ratio of the policy now to the policy that acted; 0 if they are the same."""
        ...

    def loss(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor], advantage: Tensor) -> PolicyLoss:
        """Return what is to be minimised on a minibatch; ``advantage`` ``[B]`` is normalised."""
        ...

    def imitation_loss(
        self, obs: Tensor, action: Tensor, generator: torch.Generator | None, weight: Tensor | None = None
    ) -> Tensor:
        """Return a scalar whose minimum makes the policy act as ``action`` ``[B, A]`` shows at ``obs`` ``[B, O]``.

        A ``weight`` ``[B]`` says how much each row counts; without one all count alike.
        """
        ...

    def sample(
        self, obs: Tensor, noise: Tensor, scale: Tensor | float, *, method: Method = "euler", steps: int | None = None
    ) -> Tensor:
        """Return the action ``[B, A]`` that starts from ``scale``·``noise``; a tensor ``scale`` ``[B, 1]`` mixes modes."""
        ...

    def replay(self, obs: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return the action ``[B, A]`` that is made now of all the noise that a trace remembers."""
        ...

    def exact_log_density(self, obs: Tensor, action: Tensor, trace: Mapping[str, Tensor]) -> Tensor:
        """Return ``[B]`` the log-density of the sampler of training at the actions taken; NaN where it cannot be known."""
        ...

    def remembered_log_density(self, trace: Mapping[str, Tensor]) -> Tensor | None:
        """Return the log-density of the actions taken, of the shape of a row of the trace; None where it was not computed."""
        ...

    def deploy(self, deployment: Deployment) -> Acting:
        """Return the policy as it will run."""
        ...

    def modes(self, method: Method = "euler", steps: int | None = None) -> tuple[Deployment, ...]:
        """List the deployments that are worth an evaluation, with a sampler other than that of training if one is named."""
        ...


class Deployed:
    """A policy with its deployment settled.

    Args:
        policy: what samples.
        deployment: how.
        action_size: A.
        value: of actions ``[B, A]`` at raw observations ``[B, O]``, ``[B]``: the best of several candidates come first by it; None to
            leave them as they were sampled.
    """

    def __init__(
        self, policy: Policy, deployment: Deployment, action_size: int, *, value: ActionValue | None = None
    ) -> None:
        self.policy = policy
        self.deployment = deployment
        self.value = value
        self._action_size = action_size

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Trace]:
        """Return normalised actions ``[B, A]`` for raw observations ``[B, O]``, or candidates ``[B, K, A]``; the trace is empty.

        Noise is drawn also where its scale is 0, so that all modes use the same random numbers.
        """
        chosen = self.deployment
        count = chosen.candidates if chosen.noise_scale > 0.0 else 1
        seen = obs.repeat_interleave(count, dim=0) if count > 1 else obs
        noise = torch.randn(seen.shape[0], self._action_size, generator=generator, device=obs.device, dtype=obs.dtype)
        action = self.policy.sample(seen, noise, chosen.noise_scale, method=chosen.method, steps=chosen.steps)
        if count == 1:
            return action, {}
        candidates = action.reshape(obs.shape[0], count, -1)
        if self.value is not None:
            order = self.value(seen, action).reshape(obs.shape[0], count).argsort(dim=-1, descending=True, stable=True)
            candidates = candidates.take_along_dim(order[..., None], dim=1)
        return candidates, {}
