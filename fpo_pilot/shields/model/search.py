"""The nearest candidate that is safe at every point: all of them at once, or where rows are many, only as far as is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.shields.model.lookahead import Lookahead, Outlook

DENSE_ROWS = 2048
"""Up to this many simulated rows a step costs the same, so that all candidates are simulated at once."""
CHUNK_ROWS = 32_768
"""Rows simulated at once on a CPU: more no longer fit its cache."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen candidate of each row.

    Args:
        index: ``[B]`` the first candidate that is safe, the last one if none is.
        found: ``[B]`` bool: whether it is safe.
        distance: ``[B, L]`` least distance of the chosen one to each limit.
        score: ``[B]`` the least of them as a fraction of the signal's range, the terminal set included.
        low: ``[B, H + 1, S]`` least state after each step of the chosen one.
        high: ``[B, H + 1, S]`` greatest one.
        first: outlook of the first candidate.
    """

    index: Tensor
    found: Tensor
    distance: Tensor
    score: Tensor
    low: Tensor
    high: Tensor
    first: Outlook


def nearest_safe(
    lookahead: Lookahead,
    state: Tensor,
    parameters: Tensor,
    candidates: Tensor,
    *,
    each_step: Callable[[], None] | None = None,
) -> Choice:
    """Find the first of the candidates ``[B, K, A]`` that is safe at all N points; arguments as for :meth:`Lookahead.outlook`."""
    rows = state.shape[0] * candidates.shape[1] * state.shape[1]
    if state.device.type == "cpu" and rows > DENSE_ROWS:
        return _pruned(lookahead, state, parameters, candidates, each_step)
    outlook = lookahead.outlook(state, parameters, candidates, each_step=each_step)
    index = _first(outlook.safe)
    return _chosen(outlook, index, index)


def _first(safe: Tensor) -> Tensor:
    """Return the first column that is true, ``[B]``; the last one where none is."""
    return torch.where(safe.any(dim=-1), safe.to(torch.uint8).argmax(dim=-1), safe.shape[-1] - 1)


def _chosen(outlook: Outlook, column: Tensor, index: Tensor) -> Choice:
    """Pick a column of an outlook; ``index`` is what it is called among all candidates."""
    row = torch.arange(column.shape[0], device=column.device)
    score = outlook.score[row, column].amin(dim=-1)
    return Choice(
        index=index,
        found=score >= 0.0,
        distance=outlook.distance[row, column],
        score=score,
        low=outlook.low[row, column],
        high=outlook.high[row, column],
        first=outlook,
    )


def _pruned(
    lookahead: Lookahead,
    state: Tensor,
    parameters: Tensor,
    candidates: Tensor,
    each_step: Callable[[], None] | None,
) -> Choice:
    """Judge the proposal of all rows first; then of the rejected ones every candidate at the point that was worst, then at all points.

    What it finds is what judging everything would find: a candidate that fails at one point is not safe. It asks how many rows are
    left, so that it is for the CPU only.
    """
    first = _in_chunks(lookahead, state, parameters, candidates[:, :1], each_step)
    choice = _chosen(
        first, torch.zeros_like(first.safe[:, 0], dtype=torch.int64), torch.zeros(len(state), dtype=torch.int64)
    )
    rows = (~first.safe[:, 0]).nonzero()[:, 0]
    if not len(rows):
        return choice
    worst = first.score[rows, 0].argmin(dim=-1)
    at_worst = lookahead.outlook(
        state[rows, worst][:, None], parameters[worst][:, None], candidates[rows, 1:], each_step=each_step
    )
    possible = at_worst.safe
    last = possible.shape[-1] - 1
    while len(rows):
        column = _first(possible)
        asked = candidates[rows, column + 1][:, None]
        outlook = _in_chunks(lookahead, state[rows], parameters, asked, each_step)
        judged = _chosen(outlook, torch.zeros_like(column), column + 1)
        settled = judged.found | (column == last)
        for name in ("index", "found", "distance", "score", "low", "high"):
            getattr(choice, name)[rows[settled]] = getattr(judged, name)[settled]
        possible = possible.scatter(1, column[:, None], value=False)[~settled]
        rows = rows[~settled]
    return choice


def _in_chunks(
    lookahead: Lookahead, state: Tensor, parameters: Tensor, first: Tensor, each_step: Callable[[], None] | None
) -> Outlook:
    """Simulate groups of rows one after the other."""
    size = max(1, CHUNK_ROWS // (state.shape[1] * first.shape[1]))
    parts = [
        lookahead.outlook(some, parameters, actions, each_step=each_step)
        for some, actions in zip(torch.split(state, size), torch.split(first, size), strict=True)
    ]
    return parts[0] if len(parts) == 1 else Outlook.joined(parts)
