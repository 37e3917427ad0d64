"""How much of what a policy does the log has ever seen."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from fpo_pilot.evaluate.offpolicy.batch import LogBatch

NEIGHBOURS = 5
BEYOND = 99.0
"""Percentile of the log's own distances."""
_MOST_ROWS = 20_000


def support(batch: LogBatch, actions: Tensor) -> float:
    """Return the share of the policy's actions that lie beyond the log: farther from it than 99 % of its own rows are.

    Copies of an episode count once: beside its copies every row is at distance 0, and anything else would lie beyond.

    Distance: to the 5th neighbour among the logged (s, a), each entry over its spread; of a logged row, the row itself left out.

    Args:
        batch: the log.
        actions: ``[T, B, A]`` of policy∘shield at the logged states, normalised.
    """
    kept = (batch.kept & batch.distinct).flatten()
    obs = batch.obs.flatten(0, 1)[kept].double().numpy()
    logged = np.concatenate((obs, batch.action.flatten(0, 1)[kept].double().numpy()), axis=1)
    asked = np.concatenate((obs, actions.flatten(0, 1)[kept].double().numpy()), axis=1)
    spread = logged.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    rows = np.random.default_rng(0).permutation(len(logged))[:_MOST_ROWS]
    tree = cKDTree(logged[rows] / scale)
    own = tree.query(logged[rows] / scale, k=NEIGHBOURS + 1)[0][:, -1]
    theirs = tree.query(asked[rows] / scale, k=NEIGHBOURS)[0][:, -1]
    return float(np.mean(theirs > np.percentile(own, BEYOND)))
