"""What tells how healthy an update was: measured once after it, on the rollout that it learned from; nothing waits here.

The ratio of a flow policy is not bounded by what the clip sees: how far the *actions* moved is measured by sampling
again from the same noise, and how wide they spread by sampling from another.
"""

from __future__ import annotations

import math

import torch
from scipy.special import digamma
from torch import Tensor

from fpo_pilot.learn.interaction import Rollout
from fpo_pilot.learn.policy import Policy, Trace
from fpo_pilot.learn.update import Targets

ROWS = 1024
"""Rows of the rollout that are looked at, evenly spaced."""
EXACT_ROWS = 32
"""Rows whose exact density is computed."""
ENTROPY_ROWS, ENTROPY_SAMPLES, NEIGHBOUR = 48, 16, 3
"""Observations whose actions are sampled again for the entropy, samples of each, and which neighbour is taken."""


@torch.no_grad()
def monitors(policy: Policy, rollout: Rollout, targets: Targets, *, clip: float) -> dict[str, Tensor]:
    """Return figures of one update, scalars on the device; NaN where there is nothing to measure.

    Args:
        policy: after the update.
        rollout: what it learned from.
        targets: its advantages.
        clip: half-width of the trust region.

    Returns:
        ``spread``: standard deviation of the action sampled for one observation; ``action_change``: mean squared
        distance of the action sampled now from the one taken, from the same noise (a proxy for the KL divergence);
        ``clip_fraction_good`` and ``clip_fraction_bad``: ratios outside the trust region after the update where the
        advantage is positive and not; ``ratio_early`` and ``ratio_late``: mean ratio of draws nearer to the noise and
        to the action; ``old_loss``: mean flow-matching loss of the policy that acted.
    """
    obs, action, trace = _spaced(rollout, ROWS)
    advantage = targets.advantage[:: _stride(targets.advantage.shape[0], ROWS)]
    ratio = policy.log_ratio(obs, action, trace).exp()
    outside = ((ratio - 1.0).abs() > clip).to(ratio.dtype)
    outside = outside if outside.ndim == 1 else outside.mean(dim=-1)
    missing = torch.full_like(ratio.mean(), torch.nan)
    found = _of_actions(policy, obs, action, trace) | {
        "clip_fraction_good": _mean_where(outside, advantage > 0),
        "clip_fraction_bad": _mean_where(outside, advantage <= 0),
        "ratio_early": missing,
        "ratio_late": missing,
        "old_loss": missing,
    }
    if "time" in trace:
        early = trace["time"] < 0.5
        ratios = ratio.unsqueeze(-1).expand_as(early) if ratio.ndim == 1 else ratio
        found["ratio_early"], found["ratio_late"] = _mean_where(ratios, early), _mean_where(ratios, ~early)
        found["old_loss"] = trace["old_loss"].mean()
    return found


@torch.no_grad()
def action_monitors(policy: Policy, rollout: Rollout) -> dict[str, Tensor]:
    """Return those of :func:`monitors` that need no ratio: ``spread``, ``action_change`` and ``entropy``.

    Where the trace has ``sampled``, the action before noise that is not the policy's own, the change is measured from it.
    """
    obs, action, trace = _spaced(rollout, ROWS)
    return _of_actions(policy, obs, trace.get("sampled", action), trace)


def _of_actions(policy: Policy, obs: Tensor, action: Tensor, trace: Trace) -> dict[str, Tensor]:
    now = policy.replay(obs, trace)
    other = policy.replay(obs, {name: value.roll(1, dims=0) for name, value in trace.items()})
    return {
        "spread": ((now - other).square().mean(dim=0) / 2.0).sqrt().mean(),
        "action_change": (now - action).square().sum(dim=-1).mean(),
        "entropy": _entropy(policy, obs[:: _stride(obs.shape[0], ENTROPY_ROWS)], trace["start"]),
    }


def _entropy(policy: Policy, obs: Tensor, start: Tensor) -> Tensor:
    """Return the mean entropy of the action at ``obs`` ``[R, O]``, from the noise that was drawn at other rows."""
    rows = obs.shape[0]
    wanted = rows * ENTROPY_SAMPLES
    repeats = -(-wanted // start.shape[0])
    noise = start.roll(1, dims=0).repeat(repeats, 1)[:wanted]
    action = policy.sample(obs.repeat_interleave(ENTROPY_SAMPLES, dim=0), noise, 1.0)
    return neighbour_entropy(action.reshape(rows, ENTROPY_SAMPLES, -1)).mean()


def neighbour_entropy(samples: Tensor, k: int = NEIGHBOUR) -> Tensor:
    """Estimate the differential entropy of each set of samples from the distance to the k-th neighbour.

    H ≈ d·mean(log ε_k) + log V_d + ψ(n) − ψ(k) (Kozachenko, Leonenko 1987; Kraskov et al. 2004).

    Args:
        samples: ``[R, n, d]``, n > k.
        k: which neighbour.

    Returns:
        ``[R]`` in nats; samples that coincide count as 1e-12 apart.
    """
    _, n, d = samples.shape
    points = samples.to(torch.float64)
    distance = (points.unsqueeze(2) - points.unsqueeze(1)).square().sum(dim=-1).sqrt()
    nearest = distance.kthvalue(k + 1, dim=-1).values.clamp(min=1e-12)  # the nearest of all is the point itself
    ball = 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1.0)
    return d * nearest.log().mean(dim=-1) + ball + float(digamma(n) - digamma(k))


@torch.no_grad()
def exact_densities(policy: Policy, rollout: Rollout) -> Tensor:
    """Return the exact log-densities of some actions of the rollout; taken before an update, for :func:`density_gap`."""
    return policy.exact_log_density(*_spaced(rollout, EXACT_ROWS))


@torch.no_grad()
def density_gap(policy: Policy, rollout: Rollout, before: Tensor) -> Tensor:
    """Return how far the log ratio of the surrogate is from that of the exact densities, on average; a scalar.

    Args:
        policy: after the update.
        rollout: what it learned from.
        before: what :func:`exact_densities` gave before it.
    """
    obs, action, trace = _spaced(rollout, EXACT_ROWS)
    ratio = policy.log_ratio(obs, action, trace)
    ratio = ratio if ratio.ndim == 1 else ratio.mean(dim=-1)
    gap = (policy.exact_log_density(obs, action, trace) - before - ratio).abs()
    return torch.nanmean(gap)


def _stride(size: int, rows: int) -> int:
    return max(1, size // rows)


def _spaced(rollout: Rollout, rows: int) -> tuple[Tensor, Tensor, Trace]:
    """Return observations, actions and traces of about ``rows`` rows, evenly spaced."""
    obs, action, trace = rollout.flat()
    stride = _stride(obs.shape[0], rows)
    return obs[::stride], action[::stride], {name: value[::stride] for name, value in trace.items()}


def _mean_where(value: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(value.dtype)
    return (value * weight).sum() / weight.sum()
