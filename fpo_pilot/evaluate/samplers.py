"""The sampler report: what a flow policy keeps when it is integrated otherwise than in training.

The velocity is what was learned; how it is integrated is a matter of the machine that runs it. For each method and
number of steps: the return, how far the action drifts from that of a fine reference, and the time of one action.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.evaluate.comparison import SCORING, episode_batch, random_return
from fpo_pilot.evidence import bootstrap_interval
from fpo_pilot.flow import Method
from fpo_pilot.learn.interaction import Interaction, collect
from fpo_pilot.learn.policy import Policy
from fpo_pilot.learn.task import Task

REFERENCE: tuple[Method, int] = ("euler", 100)
GRID: tuple[tuple[Method, int], ...] = (
    ("euler", 1),
    ("euler", 2),
    ("euler", 4),
    ("euler", 10),
    ("euler", 20),
    ("midpoint", 2),
    ("midpoint", 5),
    ("heun", 2),
    ("heun", 4),
    ("heun", 10),
    ("rk4", 1),
    ("rk4", 2),
    ("rk4", 20),
    ("adaptive", 4),
)
_DRIFT_ROWS = 512
_LATENCY_RUNS = 200


@dataclass(frozen=True)
class SamplerRow:
    """One method and number of steps."""

    method: Method
    steps: int
    score: float
    low: float
    high: float
    """95 % bootstrap interval of the mean over episodes."""
    kept: float
    """(score − random)/(score of training's sampler − random): 1 keeps everything, 0 is worth no more than chance."""
    drift: float
    """Root mean square distance of the action from the reference's, from the same noise, in half spans of the actuator."""
    latency_us: float
    """Median time of one action alone, in microseconds, on this machine."""


def sampler_report(
    task: Task,
    policy: Policy,
    *,
    noise_scale: float,
    trained_steps: int,
    episodes: int,
    seed: int,
    grid: Sequence[tuple[Method, int]] = GRID,
    progress: Callable[[int, str], None] | None = None,
) -> list[SamplerRow]:
    """Measure each sampler of ``grid`` on the same episodes from the same noise.

    Args:
        task: what the policy was trained on.
        policy: a flow.
        noise_scale: σ as deployed.
        trained_steps: Euler steps of training, whose return is the measure of what is kept.
        episodes: of each sampler.
        seed: of the episodes.
        grid: methods and steps; that of training is added if it is not among them.
        progress: is told how many are done and which is next.
    """
    loop = task.loop(episodes, seed=0, device="cpu")
    trained: tuple[Method, int] = ("euler", trained_steps)
    wanted = list(dict.fromkeys((trained, *grid)))
    floor = random_return(loop, seed)
    obs = _observations(loop, policy, seed)
    noise = noise_scale * torch.randn(
        (obs.shape[0], loop.action_size), generator=torch.Generator().manual_seed(seed), dtype=obs.dtype
    )
    reference = _act(policy, obs, noise, REFERENCE)
    rows: list[SamplerRow] = []
    base = 0.0
    for index, sampler in enumerate(wanted):
        if progress is not None:
            progress(index, f"{sampler[0]} {sampler[1]}")
        method, steps = sampler
        returns, _ = episode_batch(loop, policy, (noise_scale,), seed + SCORING, method=method, steps=steps)
        interval = bootstrap_interval(returns[0].numpy(), 0.95, seed)
        base = interval.mean if index == 0 else base
        kept = (interval.mean - floor) / (base - floor) if base != floor else float("nan")
        drift = float((_act(policy, obs, noise, sampler) - reference).square().mean().sqrt())
        rows.append(
            SamplerRow(
                method,
                steps,
                interval.mean,
                interval.low,
                interval.high,
                kept,
                drift,
                _latency(policy, obs, loop.action_size, sampler),
            )
        )
    return rows


@torch.no_grad()
def _act(policy: Policy, obs: Tensor, noise: Tensor, sampler: tuple[Method, int]) -> Tensor:
    return policy.sample(obs, noise, 1.0, method=sampler[0], steps=sampler[1])


def _observations(loop: Interaction, policy: Policy, seed: int) -> Tensor:
    """Return observations that the policy meets, evenly spaced over some steps of its own."""
    loop.seed(seed)
    loop.reset()
    seen = collect(loop, policy, min(loop.horizon, 50), 1.0, torch.Generator().manual_seed(seed))
    obs = seen.obs.flatten(0, 1)
    return obs[:: max(1, obs.shape[0] // _DRIFT_ROWS)]


def _latency(policy: Policy, obs: Tensor, actions: int, sampler: tuple[Method, int]) -> float:
    """Return the median time of one action in microseconds; the first runs warm up."""
    row, noise = obs[:1], obs.new_zeros((1, actions))
    times = []
    for run in range(_LATENCY_RUNS + 20):
        started = time.perf_counter_ns()
        _act(policy, row, noise, sampler)
        if run >= 20:
            times.append(time.perf_counter_ns() - started)
    return sorted(times)[len(times) // 2] / 1000.0
