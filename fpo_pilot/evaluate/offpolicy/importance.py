r"""Estimators by importance weights: only where it is known how likely the logged proposals were.

With :math:`w_t = \prod_{k \le t} \pi(a_k|s_k)/\mu(a_k|s_k)` of the PROPOSALS (a shield puts atoms on the constraint, where a density has
none; the same shield stands behind both):

.. math::
    \text{SN-PDIS} = \sum_t \gamma^t \frac{\sum_i w_{i,t} r_{i,t}}{\sum_i w_{i,t}}

    \text{WDR} = \sum_t \gamma^t \Big[\sum_i \hat w_{i,t}\,(r_{i,t} - Q(s_{i,t}, a_{i,t})) + \sum_i \hat w_{i,t-1} V(s_{i,t})\Big]

with :math:`\hat w_{i,t} = w_{i,t} / \sum_j w_{j,t}` (Precup, Sutton, Singh 2000; Thomas and Brunskill, arXiv 1604.00923). An episode that
has ended keeps its last weight, and earns nothing: otherwise the weights of the others would count for it. A deterministic policy has
no density; the kernel variant puts a Gaussian of width h around its action (Kallus and Zhou, arXiv 1802.06037), which costs bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fpo_pilot.evaluate.offpolicy.batch import LogBatch
from fpo_pilot.evaluate.offpolicy.estimate import UNKNOWN_DENSITY, OffPolicyEstimate, off
from fpo_pilot.evaluate.offpolicy.fitted_q import limits

LEAST_EFFECTIVE = 10.0
"""Fewer effective episodes than this say nothing."""


def per_decision(
    batch: LogBatch, log_ratio: Tensor | None, *, discount: float = 1.0, resamples: int = 500, seed: int = 0
) -> OffPolicyEstimate:
    """Estimate by self-normalised per-decision importance sampling.

    Args:
        batch: the log; only stretches that begin an episode and are not cut count.
        log_ratio: ``[T, B]`` ln π − ln μ of the logged proposals; None where no density is known.
        discount: γ.
        resamples: of the bootstrap over episodes.
        seed: of the bootstrap.
    """
    return _weighted("SN-PDIS", batch, log_ratio, None, None, discount, resamples, seed)


def weighted_doubly_robust(
    batch: LogBatch,
    log_ratio: Tensor | None,
    q: Tensor,
    v: Tensor,
    *,
    discount: float = 1.0,
    resamples: int = 500,
    seed: int = 0,
    name: str = "WDR",
) -> OffPolicyEstimate:
    """Estimate by importance sampling of what a fitted Q gets wrong; ``q`` and ``v`` are ``[T, B]`` at the logged states."""
    return _weighted(name, batch, log_ratio, q, v, discount, resamples, seed)


def kernel_log_ratio(distance: Tensor, width: float, log_density: Tensor) -> Tensor:
    """Return ln K_h(a − π(s)) − ln μ(a|s) ``[T, B]`` for a deterministic policy.

    Args:
        distance: ``[T, B, A]`` logged proposal minus the policy's own, normalised.
        width: h, of the Gaussian kernel.
        log_density: ``[T, B]`` of the logged proposals.
    """
    size = distance.shape[-1]
    kernel = -0.5 * (distance / width).square().sum(dim=-1) - size * (math.log(width) + 0.5 * math.log(2.0 * math.pi))
    return kernel - log_density


def _weighted(
    name: str,
    batch: LogBatch,
    log_ratio: Tensor | None,
    q: Tensor | None,
    v: Tensor | None,
    discount: float,
    resamples: int,
    seed: int,
) -> OffPolicyEstimate:
    whole = batch.starts & (batch.ends & batch.kept).any(dim=0)
    count = int(whole.sum())
    if log_ratio is None:
        return off(name, UNKNOWN_DENSITY, count)
    if count < 2:
        return off(name, f"{count} whole episodes, expected 2 or more", count)
    kept = batch.kept[:, whole]
    log_weight = torch.where(kept, log_ratio[:, whole].double(), 0.0).cumsum(dim=0)
    gamma = discount ** torch.arange(len(kept), dtype=torch.float64)
    reward = torch.where(kept, batch.reward[:, whole].double(), 0.0)
    fix = torch.zeros_like(reward) if q is None else torch.where(kept, q[:, whole].double(), 0.0)
    base = torch.zeros_like(reward) if v is None else torch.where(kept, v[:, whole].double(), 0.0)
    before = torch.cat((torch.zeros_like(log_weight[:1]), log_weight[:-1]))
    value_of = _estimator(gamma, reward - fix, base, log_weight, before)
    everyone = torch.ones(count, dtype=torch.float64)
    value = float(value_of(everyone))
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randint(0, count, (resamples, count), generator=generator)
    low, high = limits([float(value_of(torch.bincount(row, minlength=count).double())) for row in picked], count, 0.95)
    last = torch.softmax(log_weight[-1], dim=0)
    effective = float(1.0 / last.square().sum())
    if not math.isfinite(value) or effective < LEAST_EFFECTIVE:
        found = off(
            name, f"the weights leave {effective:.1f} effective episodes, expected {LEAST_EFFECTIVE:g} or more", count
        )
        return found.model_copy(update={"effective_sample_size": effective, "largest_weight_share": float(last.max())})
    return OffPolicyEstimate(
        method=name,
        valid=True,
        value=value,
        low=low,
        high=high,
        episodes=count,
        effective_sample_size=effective,
        largest_weight_share=float(last.max()),
    )


def _estimator(
    gamma: Tensor, residual: Tensor, base: Tensor, log_weight: Tensor, before: Tensor
) -> Callable[[Tensor], Tensor]:
    def value(times: Tensor) -> Tensor:
        """Return the estimate where episode i counts ``times[i]`` times."""
        now = torch.softmax(log_weight + times.log(), dim=1)
        earlier = torch.softmax(before + times.log(), dim=1)
        return (gamma * ((now * residual).sum(dim=1) + (earlier * base).sum(dim=1))).sum()

    return value
