"""A training that begins from a log: the policy is fitted to what was done, the critic to what came of it."""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.logged import LoggedEpisodes
from fpo_pilot.learn.optimiser import Optimiser
from fpo_pilot.learn.policy import Policy
from fpo_pilot.learn.returns import gae
from fpo_pilot.specs.training import Common, WarmStart


def fit_to_log(
    policy: Policy,
    critic: Critic,
    optimiser: Optimiser,
    logged: LoggedEpisodes,
    spec: Common,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Fit ``policy`` to logged actions and ``critic`` to logged returns; return both losses of the last pass.

    The observation statistics are those of the log. Advantage-weighted cloning first fits the critic alone, since an
    advantage is only as good as the value that it is measured against; then each action counts by its weight.
    """
    settings, kept = spec.warm_start, logged.kept
    device = next(iter(critic.parameters())).device
    obs, action = logged.obs[kept].to(device), logged.action[kept].to(device)
    policy.normaliser.merge(obs)
    seen = policy.normaliser(obs)
    weight: Tensor | None = None
    if settings.method == "advantage_weighted":
        for _ in range(settings.passes):
            _, returns = _estimated(logged, policy, critic, spec, device)
            critic.rescale(returns)
            wanted = critic.scaled(returns)
            for rows in _shuffled(len(obs), settings, generator, device):
                optimiser.step(spec.value_coefficient * critic.loss(seen[rows], wanted[rows]))
        advantage, _ = _estimated(logged, policy, critic, spec, device)
        weight = advantage_weights(advantage, temperature=settings.temperature, bound=settings.weight_bound)
    losses = torch.zeros(2)
    for _ in range(settings.passes):
        _, returns = _estimated(logged, policy, critic, spec, device)
        critic.rescale(returns)
        wanted, records = critic.scaled(returns), []
        for rows in _shuffled(len(obs), settings, generator, device):
            shown = action[rows]
            noise = torch.randn(shown.shape, generator=generator, device=device, dtype=shown.dtype)
            counts = None if weight is None else weight[rows]
            imitation = policy.imitation_loss(obs[rows], shown + settings.spread * noise, generator, counts)
            value_loss = critic.loss(seen[rows], wanted[rows])
            optimiser.step(imitation + spec.value_coefficient * value_loss)
            records.append(torch.stack((imitation.detach(), value_loss.detach())))
        losses = torch.stack(records).mean(dim=0)
    optimiser.forget()
    return losses[0], losses[1]


def advantage_weights(advantage: Tensor, *, temperature: float, bound: float) -> Tensor:
    """Return min(exp(Â/β), bound) ``[R]``, over its mean so that the size of the loss does not depend on β.

    Args:
        advantage: ``[R]``; Â is it less its mean, over its standard deviation.
        temperature: β.
        bound: largest weight, so that one outlier cannot own the copy (AWAC, arXiv 2006.09359).
    """
    normalised = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
    # clamped before exp: a small temperature must not overflow
    weight = (normalised / temperature).clamp(max=torch.tensor(bound).log().item()).exp()
    return weight / weight.mean()


@torch.no_grad()
def _estimated(
    logged: LoggedEpisodes, policy: Policy, critic: Critic, spec: Common, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns of the kept rows, ``[R]`` each, in units of the learning reward."""
    advantage, returns = gae(
        logged.reward.to(device) * spec.reward_scale,
        critic(policy.normaliser(logged.obs.to(device))),
        critic(policy.normaliser(logged.next_obs.to(device))),
        logged.terminated.to(device),
        logged.truncated.to(device),
        discount=spec.discount,
        lam=spec.lam,
    )
    kept = logged.kept.to(device)
    return advantage[kept], returns[kept]


def _shuffled(
    size: int, settings: WarmStart, generator: torch.Generator | None, device: torch.device
) -> tuple[Tensor, ...]:
    parts = max(1, size // settings.minibatch)
    return torch.randperm(size, generator=generator, device=device).tensor_split(parts)
