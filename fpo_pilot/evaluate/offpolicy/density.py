"""How likely a policy makes a proposal, and how likely the one that wrote a log made those that are in it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fpo_pilot.errors import FpoPilotError
from fpo_pilot.evaluate.arms import weights_hash
from fpo_pilot.evaluate.offpolicy.batch import LogBatch
from fpo_pilot.evaluate.offpolicy.estimate import UNKNOWN_DENSITY
from fpo_pilot.learn import Deployment, TrainedPolicy, load_policy
from fpo_pilot.learn.flow_policy import FlowPolicy
from fpo_pilot.learn.gaussian_policy import GaussianPolicy
from fpo_pilot.learn.logged import Driver, LoggedEpisodes
from fpo_pilot.logs.manifest import Manifest

LogDensity = Callable[[Tensor, Tensor], Tensor]
"""ln π of proposals ``[N, A]`` at observations ``[N, O]``, of a policy that draws."""
_INSIDE = 1.0 - 1e-6
"""A squashed action is cut here before the inverse of tanh is taken."""
_TOLD = 1.0 - 1e-5
"""A squashed action beyond this, in float32 and mapped to the unit and back, no longer tells what it is the tanh of."""
_MOST_SATURATED = 0.01
_WHOLE = ("offline", "full")
"""Stages in which what the policy asks for reaches the plant behind the shield alone, without a share of the incumbent."""


def density_of(policy: TrainedPolicy, deployment: Deployment) -> tuple[LogDensity | None, str]:
    """Return ln π of proposals where it is exact, or why it is not.

    It is with noise 1, one candidate, the sampler of training, and no squashing of a flow.
    """
    if deployment.noise_scale != 1.0 or deployment.candidates > 1:
        return None, f"a policy deployed with {deployment.label} has no density that is known exactly"
    if isinstance(policy, FlowPolicy) and not policy.spec.squash:
        if (deployment.method, deployment.steps) != ("euler", policy.spec.flow_steps):
            return None, "the exact density is that of the sampler of training, and another one is deployed"
        return (lambda obs, action: policy.exact_log_density(obs, action, {})), ""
    if isinstance(policy, GaussianPolicy):

        def gaussian(obs: Tensor, action: Tensor) -> Tensor:
            inside = action.clamp(-_INSIDE, _INSIDE)
            u = inside.atanh() if policy.spec.squash else action
            return policy.exact_log_density(obs, action, {"u": u})

        return gaussian, ""
    return None, "the density of this policy is known along its chain only"


def saturated(policy: TrainedPolicy, logged: LoggedEpisodes) -> str:
    """Say where a squashed policy's density is lost to rounding: so near to the ends of the range the log does not tell u.

    Empty where it is not.
    """
    if not (isinstance(policy, GaussianPolicy) and policy.spec.squash):
        return ""
    share = float((logged.proposal[logged.kept].abs() > _TOLD).any(dim=-1).double().mean())
    if share <= _MOST_SATURATED:
        return ""
    return f"{share:.1%} of the logged proposals are so near to the ends of the range that their density is lost to rounding"


def with_density(batch: LogBatch, logged: LoggedEpisodes, log: Path) -> tuple[LogBatch, str]:
    """Return a log with the density of its proposals where the weights that drove are at hand, or why there is none.

    The step log of our own runs leaves the column empty, since the control cycle does not wait for it. It follows from the
    weights, the observation and the proposal. All rows must be of the best checkpoint of the run ``log``, deployed with a density that
    is known exactly, and with all the authority there is.
    """
    try:
        policy, manifest = load_policy(log), Manifest.read(log)
    except FpoPilotError:
        return batch, UNKNOWN_DENSITY
    own = {weights_hash(policy), manifest.hashes.get("model")}
    reasons = [reason for one in sorted(logged.drivers) if (reason := _why_not(one, own, log))]
    modes = sorted({one.mode for one in logged.drivers})
    known = {mode.label: mode for mode in policy.modes()}
    if reasons:
        return batch, reasons[0]
    if len(modes) != 1:
        return batch, f"the log is of the deployments {', '.join(modes)}, and a density is of one: choose it by --mode"
    if modes[0] not in known:
        return batch, f"the log is of a deployment ({modes[0] or 'not told'}) whose density is not known"
    density, reason = density_of(policy, known[modes[0]])
    if density is None:
        return batch, f"of the log: {reason}"
    with torch.no_grad():
        found = density(batch.obs.flatten(0, 1), logged.proposal.flatten(0, 1)).double().reshape(batch.kept.shape)
    if not bool(torch.isfinite(found[batch.kept]).all()):
        return batch, "the density of the policy that drove cannot be computed at every logged proposal"
    return replace(batch, log_density=torch.where(batch.kept, found, 0.0)), ""


def _why_not(driver: Driver, own: AbstractSet[str | None], log: Path) -> str:
    """Say why the proposals of a driver are not those of the weights ``own``, or did not move the plant alone; empty if they did."""
    if driver.model == "":
        return UNKNOWN_DENSITY
    if driver.model not in own:
        return f"rows of stage {driver.stage} are not of the weights that {log} has: nobody knows how likely they were"
    if driver.stage not in _WHOLE:
        return f"in stage {driver.stage} what was proposed is not all that moved the plant; choose others by --stage"
    if not driver.whole:
        return f"in rows of stage {driver.stage} the policy had lost its authority, and what it proposed moved nothing"
    return ""
