"""Paths from noise to action: the line of flow matching, and the quarter circle of a variance-preserving diffusion.

A path is x_t = α(t)·action + σ(t)·noise with t = 0 noise and t = 1 action; its velocity is α'(t)·action + σ'(t)·noise.
Whatever the path, the learned velocity is integrated by the same samplers: for a diffusion that is its probability-flow
equation (arXiv 2011.13456, section 4.3).
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from fpo_pilot.errors import PolicyError

Path = Literal["straight", "variance_preserving"]


def path_point(noise: Tensor, action: Tensor, time: Tensor, path: Path = "straight") -> tuple[Tensor, Tensor]:
    """Return the point of a path at ``time`` and the velocity there.

    Args:
        noise: ``[..., A]``, the start.
        action: ``[..., A]``, the end.
        time: ``[...]``.
        path: ``straight``: x = (1 − t)·noise + t·action, velocity action − noise; ``variance_preserving``: x =
            cos(πt/2)·noise + sin(πt/2)·action, so that α² + σ² = 1 (the cosine schedule of arXiv 2102.09672 with no
            offset), velocity π/2·(cos(πt/2)·action − sin(πt/2)·noise).

    Returns:
        Point and velocity, ``[..., A]`` each.

    Raises:
        PolicyError: an unknown path.
    """
    if path == "straight":
        target = action - noise
        return noise + time.unsqueeze(-1) * target, target
    if path == "variance_preserving":
        angle = time.unsqueeze(-1) * (math.pi / 2.0)
        sine, cosine = angle.sin(), angle.cos()
        return cosine * noise + sine * action, (math.pi / 2.0) * (cosine * action - sine * noise)
    raise PolicyError(f"path: found {path!r}, expected 'straight' or 'variance_preserving'. Correct the name.")
