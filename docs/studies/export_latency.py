"""What one action costs in torch and as an exported graph in onnxruntime: batch 1, one thread, p50 and p99.

The flow policy of `cstr` with ten Euler steps and with one, and the Gaussian one. From an observation to an action in
engineering units within the box, without a shield. The weights are untrained: what a call costs does not depend on them.
The runtimes take turns of 100 calls, so that other work on the machine meets both. Rows go to
``export-latency.parquet``, the table to ``docs/results.md``. Needs the extra ``onnx``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from results_page import PAGE, put
from scipy.stats import binom

from fpo_pilot.commands.console import note
from fpo_pilot.learn import Deployment, build_policy
from fpo_pilot.learn.graph import OBSERVATION, DeployedGraph, check_parity, open_session, write_graph
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.observations import entry_scales
from fpo_pilot.specs import load_training_spec

ROWS = Path(__file__).resolve().parent / "export-latency.parquet"
PLANT, SEED, TURN, WARM = "cstr", 7000, 100, 50
CASES = (
    ("fpo", Deployment(), "`fpo`, 10 Euler steps"),
    ("fpo", Deployment(steps=1), "`fpo`, 1 Euler step"),
    ("gaussian_ppo", Deployment(), "`gaussian_ppo`"),
)
Call = Callable[[], object]


def calls_of(algorithm: str, deployment: Deployment, calls: int) -> tuple[dict[str, list[Call]], float]:
    """Return the calls of both runtimes over the same observations, and how far they are apart."""
    plant = load_plant(PLANT)
    spec, size = load_training_spec(PLANT, algorithm), len(entry_scales(plant))
    generator = torch.Generator().manual_seed(SEED)
    policy = build_policy(spec, size, len(plant.action_names), generator=generator).eval().requires_grad_(False)
    content = write_graph(DeployedGraph(policy, deployment, plant), {}, noise_input=False)
    parity = check_parity(content, policy, deployment, plant, seed=SEED)
    if not parity.holds:
        raise SystemExit(
            f"{algorithm}: found a graph that differs by {parity.worst:g} of the span, expected the policy"
        )
    session, acting = open_session(content), policy.deploy(deployment)
    observations = torch.rand(calls, 1, size, generator=generator) * 2.0 - 1.0
    low, high = (torch.tensor(bound) for bound in (plant.action_low, plant.action_high))

    def in_torch(obs: torch.Tensor) -> Call:
        return lambda: plant.to_engineering(acting.act(obs, generator)[0]).clamp(low, high)

    def in_onnxruntime(obs: NDArray[np.float32]) -> Call:
        return lambda: session.run(None, {OBSERVATION: obs})[0]

    return {
        "torch": [in_torch(obs) for obs in observations],
        "onnxruntime": [in_onnxruntime(obs.numpy()) for obs in observations],
    }, parity.worst


def measure(found: dict[str, list[Call]]) -> dict[str, NDArray[np.float64]]:
    """Return the microseconds of each call; the runtimes take turns, and the first calls of each turn warm up."""
    times: dict[str, list[float]] = {name: [] for name in found}
    count = len(next(iter(found.values())))
    for first in range(0, count, TURN):
        for name, calls in found.items():
            for call in calls[:WARM]:
                call()
            for call in calls[first : first + TURN]:
                began = time.perf_counter_ns()
                call()
                times[name].append((time.perf_counter_ns() - began) / 1000.0)
    return {name: np.array(values) for name, values in times.items()}


def quantile(times: NDArray[np.float64], share: float) -> tuple[float, float, float]:
    """Return a quantile with its 95 % limits from order statistics, as if the calls were independent."""
    ordered, n = np.sort(times), len(times)
    low, high = binom.ppf((0.025, 0.975), n, share).astype(int)
    return float(np.quantile(ordered, share)), float(ordered[max(low - 1, 0)]), float(ordered[min(high, n - 1)])


def table_lines(rows: pd.DataFrame) -> list[str]:
    """Return the table of results.md."""
    lines = ["| policy | runtime | p50 (µs) | p99 (µs) | n | difference from torch |", "|---|---|---|---|---|---|"]
    for row in rows.to_dict("records"):
        p50, p99 = (f"{row[q]:.0f} ({row[f'{q}_low']:.0f} to {row[f'{q}_high']:.0f})" for q in ("p50", "p99"))
        apart = f"{row['apart']:.1g} of the span" if row["runtime"] == "onnxruntime" else ""
        lines.append(f"| {row['policy']} | {row['runtime']} | {p50} | {p99} | {row['n']:,} | {apart} |")
    load = rows["load"].iloc[0]
    return [
        *lines,
        "",
        "Batch 1, one thread, untrained weights; brackets: 95 % limits of the quantile by order statistics, "
        f"which take the calls for independent. Two CPU cores, x86_64, load average {load:.1f} at the start: above 2 it ran "
        "beside other work, and p99 tells more of that than of the runtime. The figures compare runtimes, and promise nothing "
        "of a plant's machine. Command: `python docs/studies/export_latency.py`, seed 7000.",
    ]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load, found = os.getloadavg()[0], []
    for algorithm, deployment, name in CASES:
        calls, apart = calls_of(algorithm, deployment, options.calls)
        for runtime, times in measure(calls).items():
            row: dict[str, object] = {"policy": name, "runtime": runtime, "n": len(times), "apart": apart, "load": load}
            for label, share in (("p50", 0.5), ("p99", 0.99)):
                row |= dict(zip((label, f"{label}_low", f"{label}_high"), quantile(times, share), strict=True))
            found.append(row)
    rows = pd.DataFrame(found)
    if options.no_page:
        note("\n".join(table_lines(rows)))
        return
    rows.to_parquet(ROWS, index=False)
    put("onnx", table_lines(rows))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
