"""``fpo-pilot samplers``: the sampler report of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from fpo_pilot.commands.console import progress, say, say_json, table
from fpo_pilot.errors import PolicyError
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.tables import write_table_atomic
from fpo_pilot.logs.writing import SAMPLERS, writing

FILE = "samplers.parquet"


def run_samplers(run_dir: Path, *, episodes: int, seed: int, as_json: bool) -> int:
    """Measure the samplers of a flow policy; write samplers.parquet beside the run."""
    import torch

    from fpo_pilot.evaluate.comparison import make_task, score
    from fpo_pilot.evaluate.samplers import GRID, sampler_report
    from fpo_pilot.learn import load_policy
    from fpo_pilot.learn.gaussian_policy import GaussianPolicy

    torch.set_num_threads(1)  # latency is that of one action on one core
    policy = load_policy(run_dir)
    if isinstance(policy, GaussianPolicy):
        raise PolicyError(f"{run_dir}: found a Gaussian policy, expected a flow: a Gaussian has no sampler to choose.")
    task = make_task(Manifest.read(run_dir).plant, policy.spec)
    chosen, _ = score(task, policy, tuple(m.noise_scale for m in policy.modes()), episodes=episodes, seed=seed)
    with progress("samplers", len(GRID) + 1, quiet=as_json) as report:
        rows = sampler_report(
            task,
            policy,
            noise_scale=chosen,
            trained_steps=policy.spec.flow_steps,
            episodes=episodes,
            seed=seed,
            progress=report,
        )
    data = [asdict(row) | {"noise_scale": chosen, "episodes": episodes} for row in rows]
    with writing(run_dir, "samplers", SAMPLERS):
        write_table_atomic(run_dir / FILE, pa.Table.from_pylist(data))
    if as_json:
        say_json(data)
        return 0
    lines = [
        (
            f"{row.method} {row.steps}",
            f"{row.score:.4g}",
            f"{row.low:.4g} to {row.high:.4g}",
            f"{row.kept:.1%}",
            f"{row.drift:.4f}",
            f"{row.latency_us:.0f}",
        )
        for row in rows
    ]
    columns = ("sampler", "return", "95 % interval", "kept", "drift", "µs an action")
    table(f"{run_dir.name}: samplers at noise scale {chosen:g}, {episodes} episodes each", columns, lines)
    say("kept: of the return of training's sampler (first row) above random actions; drift: from 100 Euler steps")
    say(f"written: {run_dir / FILE}")
    return 0
