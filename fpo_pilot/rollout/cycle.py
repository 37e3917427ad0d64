"""One control cycle: read, ask the incumbent and the policy, shield, guard, mix by authority, apply."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.errors import PolicyError
from fpo_pilot.plants.controllers import Controller, incumbent_controller
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.plants.transition import Transition
from fpo_pilot.shields import ShieldContext, ShieldStack, Verdict, build_stack, judge
from fpo_pilot.specs.safety import SafetySpec

PROPOSAL = "integrity.proposal"
"""The guard of a proposal that is not finite."""

ENFORCED = "enforced:"
"""Begins the reasons of what was mixed with the incumbent, and could not be certified."""

PolicyAct = Callable[[Tensor, torch.Generator | None], tuple[Tensor, dict[str, Tensor]]]
"""``act(obs [1, O], generator) -> (normalised action [1, A], trace)``."""

Demote = Callable[[str], float]
"""Told the reason of a guard; returns the authority that is left."""


@dataclass(frozen=True, eq=False)
class Cycle:
    """What happened in one cycle; actions are ``[1, A]`` in engineering units."""

    incumbent: Tensor
    proposed: Tensor
    shielded: Tensor
    applied: Tensor
    measurement: Tensor
    quality: Tensor
    reference: Tensor
    authority: float
    altered: bool
    feasible: bool
    distance: float
    """Between proposal and incumbent, root mean square over the actions, in spans; NaN where either is not finite."""
    reasons: tuple[str, ...]
    latency_us: float
    deadline_miss: bool
    transition: Transition


class Cell:
    """One simulated plant with its incumbent, shields and policy.

    Args:
        plant: the plant.
        safety: its safety spec.
        act: the policy as deployed.
        generator: of the policy's noise, and of random actions.
        random_actions: replace the policy's actions by uniform ones (a drill).
    """

    def __init__(
        self, plant: Plant, safety: SafetySpec, act: PolicyAct, generator: torch.Generator, *, random_actions: bool
    ) -> None:
        self.plant, self.act, self.generator, self.random_actions = plant, act, generator, random_actions
        self.shield: ShieldStack = build_stack(safety, plant.spec, dynamics=Prediction(plant), live=True)
        self.incumbent: Controller = incumbent_controller(plant)
        low, high = (torch.tensor(b, dtype=torch.float64) for b in (plant.action_low, plant.action_high))
        self.low, self.high, self.span = low, high, high - low
        self.last_error = ""
        """How the policy failed last, if it did."""

    def begin(self, simulation: Simulation) -> Tensor:
        """Begin an episode; a simulated one begins with a new plant, so latches are gone."""
        self.incumbent.reset(1)
        self.shield.reset()
        return simulation.reset()

    def run(self, simulation: Simulation, observation: Tensor, *, authority: float, demote: Demote) -> Cycle:
        """Run one cycle; ``authority`` is 0 where the incumbent drives."""
        started = time.perf_counter()
        applied = simulation.applied
        asked = self.incumbent.act(simulation.signals(), applied)
        context = ShieldContext.read(simulation, fallback=asked, period=self.plant.period, incumbent=asked)
        judged = judge(self.shield, context, self._propose(observation, applied))
        verdict, proposal = judged.verdict, judged.proposal
        reasons, feasible, altered = verdict.reasons_of(0), bool(verdict.feasible), bool(verdict.altered(proposal))
        late = time.perf_counter() - started > self.plant.period
        sound = bool(proposal.isfinite().all())
        for reason in guards(reasons, feasible=feasible, late=late, sound=sound):
            authority = demote(reason)
        sent = self._mix(context, verdict, asked, authority)
        if sent is not verdict:
            # What was mixed is judged again, and that the backup acts in its place must not be silent.
            refused = tuple(code for code in sent.reasons_of(0) if code.startswith(ENFORCED))
            reasons += refused
            if refused and authority > 0.0:  # without it the incumbent is refused, which is not the policy's doing
                authority = demote("infeasible") if feasible else authority
                feasible, altered = False, True
        latency = time.perf_counter() - started
        # What the policy asks for is compared, not what the shield made of it: a rate limit makes any policy look tame.
        distance = ((torch.clamp(proposal, self.low, self.high) - asked) / self.span).square().mean()
        reference = simulation.reference
        transition = simulation.step(sent.action, verdict.altered(proposal))
        return Cycle(
            incumbent=asked,
            proposed=proposal,
            shielded=verdict.action,
            applied=transition.applied,
            measurement=context.measurement,
            quality=context.quality,
            reference=reference,
            authority=authority,
            altered=altered,
            feasible=feasible,
            distance=float(distance.sqrt()),
            reasons=reasons,
            latency_us=latency * 1e6,
            deadline_miss=late,
            transition=transition,
        )

    def _propose(self, observation: Tensor, like: Tensor) -> Tensor:
        """Ask the policy; one that raises, or gives no action at all, proposes NaN, which fires a guard."""
        if self.random_actions:
            share = torch.rand(like.shape, generator=self.generator, dtype=like.dtype)
            return self.low + share * self.span
        try:
            action, _ = self.act(observation, self.generator)
            if action.dim() not in (2, 3) or (action.shape[0], action.shape[-1]) != tuple(like.shape):
                raise PolicyError(
                    f"policy: found an action of shape {tuple(action.shape)}, expected {tuple(like.shape)}, or candidates "
                    "between the two. Give one row a plant."
                )
            return self.plant.to_engineering(action.to(like.dtype))
        except Exception as problem:  # noqa: BLE001  # a policy may break in any way; the plant is driven on all the same
            self.last_error = f"{type(problem).__name__}: {problem}"
            return torch.full_like(like, torch.nan)

    def _mix(self, context: ShieldContext, verdict: Verdict, asked: Tensor, authority: float) -> Verdict:
        """Return the verdict on incumbent + clip(shielded − incumbent, ±β·span), then the envelope once more.

        With no authority it is the incumbent's own action that passes box, rate and latched interlocks: the way back is as
        fast as the rate limit allows, and without a bump. What no layer certifies is the backup, the incumbent's action as well.
        """
        if authority <= 0.0:
            return self.shield.enforce(context, asked)
        if authority >= 1.0:
            return verdict
        reach = authority * self.span
        return self.shield.enforce(context, asked + (verdict.action - asked).clamp(-reach, reach))


def guards(reasons: tuple[str, ...], *, feasible: bool, late: bool, sound: bool = True) -> list[str]:
    """Say which guards a cycle fires: a sensor or a proposal that is not to be believed, an interlock, no safe action, lateness.

    Args:
        reasons: of the verdict.
        feasible: whether the shield found a certified action.
        late: whether the cycle took longer than a period.
        sound: whether the proposal is finite; it counts even where the safety spec has no integrity shield.
    """
    fired = [code for code in reasons if code.startswith(("integrity.", "interlock:", "stage_failed:"))]
    if not sound and PROPOSAL not in fired:
        fired.append(PROPOSAL)
    if not feasible:
        fired.append("infeasible")
    if late:
        fired.append("deadline")
    return fired
