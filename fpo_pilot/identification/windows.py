"""Cuts logged episodes into parts by episode, and parts into windows of some past and some future.

Letters: N windows, L rows of a window, S signals, A actions, p order, H steps ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fpo_pilot.errors import LogError
from fpo_pilot.identification.log import PlantLog, Stretch
from fpo_pilot.plants.fitted import Weights, advance

MOST_ORDER = 3
"""Rows of the past that a model may look at, the present one included."""
FIT, SELECT, CALIBRATE = 0.45, 0.15, 0.2
"""Shares of the episodes: to fit, to choose order and ridge, to calibrate intervals; the rest is for the errors."""
FEWEST_EPISODES = 5
MOST_WINDOWS = 6_000
"""Of a part; more than these tell nothing new and take time."""


@dataclass(frozen=True)
class Windows:
    """Windows of rows: ``past`` rows up to now, then the rows to be predicted."""

    measured: Tensor  # [N, L, S]
    applied: Tensor  # [N, L, A]
    episode: Tensor  # [N]
    past: int

    @property
    def count(self) -> int:
        """Number of windows, N."""
        return self.measured.shape[0]

    @property
    def ahead(self) -> int:
        """Steps that can be predicted, H."""
        return self.measured.shape[1] - self.past

    def start(self, order: int) -> Tensor:
        """Return the model's state now, ``[N, S·p + A·(p−1)]``."""
        now = self.past - 1
        columns = [self.measured[:, now]]
        columns += [self.measured[:, now - i] - self.measured[:, now - i - 1] for i in range(order - 1)]
        columns += [self.applied[:, now - i] for i in range(1, order)]
        return torch.cat(columns, dim=1)

    def future(self) -> Tensor:
        """Return what was measured after now, ``[N, H, S]``."""
        return self.measured[:, self.past :]

    def rows(self, chosen: Tensor) -> Windows:
        """Return some of the windows."""
        return Windows(self.measured[chosen], self.applied[chosen], self.episode[chosen], self.past)


@dataclass(frozen=True)
class Parts:
    """The stretches of each part; no episode is in two of them."""

    fit: tuple[Stretch, ...]
    select: tuple[Stretch, ...]
    calibrate: tuple[Stretch, ...]
    test: tuple[Stretch, ...]
    short: int
    """Episodes in no part: no stretch of theirs is long enough for a window."""


def predict(weights: Weights, windows: Windows) -> Tensor:
    """Predict open loop under the actions that were applied, ``[N, H, S]``; no measurement after now is looked at."""
    actions = windows.applied.shape[2]
    state = windows.start(weights.order(actions))
    predicted = []
    for step in range(windows.ahead):
        state = advance(weights, state, windows.applied[:, windows.past - 1 + step])
        predicted.append(state[:, : weights.signals])
    return torch.stack(predicted, dim=1)


def split(log: PlantLog, ahead: int, seed: int) -> Parts:
    """Deal the episodes out to the parts at random.

    Raises:
        LogError: there are too few episodes that are long enough.
    """
    length = MOST_ORDER + ahead
    long_enough = [stretch for stretch in log.stretches if len(stretch.measured) >= length]
    names = sorted({stretch.episode for stretch in long_enough})
    if len(names) < FEWEST_EPISODES:
        raise LogError(
            f"log: found {len(names)} of {log.episodes} episodes with {length} good rows in a row, expected at least "
            f"{FEWEST_EPISODES}: errors are measured on whole episodes that were not fitted. Log more episodes, or number "
            "the batches, shifts or days of one long record as episodes."
        )
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    count = len(order)
    selected, calibrated = (max(1, round(share * count)) for share in (SELECT, CALIBRATE))
    tested = max(1, count - math.ceil(FIT * count) - selected - calibrated)
    ends = np.cumsum([count - selected - calibrated - tested, selected, calibrated, tested])
    groups = [set(order[end - size : end]) for end, size in zip(ends, np.diff([0, *ends]), strict=True)]
    fit, select, calibrate, test = (tuple(s for s in log.stretches if s.episode in group) for group in groups)
    return Parts(fit, select, calibrate, test, short=log.episodes - count)


def cut(stretches: Sequence[Stretch], past: int, ahead: int, most: int | None = MOST_WINDOWS) -> Windows:
    """Cut stretches into all windows, or every n-th of them where there are more than ``most``."""
    length = past + ahead
    usable = [stretch for stretch in stretches if len(stretch.measured) >= length]
    measured = [torch.from_numpy(s.measured).unfold(0, length, 1) for s in usable]
    applied = [torch.from_numpy(s.applied).unfold(0, length, 1) for s in usable]
    episode = [torch.full((len(piece),), s.episode) for s, piece in zip(usable, measured, strict=True)]
    total = sum(len(piece) for piece in measured)
    stride = 1 if most is None else max(1, math.ceil(total / most))
    return Windows(
        torch.cat(measured).transpose(1, 2)[::stride].contiguous(),
        torch.cat(applied).transpose(1, 2)[::stride].contiguous(),
        torch.cat(episode)[::stride],
        past,
    )
