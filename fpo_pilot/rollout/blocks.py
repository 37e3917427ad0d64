"""The order in which policy and incumbent drive in a switchback."""

from __future__ import annotations

import numpy as np


def switchback(seed: int, pairs: int) -> list[tuple[str, str]]:
    """Return the order of both arms in each pair, AB or BA at random, committed before the start."""
    flips = np.random.default_rng(seed).random(pairs) < 0.5
    return [("policy", "incumbent") if flip else ("incumbent", "policy") for flip in flips]
