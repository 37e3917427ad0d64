"""The exact density of what the Euler sampler makes: the chain of steps is inverted, and each step's determinant taken.

No stochastic estimate is offered: noise of variance σ² in a log-density biases a ratio made of it by e^{σ²/2}.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fpo_pilot.errors import PolicyError
from fpo_pilot.flow.velocity import Conditional, Field, Velocity, condition

_CONTRACTIONS = 8
_NEWTON_STEPS = 16
_RESIDUAL = 1e-6
"""Of an inverted step, relative to the point or 1."""
_CONVERGED = 1e-11
"""Newton's method stops early where all rows are this near."""
_SAME = 1e-3
"""Two preimages nearer than this are one."""


def log_density(velocity: Velocity, obs: Tensor, x1: Tensor, *, steps: int) -> Tensor:
    """Compute log p(x1 | obs) of the Euler sampler that starts from standard normal noise and makes ``steps`` steps.

    log p(x1) = log N(x0; 0, I) − Σ_k log|det(I + Δt·∂v/∂x (x_k, t_k))|, computed in float64 without a gradient. Each
    step is inverted by fixed-point iteration and then Newton's method, from several starts.

    Args:
        velocity: any callable; see :mod:`fpo_pilot.flow.velocity`. A callable that closes over weights of its own must
            accept float64 points, as modules do here.
        obs: ``[B, O]``.
        x1: ``[B, A]``, samples or any other points.
        steps: of the sampler.

    Returns:
        ``[B]`` float64. NaN where a step cannot be inverted to a residual of 1e-6, or where the starts find different
        preimages, so that the step is not one-to-one and the formula does not hold.

    Raises:
        PolicyError: shapes that do not fit, or fewer than one step.
    """
    if x1.ndim != 2 or obs.ndim != 2 or obs.shape[0] != x1.shape[0] or steps < 1:
        raise PolicyError(
            f"log_density: found obs {tuple(obs.shape)}, x1 {tuple(x1.shape)}, {steps} steps, expected [B, O], [B, A] "
            "and at least one step. Flatten leading dimensions to one batch."
        )
    size = 1.0 / steps
    obs, x = obs.detach().to(torch.float64), x1.detach().to(torch.float64)
    with torch.enable_grad():  # Jacobians are taken by autograd, whatever the caller has set
        field = condition(_in_double(velocity), obs)
        total = x.new_zeros(x.shape[0])
        for k in reversed(range(steps)):
            time = x.new_full((1,), k * size)
            x = _invert(field, time, size, x)
            _, jacobian = _step_and_jacobian(field, time, size, x)
            total = total + torch.linalg.slogdet(jacobian).logabsdet
    normal = -0.5 * (x.square().sum(dim=-1) + x.shape[-1] * math.log(2.0 * math.pi))
    density = (normal - total).detach()
    return torch.where(density.isfinite(), density, torch.nan)


def _in_double(velocity: Velocity) -> Velocity:
    """Let a module of float32 weights take float64 points, with its weights as they are."""
    if isinstance(velocity, Conditional) or not isinstance(velocity, nn.Module):
        return velocity
    tensors = {**dict(velocity.named_parameters()), **dict(velocity.named_buffers())}
    doubled = {k: v.detach().double() if v.is_floating_point() else v for k, v in tensors.items()}
    module: Any = velocity

    def call(obs: Tensor, x: Tensor, time: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(module, doubled, (obs, x, time))
        return result

    return call


def _step_and_jacobian(field: Field, time: Tensor, size: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``x + Δt·v`` ``[..., A]`` and its Jacobian ``[..., A, A]``, by one backward pass an action entry.

    Rows do not depend on each other, so the gradient of a sum over rows is the gradient of each.
    """
    point = x.detach().requires_grad_(True)
    velocity = field(point, time)
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    if not velocity.requires_grad:  # a field that does not depend on the point at all
        return (x + size * velocity).detach(), identity.expand(*x.shape, x.shape[-1])
    rows = [
        torch.autograd.grad(entry.sum(), point, retain_graph=True, allow_unused=True)[0]
        for entry in velocity.unbind(-1)
    ]
    jacobian = torch.stack([torch.zeros_like(x) if row is None else row for row in rows], dim=-2)
    return (x + size * velocity).detach(), identity + size * jacobian


def _invert(field: Field, time: Tensor, size: float, target: Tensor) -> Tensor:
    """Return the one point ``[B, A]`` that a step carries to ``target``; NaN where there is none or more than one."""
    x = target
    for _ in range(_CONTRACTIONS):
        x = (target - size * field(x, time)).detach()
    starts = torch.stack((torch.where(x.isfinite(), x, target), target, target - 1.0, target + 1.0))  # [4, B, A]
    scale = target.abs().amax(dim=-1).clamp(min=1.0)
    residual = torch.full_like(starts[..., 0], torch.inf)
    for remaining in reversed(range(_NEWTON_STEPS)):
        value, jacobian = _step_and_jacobian(field, time, size, starts)
        error = value - target
        residual = error.abs().amax(dim=-1) / scale  # [4, B]
        if remaining == 0 or bool((residual < _CONVERGED).all()):
            break
        move = torch.linalg.solve_ex(jacobian, error.unsqueeze(-1)).result.squeeze(-1)
        starts = starts - torch.nan_to_num(move, nan=0.0, posinf=0.0, neginf=0.0)
    found = residual < _RESIDUAL
    first = found.to(torch.int64).argmax(dim=0)  # [B]; the first start that arrived
    chosen = starts.gather(0, first[None, :, None].expand(1, *target.shape)).squeeze(0)
    differs = ((starts - chosen).abs().amax(dim=-1) > _SAME) & found
    sound = found.any(dim=0) & ~differs.any(dim=0)
    return torch.where(sound.unsqueeze(-1), chosen, torch.nan)
