"""The clipped update: passes over shuffled minibatches of one rollout. It names no algorithm; the policy owns its loss."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.interaction import Rollout, part
from fpo_pilot.learn.losses import explained_variance
from fpo_pilot.learn.optimiser import Optimiser
from fpo_pilot.learn.policy import Policy
from fpo_pilot.learn.returns import gae
from fpo_pilot.specs.training import Common

DIAGNOSTICS = (
    "policy_loss",
    "value_loss",
    "ratio_mean",
    "ratio_min",
    "ratio_max",
    "clip_fraction",
    "cfm_loss",
    "gradient_norm",
)


@dataclass(frozen=True, eq=False)
class Targets:
    """What the update learns from, ``[T·B]`` each."""

    advantage: Tensor
    returns: Tensor
    value: Tensor
    cost_returns: Tensor | None = None
    """Discounted violations to come; None without a constraint."""


@torch.no_grad()
def make_targets(
    rollout: Rollout,
    critic: Critic,
    policy: Policy,
    spec: Common,
    *,
    cost_critic: Critic | None = None,
    multiplier: Tensor | float = 0.0,
) -> Targets:
    """Compute values, advantages (normalised over the batch) and returns of a rollout.

    Args:
        rollout: what was seen.
        critic: of the return.
        policy: for its normaliser.
        spec: discount, λ, weight of the critics' uncertainty.
        cost_critic: of the violations to come; None without a constraint.
        multiplier: λ of the constraint: the advantage is (A − λ·A_cost)/(1 + λ) (arXiv 1910.12156).
    """
    obs, next_obs = policy.normaliser(rollout.obs), policy.normaliser(rollout.next_obs)
    value, advantage, returns = _estimate(rollout, rollout.reward, critic, obs, next_obs, spec)
    normalised = _normalised(advantage.flatten())
    if spec.uncertainty_weight > 0.0 and spec.critics > 1:
        normalised = normalised * certainty(critic.values(obs).flatten(1), spec.uncertainty_weight)
    if cost_critic is None:
        return Targets(normalised, returns.flatten(), value.flatten())
    _, cost_advantage, cost_returns = _estimate(rollout, rollout.cost, cost_critic, obs, next_obs, spec)
    # costs that hardly vary are not blown up: where nothing is violated there is nothing to learn
    cost = _normalised(cost_advantage.flatten(), least=0.05)
    combined = (normalised - multiplier * cost) / (1.0 + multiplier)
    return Targets(combined, returns.flatten(), value.flatten(), cost_returns.flatten())


def _estimate(
    rollout: Rollout, reward: Tensor, critic: Critic, obs: Tensor, next_obs: Tensor, spec: Common
) -> tuple[Tensor, Tensor, Tensor]:
    value = critic(obs)
    advantage, returns = gae(
        reward,
        value,
        critic(next_obs),
        rollout.terminated,
        rollout.truncated,
        discount=spec.discount,
        lam=spec.lam,
    )
    return value, advantage, returns


def _normalised(advantage: Tensor, least: float = 0.0) -> Tensor:
    return (advantage - advantage.mean()) / (advantage.std(correction=0).clamp(min=least) + 1e-8)


def certainty(values: Tensor, weight: float) -> Tensor:
    """Return how far an advantage is to be believed, ``[B]`` with mean 1: exp(−κ·u/mean u), u the members' spread.

    Args:
        values: ``[M, B]`` by each member of the ensemble.
        weight: κ.
    """
    spread = values.std(dim=0, correction=0)
    belief = torch.exp(-weight * spread / (spread.mean() + 1e-8))
    return belief / belief.mean()


def update(
    policy: Policy,
    critic: Critic,
    optimiser: Optimiser,
    rollout: Rollout,
    targets: Targets,
    spec: Common,
    generator: torch.Generator | None,
    *,
    cost_critic: Critic | None = None,
    policy_frozen: bool = False,
) -> dict[str, Tensor]:
    """Make all passes over one rollout; return each of :data:`DIAGNOSTICS`, averaged (extremes: the extreme), on the device.

    With ``policy_frozen`` only the critics learn: the policy has no gradient, and an optimiser without moments of it, as
    after a warm start, leaves it as it is to the bit.
    """
    obs, action, trace = rollout.flat()
    critic.rescale(targets.returns)
    with torch.no_grad():
        critic_input = policy.normaliser(obs)
        wanted = critic.scaled(targets.returns)
    size = obs.shape[0]
    columns = {"obs": obs, "action": action, "advantage": targets.advantage, "seen": critic_input, "wanted": wanted}
    if cost_critic is not None and targets.cost_returns is not None:
        cost_critic.rescale(targets.cost_returns)
        columns["cost_wanted"] = cost_critic.scaled(targets.cost_returns)
    columns |= {f"trace.{name}": value for name, value in trace.items()}
    records: list[Tensor] = []
    for _ in range(spec.passes):
        order = _shuffled(size, generator, obs.device)
        # shuffled as a whole, so that a minibatch is a slice that nobody has to copy
        shuffled = {name: value.index_select(0, order) for name, value in columns.items()}
        for rows in _slices(size, spec.minibatches):
            batch = {name: value[rows] for name, value in shuffled.items()}
            remembered = part(batch, "trace.")
            result = policy.loss(batch["obs"], batch["action"], remembered, batch["advantage"])
            value_loss = critic.loss(batch["seen"], batch["wanted"])
            total = spec.value_coefficient * value_loss
            if not policy_frozen:
                total = result.loss + total
            if cost_critic is not None and "cost_wanted" in batch:
                total = total + spec.value_coefficient * cost_critic.loss(batch["seen"], batch["cost_wanted"])
            norms = optimiser.step(total)
            records.append(
                torch.stack(
                    (
                        result.loss.detach(),
                        value_loss.detach(),
                        result.ratio_mean,
                        result.ratio_min,
                        result.ratio_max,
                        result.clip_fraction,
                        result.cfm_loss,
                        norms[0],
                    )
                )
            )
    return _summary(torch.stack(records))


def _slices(size: int, parts: int) -> list[slice]:
    """Divide ``size`` rows into ``parts`` whose sizes differ by one at most."""
    edges = [size * index // parts for index in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]


def _shuffled(size: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Return a random order of ``size`` rows; any order will do where there are only shapes."""
    if device.type == "meta":
        return torch.arange(size, device=device)
    return torch.randperm(size, generator=generator, device=device)


