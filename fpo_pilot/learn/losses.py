"""Surrogates of the policy update: tensors in, tensors out, nothing reduced before it is selected.

Letters: B transitions, N draws of one action (or steps of one denoising chain).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fpo_pilot.errors import PolicyError

TrustRegion = Literal["ppo", "spo", "aspo"]
TRUST_REGIONS: tuple[TrustRegion, ...] = ("ppo", "spo", "aspo")


def surrogate(
    log_ratio: Tensor, advantage: Tensor, *, clip: float | Tensor, trust_region: TrustRegion = "ppo"
) -> Tensor:
    r"""Return the surrogate of each element, to be minimised.

    With :math:`\rho = e^{\text{log ratio}}`: PPO (arXiv 1707.06347) is :math:`-\min(\rho A, \text{clip}(\rho, 1 \pm
    c) A)`; SPO (arXiv 2401.16025) is :math:`-(\rho A - |A| (\rho - 1)^2 / 2c)`; ASPO (arXiv 2602.02481) is PPO where
    A ≥ 0 and SPO elsewhere, chosen element by element, before anything is averaged.

    Args:
        log_ratio: ``[B]`` or ``[B, N]``.
        advantage: ``[B]``, or of the shape of ``log_ratio``.
        clip: half-width c of the trust region, a number or a tensor that broadcasts against ``log_ratio``.
        trust_region: which surrogate.

    Raises:
        PolicyError: the trust region is unknown.
    """
    if trust_region not in TRUST_REGIONS:
        raise PolicyError(f"trust_region: found {trust_region!r}, expected one of {', '.join(TRUST_REGIONS)}.")
    gain = advantage.unsqueeze(-1) if advantage.ndim < log_ratio.ndim else advantage
    ratio = log_ratio.exp()
    if trust_region == "ppo":
        return _ppo(ratio, gain, clip)
    if trust_region == "spo":
        return _spo(ratio, gain, clip)
    # Where PPO is taken, SPO sees ratio 1: the square of a huge ratio would put NaN in the gradient of the branch not taken.
    pulled = torch.where(gain < 0, ratio, torch.ones_like(ratio))
    return torch.where(gain < 0, _spo(pulled, gain, clip), _ppo(ratio, gain, clip))


def _ppo(ratio: Tensor, advantage: Tensor, clip: float | Tensor) -> Tensor:
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip) if isinstance(clip, float) else _clamp_to(ratio, clip)
    return -torch.minimum(ratio * advantage, clipped * advantage)


def _clamp_to(ratio: Tensor, clip: float | Tensor) -> Tensor:
    """Clamp to 1 ± ``clip``, a tensor that broadcasts."""
    one = torch.ones_like(ratio)
    return torch.minimum(torch.maximum(ratio, one - clip), one + clip)


def _spo(ratio: Tensor, advantage: Tensor, clip: float | Tensor) -> Tensor:
    return -(ratio * advantage - advantage.abs() * (ratio - 1.0).square() / (2.0 * clip))


def straight_through_clamp(value: Tensor, bound: float) -> Tensor:
    """Clamp to ± ``bound`` going forward; going back the gradient is that of no clamp, so that nothing is stuck outside."""
    return value + (value.clamp(-bound, bound) - value).detach()


def explained_variance(predicted: Tensor, actual: Tensor) -> Tensor:
    """Return 1 − Var(actual − predicted)/Var(actual), a scalar; 0 where the actual values do not vary."""
    spread = actual.var(correction=0)
    return torch.where(
        spread > 0, 1.0 - (actual - predicted).var(correction=0) / spread.clamp(min=1e-30), torch.zeros_like(spread)
    )
