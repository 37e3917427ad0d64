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


@torch.no_grad()
def make_targets(rollout: Rollout, critic: Critic, policy: Policy, spec: Common) -> Targets:
    """Compute values, advantages (normalised over the batch) and returns of a rollout."""
    value = critic(policy.normaliser(rollout.obs))
    next_value = critic(policy.normaliser(rollout.next_obs))
    advantage, returns = gae(
        rollout.reward,
        value,
        next_value,
        rollout.terminated,
        rollout.truncated,
        discount=spec.discount,
        lam=spec.lam,
    )
    flat = advantage.flatten()
    normalised = (flat - flat.mean()) / (flat.std(correction=0) + 1e-8)
    return Targets(normalised, returns.flatten(), value.flatten())


def update(
    policy: Policy,
    critic: Critic,
    optimiser: Optimiser,
    rollout: Rollout,
    targets: Targets,
    spec: Common,
    generator: torch.Generator | None,
) -> dict[str, Tensor]:
    """Make all passes over one rollout; return each of :data:`DIAGNOSTICS`, averaged (extremes: the extreme), on the device."""
    obs, action, trace = rollout.flat()
    critic.rescale(targets.returns)
    with torch.no_grad():
        critic_input = policy.normaliser(obs)
        wanted = critic.scaled(targets.returns)
    size = obs.shape[0]
    columns = {"obs": obs, "action": action, "advantage": targets.advantage, "seen": critic_input, "wanted": wanted}
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
            norms = optimiser.step(result.loss + spec.value_coefficient * value_loss)
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
        "explained_variance": explained_variance(targets.value, targets.returns),
    }
