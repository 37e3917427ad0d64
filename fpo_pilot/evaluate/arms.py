"""Arms: what acts on the plant in an evaluation, all behind the same seam.

Letters: B episodes of the batch, A actions, O observation entries, T steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from fpo_pilot.errors import PolicyError
from fpo_pilot.plants.controllers import Controller, hold_controller, incumbent_controller

if TYPE_CHECKING:
    from fpo_pilot.flow import Method
    from fpo_pilot.learn.policy import Deployment, Policy
    from fpo_pilot.plants.plant import Plant

RESERVED = ("hold", "incumbent", "oracle")


@dataclass(frozen=True)
class Sight:
    """What an arm may look at in one step."""

    observation: Tensor
    """``[B, O]`` float32."""
    signals: Mapping[str, Tensor]
    """Every named signal now, ``[B]``."""
    applied: Tensor
    """``[B, A]`` read-back of the last applied action."""
    step: int


class Actor(Protocol):
    """An arm in one evaluation: it keeps its own state for B episodes."""

    def propose(self, sight: Sight) -> Tensor:
        """Return the proposal ``[B, A]``, or candidates ``[B, K, A]``, in engineering units, before any shield."""
        ...


@dataclass(frozen=True)
class Arm:
    """An arm before it acts. Make them with :func:`build_arms`."""

    name: str
    kind: Literal["hold", "incumbent", "oracle", "policy"]
    fingerprint: str
    """What tells this arm from an earlier one of the same name: of a policy, the hash of its weights."""
    policy: Policy | None = None


def build_arms(plant: Plant, policies: Mapping[str, Policy]) -> tuple[Arm, ...]:
    """Return the arms of an evaluation: hold, the incumbent, the oracle, then the policies in their order.

    Args:
        plant: the plant; without a safety spec it has no incumbent.
        policies: by the name of the arm; the first is the candidate.

    Raises:
        PolicyError: a policy takes a name of the other arms.
    """
    taken = [name for name in policies if name in RESERVED]
    if taken:
        raise PolicyError(
            f"policies: found the name {taken[0]!r}, expected one that is not {', '.join(RESERVED)}. Rename the policy."
        )
    fixed: list[Arm] = [Arm("hold", "hold", "")]
    if plant.safety is not None:
        fixed.append(Arm("incumbent", "incumbent", ""))
    fixed.append(Arm("oracle", "oracle", ""))
    return (*fixed, *(Arm(name, "policy", weights_hash(policy), policy) for name, policy in policies.items()))


def weights_hash(policy: object) -> str:
    """Return the SHA-256 over the names and bytes of a policy's tensors, the observation normaliser among them.

    Raises:
        PolicyError: the policy is no module, so that its weights cannot be told.
    """
    if not isinstance(policy, torch.nn.Module):
        raise PolicyError(
            f"policy: found a {type(policy).__name__}, expected a torch module. "
            "An evaluation must be able to say of which weights it speaks."
        )
    digest = hashlib.sha256(type(policy).__name__.encode())
    for name, tensor in sorted(policy.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Sampler:
    """How a flow is integrated where it is used, apart from how it was in training."""

    method: Method = "euler"
    steps: int | None = None
    """None for those of training."""


def deployments(
    policy: Policy, noise_scales: Sequence[float], sampler: Sampler | None = None
) -> tuple[Deployment, ...]:
    """Return the ways to deploy a policy that are worth evaluating: its sampler at each noise scale, by label."""
    found: dict[str, Deployment] = {}
    used = Sampler() if sampler is None else sampler
    for mode in policy.modes(used.method, used.steps):
        for scale in sorted(set(noise_scales)):
            deployment = replace(mode, noise_scale=scale)
            found.setdefault(deployment.label, deployment)
    return tuple(found.values())


@dataclass(frozen=True)
class ControllerActor:
    """Hold or the incumbent."""

    controller: Controller

    def propose(self, sight: Sight) -> Tensor:
        """Ask the controller."""
        return self.controller.act(sight.signals, sight.applied)


@dataclass(frozen=True)
class SequenceActor:
    """Plays actions ``[T, A]`` that were planned before the start."""

    actions: Tensor

    def propose(self, sight: Sight) -> Tensor:
        """Return the planned action of this step, for every episode."""
        return self.actions[sight.step].expand(sight.applied.shape[0], -1).to(sight.applied.dtype)


@dataclass(frozen=True)
class PolicyActor:
    """A policy in one way of deploying it, with its own source of noise."""

    plant: Plant
    policy: Policy
    deployment: Deployment
    generator: torch.Generator

    def propose(self, sight: Sight) -> Tensor:
        """Sample an action, and map it from [−1, 1] to the limits, without a clip."""
        with torch.no_grad():
            action, _ = self.policy.deploy(self.deployment).act(sight.observation, self.generator)
        return self.plant.to_engineering(action.to(sight.applied.dtype))


def controller_actor(plant: Plant, kind: Literal["hold", "incumbent"], episodes: int) -> ControllerActor:
    """Make a controller for a batch of episodes."""
    controller = hold_controller(plant) if kind == "hold" else incumbent_controller(plant)
    controller.reset(episodes)
    return ControllerActor(controller)
