"""The time embedding."""

from __future__ import annotations

import torch
from torch import Tensor


def embed_time(time: Tensor, frequencies: int) -> Tensor:
    """Embed times as cosines, then sines, of octaves of the time that is left.

    The published weights take s = 1 − t, as the FPO paper's code counts from action to noise; so does this embedding,
    so that they load unchanged.

    Args:
        time: ``[...]``, 0 at noise, 1 at the action.
        frequencies: number of octaves F: s, 2s, 4s, …

    Returns:
        ``[..., 2F]``: cos(s·2^k) for k = 0 … F−1, then sin(s·2^k). Source: akanazawa/fpo, ``playground`` (Apache-2.0).
    """
    octaves = torch.arange(frequencies, dtype=time.dtype, device=time.device)
    phase = (1.0 - time).unsqueeze(-1) * torch.exp2(octaves)
    return torch.cat((phase.cos(), phase.sin()), dim=-1)