def _summary(records: Tensor) -> dict[str, Tensor]:
    mean, low, high = records.mean(dim=0), records.amin(dim=0), records.amax(dim=0)
    extremes = {"ratio_min": low, "ratio_max": high}
    return {name: extremes.get(name, mean)[column] for column, name in enumerate(DIAGNOSTICS)}


def rollout_figures(rollout: Rollout, targets: Targets) -> dict[str, Tensor]:
    """Return figures of the rollout itself, scalars on the device; of the episodes only those that ended in it."""
    done = rollout.terminated | rollout.truncated
    ended = done.sum()
    returns = rollout.episode_return.to(torch.float64)
    missing = torch.full((), torch.nan, dtype=torch.float64, device=returns.device)

    def ends(value: Tensor) -> Tensor:
        return torch.where(ended > 0, value, missing)

    infinite = torch.full_like(returns, torch.inf)
    return {
        "episodes": ended.to(torch.float64),
        "return_mean": ends(torch.where(done, returns, 0.0).sum() / ended),
        "return_min": ends(torch.where(done, returns, infinite).amin()),
        "return_max": ends(torch.where(done, returns, -infinite).amax()),
        "length_mean": ends(torch.where(done, rollout.episode_length, 0).sum() / ended),
        "intervention_rate": rollout.altered.to(torch.float64).mean(),
        "violation_rate": rollout.cost.to(torch.float64).mean(),
        "explained_variance": explained_variance(targets.value, targets.returns),
    }
