"""Studies on plants that exist for one study only: a shipped one with a few lines of its spec changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from results_page import missing
from ruamel.yaml import YAML

from fpo_pilot.commands.compare import run_jobs
from fpo_pilot.commands.init import run_init
from fpo_pilot.evaluate.comparison import Budget, Job


def variant_plant(folder: Path, source: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Make a project with ``source`` in it, ``change`` its plant spec, and return the path by which it is loaded.

    Args:
        folder: of the project; one that is there is taken as it is, so that a study can be resumed.
        source: a shipped plant.
        change: edits the parsed plant.yaml in place.
    """
    spec = folder / "envs" / source / "plant.yaml"
    if not spec.exists():
        run_init(folder, source)
        yaml = YAML()
        data = yaml.load(spec.read_text("utf-8"))
        change(data)
        with spec.open("w", encoding="utf-8") as stream:
            yaml.dump(data, stream)
    return str(spec.parent)


def collect_variants(
    task: str,
    path: str,
    variants: Iterable[str],
    budget: Budget,
    rows: Path,
    *,
    runs_dir: Path,
    seeds: int,
    processes: int,
) -> pd.DataFrame:
    """Train what is missing, seed by seed, so that an interrupted study is balanced; return the deployed policies' rows.

    Args:
        task: what the rows call the plant.
        path: where the plant is.
        variants: as ``fpo-pilot compare`` takes them.
        budget: of each run.
        rows: file that keeps what is done.
        runs_dir: where the run folders go.
        seeds: of each variant, from 0.
        processes: runs at a time.
    """
    runs = pd.read_parquet(rows) if rows.exists() else pd.DataFrame()
    for seed in range(seeds):
        jobs = missing([Job(task, variant, seed) for variant in variants], runs)
        if jobs:
            placed = [Job(path, job.variant, seed) for job in jobs]
            more, _ = run_jobs(placed, runs_dir, budget, processes=processes, quiet=False)
            runs = pd.concat([runs, more[more["deployed"]].assign(task=task)], ignore_index=True)
            runs.to_parquet(rows, index=False)
    return runs
