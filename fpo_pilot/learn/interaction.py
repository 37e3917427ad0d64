"""Policy, shield and simulated plants in closed loop: T steps of B environments, as stacked tensors.

The policy is credited with what it proposed, not with what the shield made of it; how far the shield had to correct
is a penalty of the training reward alone (SAFETY.md 1.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.learn.policy import Policy, Trace
from fpo_pilot.plants.controllers import Controller, incumbent_controller
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.plants.transition import Transition
from fpo_pilot.shields.verdict import Shield, ShieldContext


@dataclass(frozen=True, eq=False)
class Rollout:
    """What was seen: all ``[T, B, ...]``. ``reward`` is what is learned from; ``episode_return`` is of the plain reward."""

    obs: Tensor
    next_obs: Tensor
    action: Tensor
    trace: Trace
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    episode_return: Tensor
    episode_length: Tensor
    altered: Tensor

    def flat(self) -> tuple[Tensor, Tensor, Trace]:
        """Return observations ``[T·B, O]``, actions ``[T·B, A]`` and traces ``[T·B, ...]``."""
        return self.obs.flatten(0, 1), self.action.flatten(0, 1), {k: v.flatten(0, 1) for k, v in self.trace.items()}


class Loop:
    """A simulation whose actions pass a shield; without a shield they are cut to the limits.

    Args:
        simulation: the plants.
        shield: stands between policy and actuator.
        correction_penalty: subtracted from the learning reward, times the squared correction in spans.
    """

    def __init__(self, simulation: Simulation, shield: Shield | None, *, correction_penalty: float = 0.0) -> None:
        self.simulation = simulation
        self.shield = shield
        self.correction_penalty = correction_penalty
        plant = simulation.plant
        self.incumbent: Controller = incumbent_controller(plant)
        self._low = torch.tensor(plant.action_low, dtype=simulation.dtype, device=simulation.device)
        self._high = torch.tensor(plant.action_high, dtype=simulation.dtype, device=simulation.device)

    def reset(self) -> Tensor:
        """Begin new episodes everywhere; return the observation ``[B, O]``."""
        self.incumbent.reset(self.simulation.num_envs)
        if self.shield is not None:
            self.shield.reset()
        return self.simulation.reset()

    def step(self, action: Tensor) -> tuple[Transition, Tensor, Tensor]:
        """Propose ``action`` ``[B, A]`` (normalised); return the transition, ``[B]`` penalty, and ``[B]`` where it was altered."""
        sim = self.simulation
        proposal = sim.plant.to_engineering(action.to(sim.dtype))
        if self.shield is None:
            shielded = torch.minimum(torch.maximum(proposal, self._low), self._high)
            altered = (shielded != proposal).any(dim=-1)
        else:
            asked = self.incumbent.act(sim.signals(), sim.applied)
            context = ShieldContext.read(sim, fallback=asked, period=sim.plant.period)
            verdict = self.shield(context, proposal)
            shielded, altered = verdict.action, verdict.altered(proposal)
        correction = ((shielded - proposal) / (self._high - self._low)).square().sum(dim=-1)
        transition = sim.step(shielded)
        done = transition.terminated | transition.truncated
        self.incumbent.reset(sim.num_envs, done)
        if self.shield is not None:
            self.shield.reset(done)
        return transition, self.correction_penalty * correction, altered

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, but for the action."""
        state = {f"simulation.{name}": value for name, value in self.simulation.state_dict().items()}
        state |= {f"incumbent.{name}": value for name, value in self.incumbent.state_dict().items()}
        if self.shield is not None:
            state |= {f"shield.{name}": value for name, value in self.shield.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self.simulation.load_state_dict(part(state, "simulation."))
        self.incumbent.load_state_dict(part(state, "incumbent."))
        if self.shield is not None:
            self.shield.load_state_dict(part(state, "shield."))


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries under ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@torch.no_grad()
def collect(loop: Loop, policy: Policy, steps: int, reward_scale: float, generator: torch.Generator | None) -> Rollout:
    """Let ``policy`` act for ``steps`` steps; the normaliser stays as it is."""
    obs = loop.simulation.observation
    rows: dict[str, list[Tensor]] = {}
    traces: dict[str, list[Tensor]] = {}
    for _ in range(steps):
        action, trace = policy.act(obs, generator)
        seen, penalty, altered = loop.step(action)
        row = {
            "obs": obs,
            "next_obs": seen.final_observation,
            "action": action,
            "reward": (seen.reward * reward_scale - penalty).to(obs.dtype),
            "terminated": seen.terminated,
            "truncated": seen.truncated,
            "episode_return": seen.episode_return,
            "episode_length": seen.episode_length,
            "altered": altered,
        }
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        for name, value in trace.items():
            traces.setdefault(name, []).append(value)
        obs = seen.observation
    stacked = {name: torch.stack(values) for name, values in rows.items()}
    return Rollout(trace={name: torch.stack(values) for name, values in traces.items()}, **stacked)


@torch.no_grad()
def evaluate_modes(loop: Loop, policy: Policy, scales: tuple[float, ...], generator: torch.Generator | None) -> Tensor:
    """Return the mean episode return of each deployment noise scale, ``[len(scales)]``: one episode of every environment.

    The environments are shared out between the scales, so ``num_envs`` must be a multiple of their number.
    """
    sim = loop.simulation
    each = sim.num_envs // len(scales)
    scale = torch.tensor(scales, dtype=torch.float32, device=sim.device).repeat_interleave(each)[:, None]
    obs = loop.reset()
    total = torch.zeros(sim.num_envs, dtype=sim.dtype, device=sim.device)
    running = torch.ones(sim.num_envs, dtype=torch.bool, device=sim.device)
    for _ in range(sim.plant.horizon):
        shape = (sim.num_envs, sim.action_size)
        noise = torch.randn(shape, generator=generator, device=sim.device, dtype=obs.dtype)
        seen, _, _ = loop.step(policy.sample(obs, noise, scale))
        total = total + torch.where(running, seen.reward.to(sim.dtype), torch.zeros_like(total))
        running = running & ~(seen.terminated | seen.truncated)
        obs = seen.observation
    return total.reshape(len(scales), each).mean(dim=1)
