"""Policy, shield and simulated plants in closed loop: T steps of B environments, as stacked tensors.

The policy is credited with what it proposed, not with what the shield made of it; how far the shield had to correct
is a penalty of the training reward alone (SAFETY.md 1.7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fpo_pilot.flow import Method
from fpo_pilot.learn.mirror import Mirror
from fpo_pilot.learn.policy import Deployment, Policy, Trace
from fpo_pilot.learn.step_record import StepRecorder
from fpo_pilot.plants.controllers import Controller, incumbent_controller
from fpo_pilot.plants.observations import mirror_signs
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields.candidates import judge
from fpo_pilot.shields.verdict import Shield, ShieldContext, Verdict


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
    cost: Tensor

    def flat(self) -> tuple[Tensor, Tensor, Trace]:
        """Return observations ``[T·B, O]``, actions ``[T·B, A]`` and traces ``[T·B, ...]``."""
        return self.obs.flatten(0, 1), self.action.flatten(0, 1), {k: v.flatten(0, 1) for k, v in self.trace.items()}


@dataclass(frozen=True, eq=False)
class Seen:
    """The outcome of one step of B environments, ``[B, ...]``."""

    observation: Tensor
    """Of the new episode where one ended."""
    final_observation: Tensor
    """The true next observation: bootstrap from this one."""
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    episode_return: Tensor
    episode_length: Tensor
    penalty: Tensor
    """For what had to be corrected; part of the learning reward alone."""
    altered: Tensor
    """Whether the shield, or the limits, changed the proposal."""
    cost: Tensor
    """1 where a limit, soft or hard, is violated."""
    index: Tensor | None = None
    """Of several candidates, the one that was proposed."""


class Interaction(Protocol):
    """B environments that a policy acts on; observations are float32, actions normalised to [−1, 1]."""

    @property
    def num_envs(self) -> int:
        """B."""

    @property
    def observation_size(self) -> int:
        """O."""

    @property
    def action_size(self) -> int:
        """A."""

    @property
    def horizon(self) -> int:
        """Steps of an episode at most."""

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""

    @property
    def observation(self) -> Tensor:
        """The observation now, ``[B, O]``."""

    def mirror(self, signals: Sequence[str]) -> Mirror:
        """Return the signs of observation and action in a mirror in which ``signals`` change sign."""

    def seed(self, seed: int) -> None:
        """Seed what is drawn from the next reset on."""

    def reset(self) -> Tensor:
        """Begin new episodes everywhere; return the observation."""

    def incumbent_action(self) -> Tensor:
        """Return what the controller of today would do now, ``[B, A]`` normalised; at most once before each step."""

    def step(self, action: Tensor) -> Seen:
        """Act by ``[B, A]``, or by one of candidates ``[B, K, A]``; where an episode ended, the next one begins."""

    def record(self, environments: int) -> StepRecorder | None:
        """Record, from the next step on, what the first ``environments`` do; None where there are no signals to log."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, but for the action."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state_dict` was taken."""


class Proposing(Protocol):
    """What proposes actions while collecting: a policy, or one with more noise than its own."""

    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Trace]:
        """Return the action ``[B, A]`` at ``obs`` ``[B, O]`` and what is to be remembered of it."""
        ...

    def modes(self) -> tuple[Deployment, ...]:
        """List the deployments; the most candidates of them are sampled in each step."""
        ...


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
        self._recorder = StepRecorder(plant, 0)
        self._asked: Tensor | None = None  # what the incumbent wants at this step, once somebody has asked it
        self._low = torch.tensor(plant.action_low, dtype=simulation.dtype, device=simulation.device)
        self._high = torch.tensor(plant.action_high, dtype=simulation.dtype, device=simulation.device)

    @property
    def num_envs(self) -> int:
        """B."""
        return self.simulation.num_envs

    @property
    def observation_size(self) -> int:
        """O."""
        return self.simulation.observation_size

    @property
    def action_size(self) -> int:
        """A."""
        return self.simulation.action_size

    @property
    def horizon(self) -> int:
        """Steps of an episode."""
        return self.simulation.plant.horizon

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""
        return self.simulation.device

    @property
    def observation(self) -> Tensor:
        """The observation now, ``[B, O]``."""
        return self.simulation.observation

    def mirror(self, signals: Sequence[str]) -> Mirror:
        """Return the signs of observation and action in a mirror in which ``signals`` change sign."""
        return Mirror(*mirror_signs(self.simulation.plant, signals))

    def seed(self, seed: int) -> None:
        """Seed what is drawn from the next reset on."""
        self.simulation.seed(seed)

    def reset(self) -> Tensor:
        """Begin new episodes everywhere; return the observation ``[B, O]``."""
        self._asked = None
        self.incumbent.reset(self.simulation.num_envs)
        if self.shield is not None:
            self.shield.reset()
        return self.simulation.reset()

    def _incumbent(self) -> Tensor:
        """Ask the incumbent once a step: a PI loop moves on each time it is asked."""
        if self._asked is None:
            self._asked = self.incumbent.act(self.simulation.signals(), self.simulation.applied)
        return self._asked

    def incumbent_action(self) -> Tensor:
        """Return what the controller of today would do now, ``[B, A]`` normalised float32."""
        return self.simulation.plant.to_normalised(self._incumbent()).to(torch.float32)

    def record(self, environments: int) -> StepRecorder:
        """Record, from the next step on, what the first ``environments`` do.

        What the incumbent would do is recorded behind a shield, whose fallback it is; without one nobody asks it.
        """
        self._recorder = StepRecorder(self.simulation.plant, min(environments, self.num_envs), endless=True)
        return self._recorder

    def step(self, action: Tensor) -> Seen:
        """Propose ``action`` ``[B, A]`` or candidates ``[B, K, A]`` (normalised), and let the plants take what the shield makes of it."""
        sim = self.simulation
        proposal = sim.plant.to_engineering(action.to(sim.dtype))
        index: Tensor | None = None
        verdict: Verdict | None = None
        if self.shield is None:
            proposal = proposal if proposal.dim() == 2 else proposal[:, 0]
            shielded = torch.minimum(torch.maximum(proposal, self._low), self._high)
            altered = (shielded != proposal).any(dim=-1)
        else:
            context = ShieldContext.read(sim, fallback=self._incumbent(), period=sim.plant.period)
            judged = judge(self.shield, context, proposal)
            proposal, index, verdict = judged.proposal, judged.index, judged.verdict
            shielded, altered = verdict.action, verdict.altered(proposal)
        correction = ((shielded - proposal) / (self._high - self._low)).square().sum(dim=-1)
        self._recorder.before(sim, None if verdict is None else self._incumbent(), proposal, shielded)
        transition = sim.step(shielded, altered)
        self._recorder.after(transition, altered, verdict)
        self._asked = None
        done = transition.terminated | transition.truncated
        self.incumbent.reset(sim.num_envs, done)
        if self.shield is not None:
            self.shield.reset(done)
        violated = transition.cost > 0.0
        for margin in transition.margins.values():
            violated = violated | (margin < 0.0)
        return Seen(
            observation=transition.observation,
            final_observation=transition.final_observation,
            reward=transition.reward,
            terminated=transition.terminated,
            truncated=transition.truncated,
            episode_return=transition.episode_return,
            episode_length=transition.episode_length,
            penalty=self.correction_penalty * correction,
            altered=altered,
            cost=violated.to(transition.reward.dtype),
            index=index,
        )

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
def collect(
    loop: Interaction, policy: Proposing, steps: int, reward_scale: float, generator: torch.Generator | None
) -> Rollout:
    """Let ``policy`` act for ``steps`` steps; the normaliser stays as it is. Of several candidates the one proposed is kept."""
    candidates = candidates_of(policy)
    obs = loop.observation
    rows: dict[str, list[Tensor]] = {}
    traces: dict[str, list[Tensor]] = {}
    for _ in range(steps):
        action, trace = policy.act(obs if candidates == 1 else obs.repeat_interleave(candidates, dim=0), generator)
        if candidates == 1:
            seen = loop.step(action)
        else:
            seen = loop.step(action.reshape(len(obs), candidates, -1))
            action, trace = _proposed(seen.index, candidates, action, trace)
        row = {
            "obs": obs,
            "next_obs": seen.final_observation,
            "action": action,
            "reward": (seen.reward * reward_scale - seen.penalty).to(obs.dtype),
            "terminated": seen.terminated,
            "truncated": seen.truncated,
            "episode_return": seen.episode_return,
            "episode_length": seen.episode_length,
            "altered": seen.altered,
            "cost": seen.cost,
        }
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
        for name, value in trace.items():
            traces.setdefault(name, []).append(value)
        obs = seen.observation
    stacked = {name: torch.stack(values) for name, values in rows.items()}
    return Rollout(trace={name: torch.stack(values) for name, values in traces.items()}, **stacked)


def candidates_of(policy: Proposing) -> int:
    """Return how many actions a policy samples in each step, for the shield to choose from."""
    return max(mode.candidates for mode in policy.modes())


def _proposed(index: Tensor | None, candidates: int, action: Tensor, trace: Trace) -> tuple[Tensor, Trace]:
    """Return actions and traces of the candidates that were proposed; the first where no shield chose."""
    rows = torch.arange(0, len(action), candidates, device=action.device)
    chosen = rows if index is None else rows + index
    return action[chosen], {name: value[chosen] for name, value in trace.items()}


@torch.no_grad()
def episode_returns(
    loop: Interaction,
    policy: Policy,
    scales: tuple[float, ...],
    generator: torch.Generator | None,
    *,
    method: Method = "euler",
    steps: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Run one episode of every environment, which are shared out between the deployment noise scales.

    Args:
        loop: its ``num_envs`` a multiple of the number of scales.
        policy: acts as it would be deployed.
        scales: noise scales.
        generator: of the noise; all scales of a step see numbers of their own.
        method: sampler of a flow.
        steps: of the sampler; None for those of training.

    Returns:
        Returns and the share of steps with a violated limit, ``[len(scales), B / len(scales)]`` each.
    """
    count, each, candidates = loop.num_envs, loop.num_envs // len(scales), candidates_of(policy)
    scale = torch.tensor(scales, dtype=torch.float32, device=loop.device).repeat_interleave(each)[:, None]
    obs = loop.reset()
    total = torch.zeros(count, dtype=torch.float64, device=loop.device)
    violated, length = torch.zeros_like(total), torch.zeros_like(total)
    running = torch.ones(count, dtype=torch.bool, device=loop.device)

    def _each(rows: Tensor) -> Tensor:
        return rows if candidates == 1 else rows.repeat_interleave(candidates, dim=0)

    for _ in range(loop.horizon):
        shape = (count * candidates, loop.action_size)
        noise = torch.randn(shape, generator=generator, device=loop.device, dtype=obs.dtype)
        action = policy.sample(_each(obs), noise, _each(scale), method=method, steps=steps)
        seen = loop.step(action if candidates == 1 else action.reshape(count, candidates, -1))
        total += torch.where(running, seen.reward.to(total.dtype), 0.0)
        violated += torch.where(running, seen.cost.to(total.dtype), 0.0)
        length += running
        running = running & ~(seen.terminated | seen.truncated)
        if running.device.type == "cpu" and not bool(running.any()):
            break  # on a device nothing waits for this answer
        obs = seen.observation
    return total.reshape(len(scales), each), (violated / length.clamp(min=1.0)).reshape(len(scales), each)


def evaluate_modes(
    loop: Interaction, policy: Policy, scales: tuple[float, ...], generator: torch.Generator | None
) -> Tensor:
    """Return the mean episode return of each deployment noise scale, ``[len(scales)]``."""
    return episode_returns(loop, policy, scales, generator)[0].mean(dim=1)
