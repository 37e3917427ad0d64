"""A training that begins as the incumbent: demonstrations, flow behaviour cloning, and a critic that knows their worth."""

from __future__ import annotations

import torch
from torch import Tensor

from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.interaction import Interaction, Rollout
from fpo_pilot.learn.optimiser import Optimiser
from fpo_pilot.learn.policy import Policy
from fpo_pilot.learn.returns import gae
from fpo_pilot.specs.training import Common


@torch.no_grad()
def demonstrate(
    loop: Interaction, steps: int, *, exploration: float, reward_scale: float, generator: torch.Generator | None
) -> Rollout:
    """Let the incumbent drive for ``steps`` steps from a reset.

    Args:
        loop: of a plant that has an incumbent.
        steps: T.
        exploration: standard deviation of noise on what is done, in half spans; what is recorded has none.
        reward_scale: of the learning reward.
        generator: of the noise.

    Returns:
        ``[T, B, ...]``; its actions are the incumbent's, its trace is what was ``done``: they and the noise.
    """
    obs = loop.reset()
    rows: dict[str, list[Tensor]] = {}
    for _ in range(steps):
        wanted = loop.incumbent_action()
        noise = torch.randn(wanted.shape, generator=generator, device=wanted.device, dtype=wanted.dtype)
        done = wanted + exploration * noise
        seen = loop.step(done)
        row = {
            "obs": obs,
            "next_obs": seen.final_observation,
            "action": wanted,
            "reward": (seen.reward * reward_scale).to(obs.dtype),
            "terminated": seen.terminated,
            "truncated": seen.truncated,
            "episode_return": seen.episode_return,
            "episode_length": seen.episode_length,
            "altered": seen.altered,
            "cost": seen.cost,
            "done": done,
        }
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        obs = seen.observation
    stacked = {name: torch.stack(values) for name, values in rows.items()}
    return Rollout(trace={"done": stacked.pop("done")}, **stacked)


def clone(
    policy: Policy,
    critic: Critic,
    optimiser: Optimiser,
    rollout: Rollout,
    spec: Common,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Fit ``policy`` to the actions of ``rollout`` and ``critic`` to its returns; return both losses of the last pass.

    The returns are estimated anew with the critic of each pass, so that after some passes they reach beyond the
    episode as those of the training do.
    """
    settings = spec.cloning
    if settings is None:
        raise ValueError("cloning: found none in the spec, expected its settings.")
    obs, action, _ = rollout.flat()
    seen, next_seen = policy.normaliser(rollout.obs), policy.normaliser(rollout.next_obs)
    size = obs.shape[0]
    parts = max(1, size // settings.minibatch)
    losses = torch.zeros(2)
    for _ in range(settings.passes):
        returns = _returns(rollout, critic, seen, next_seen, spec)
        critic.rescale(returns)
        wanted, flat = critic.scaled(returns), seen.flatten(0, 1)
        records = []
        for rows in torch.randperm(size, generator=generator, device=obs.device).tensor_split(parts):
            shown = action[rows]
            noise = torch.randn(shown.shape, generator=generator, device=shown.device, dtype=shown.dtype)
            imitation = policy.imitation_loss(obs[rows], shown + settings.spread * noise, generator)
            value_loss = critic.loss(flat[rows], wanted[rows])
            optimiser.step(imitation + spec.value_coefficient * value_loss)
            records.append(torch.stack((imitation.detach(), value_loss.detach())))
        losses = torch.stack(records).mean(dim=0)
    optimiser.forget()
    return losses[0], losses[1]


@torch.no_grad()
def _returns(rollout: Rollout, critic: Critic, seen: Tensor, next_seen: Tensor, spec: Common) -> Tensor:
    _, returns = gae(
        rollout.reward,
        critic(seen),
        critic(next_seen),
        rollout.terminated,
        rollout.truncated,
        discount=spec.discount,
        lam=spec.lam,
    )
    return returns.flatten()
