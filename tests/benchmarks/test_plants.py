"""Speed of plants, as ratios measured in one run: a batch of tensors against one object at a time.

``make bench`` runs these; the ratios are in ``extra_info``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import exp
from typing import Any

import pytest
import torch
from scipy.integrate import solve_ivp

from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation

BATCH = 4096


def scalar_rates(_: float, x: list[float], jacket: float) -> tuple[float, float]:
    """Return the right-hand side of the reactor in plain floats, as a per-object environment writes it."""
    ca, t = x
    rate = 7.2e10 * exp(-8750.0 / t) * ca
    return (1.0 - ca) - rate, (350.0 - t) + 5e4 / 239.0 * rate + 5e4 / 23_900.0 * (jacket - t)


def loop_rate(windows: int = 20) -> float:
    """Return steps a second of one plant after another, each solved by scipy; the best of some short windows."""
    best = 0.0
    for _ in range(windows):
        start = time.perf_counter()
        for _ in range(20):
            solve_ivp(scalar_rates, (0.0, 26.0 / 60.0), [0.8, 330.0], args=(300.0,), rtol=1e-6, atol=1e-8)
        best = max(best, 20 / (time.perf_counter() - start))
    return best


def rate_of(benchmark: Any, step: Callable[[], object], batch: int) -> float:
    """Return steps a second of the fastest round: what the plant can do, not what else the machine is doing."""
    benchmark.pedantic(step, rounds=40, iterations=1, warmup_rounds=3)
    return batch / float(benchmark.stats.stats.min)


def test_the_loop_and_the_batch_compute_the_same() -> None:
    plant = load_plant("cstr")
    exact = solve_ivp(scalar_rates, (0.0, 26.0 / 60.0), [0.8, 330.0], args=(300.0,), rtol=1e-10, atol=1e-12).y[:, -1]
    got, _ = plant.step(torch.tensor([[0.8, 330.0]], dtype=torch.float64), torch.tensor([[300.0]]).double())
    assert got[0].tolist() == pytest.approx(exact.tolist(), rel=1e-7)


def test_plant_steps_of_the_reactor(benchmark: Any) -> None:
    plant = load_plant("cstr")
    state = torch.tensor([[0.8, 330.0]], dtype=torch.float64).repeat(BATCH, 1)
    action = torch.full((BATCH, 1), 300.0, dtype=torch.float64)
    with torch.no_grad():
        rate = rate_of(benchmark, lambda: plant.step(state, action), BATCH)
    loop = loop_rate()
    benchmark.extra_info |= {"plant_steps_per_second": round(rate), "scipy_loop": round(loop), "ratio": rate / loop}
    assert rate / loop > 100.0


@pytest.mark.parametrize("name", ["cstr", "cstr_safety", "quad_tank"])
def test_environment_steps(benchmark: Any, request: pytest.FixtureRequest, name: str) -> None:
    simulation = Simulation(load_plant(name), BATCH)
    action = simulation.applied.clone()
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(1)  # as the loop has; the operations are too small to gain from a second one
    rate = rate_of(benchmark, lambda: simulation.step(action), BATCH)
    loop = loop_rate()
    benchmark.extra_info |= {"env_steps_per_second": round(rate), "scipy_loop": round(loop), "ratio": rate / loop}
    assert rate / loop > 30.0


def test_a_step_of_a_single_plant(benchmark: Any) -> None:
    simulation = Simulation(load_plant("cstr"), 1)
    action = simulation.applied.clone()
    rate = rate_of(benchmark, lambda: simulation.step(action), 1)
    benchmark.extra_info |= {"steps_per_second": round(rate), "scipy_loop": round(loop_rate())}
