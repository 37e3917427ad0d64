"""What each plant is and what controllers are worth on it: hold, incumbent, oracle, and two policies trained at one budget.

Resumable: rows in ``plants.parquet`` are taken over while the plant is what it was, a finished run folder is only scored,
an interrupted one goes on. It writes ``envs/NAME/scores.json`` (which ``fpo-pilot plants`` shows), and the tables of
``docs/plants.md``. With ``--pictures`` it draws one episode of each plant to ``envs/NAME/episode.svg`` instead.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from plant_pictures import draw_episode
from results_page import missing, put

from fpo_pilot.commands.compare import run_jobs
from fpo_pilot.commands.console import note
from fpo_pilot.commands.plants import describe
from fpo_pilot.evaluate import NoPlan, build_arms
from fpo_pilot.evaluate.cells import Bench, Cell
from fpo_pilot.evaluate.comparison import SCORING, Budget, Job
from fpo_pilot.evaluate.scores import Score, Scores, plant_hashes, write_scores
from fpo_pilot.evidence import bootstrap_interval
from fpo_pilot.logs.atomic import write_text_atomic
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs import content
from fpo_pilot.specs.evaluation import Scenario

FOLDER = Path(__file__).resolve().parent
ROWS = FOLDER / "plants.parquet"
PAGE = FOLDER.parent / "plants.md"
PLANTS = (
    "cstr",
    "cstr_safety",
    "cstr_late",
    "grade_cstr",
    "vdv_cstr",
    "quad_tank",
    "quad_tank_minus",
    "quad_tank_plus",
    "poly_semibatch",
    "zone_furnace",
    "web_line",
    "industrial_benchmark",
    "jam_clear",
    "peg_cell",
)
"""Not among them: the tasks of the Control Suite, and swing_up and grid_world, which docs/results.md has at their own budgets, and
quad_tank_guarded and vdv_guarded, whose safety specs alone are different."""
CONTROLLERS = ("hold", "incumbent", "oracle")
ALGORITHMS = ("fpo", "gaussian_ppo")
STEPS, SEEDS, EPISODES = 100_000, 2, 64
WIDTH = 1.96
"""Normal quantile of the 95 % limits of a mean over many episodes."""


def controller_rows(plant: Plant, episodes: int) -> list[dict[str, object]]:
    """Run hold, the incumbent and the oracle on the plant as it is declared, behind its shield."""
    bench, rows = Bench(plant), []
    for arm in build_arms(plant, {}):
        tables = bench.run(Cell(arm, Scenario(), plant.safety is not None, SCORING, episodes))
        if isinstance(tables, NoPlan):
            note(f"{plant.name}: no oracle: {tables.reason}")
            continue
        returns = np.asarray(tables.episodes["return"].to_numpy(), dtype=np.float64)
        interval = bootstrap_interval(returns, 0.95, 0)
        flat = float(np.ptp(returns)) <= 1e-9 * max(1.0, abs(interval.mean))
        low, high = (interval.mean, interval.mean) if flat else (interval.low, interval.high)
        rows.append({"algorithm": arm.name, "seed": -1, "score": interval.mean, "low": low, "high": high})
    return rows


def policy_rows(jobs: Sequence[Job], runs_dir: Path, budget: Budget, processes: int) -> list[dict[str, object]]:
    """Train what is missing, and score the policies as they would be deployed, on episodes that chose nothing."""
    runs, _ = run_jobs(jobs, runs_dir, budget, processes=processes, quiet=False)
    deployed = runs[runs["deployed"]]
    half = WIDTH * deployed["episode_std"] / np.sqrt(deployed["episodes"])
    frame = deployed.assign(low=deployed["score"] - half, high=deployed["score"] + half)
    columns = ["algorithm", "seed", "score", "low", "high", "seconds", "noise_scale"]
    return [dict(zip(columns, row, strict=True)) for row in frame[columns].itertuples(index=False, name=None)]


def collect(
    names: Sequence[str], runs_dir: Path, budget: Budget, seeds: int, processes: int, rows_file: Path
) -> pd.DataFrame:
    """Do what is missing, plant by plant, and write each as soon as it is there."""
    rows = pd.read_parquet(rows_file) if rows_file.exists() else pd.DataFrame(columns=["task", "algorithm", "seed"])
    for name in names:
        plant = load_plant(name)
        version = version_of(plant, budget)
        if "version" in rows:  # what was measured on another plant, or at another budget, is no row of this one
            rows = rows[(rows["task"] != name) | (rows["version"] == version)]
        known = rows[rows["task"] == name]
        fresh = [] if "hold" in set(known["algorithm"]) else controller_rows(plant, budget.episodes)
        jobs = missing([Job(name, algorithm, seed) for seed in range(seeds) for algorithm in ALGORITHMS], known)
        if jobs:
            note(f"{name}: {len(jobs)} runs")
            fresh += policy_rows(jobs, runs_dir / version, budget, processes)
        if fresh:
            more = pd.DataFrame(fresh).assign(task=name, version=version)
            rows = more if rows.empty else pd.concat([rows, more], ignore_index=True)
            rows.to_parquet(rows_file, index=False)
    return rows


def version_of(plant: Plant, budget: Budget) -> str:
    """Return a short name of what the rows of a plant depend on; its run folders are under it."""
    text = "/".join(map(str, (*plant_hashes(plant).values(), budget.steps, budget.episodes)))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def scores_of(plant: Plant, rows: pd.DataFrame, budget: Budget) -> Scores:
    """Put the rows of a plant together: over seeds the mean, and the widest limits."""
    found = {}
    for name in (*CONTROLLERS, *ALGORITHMS):
        own = rows[(rows["task"] == plant.name) & (rows["algorithm"] == name)].sort_values("seed")
        if own.empty:
            continue
        mean, low, high = float(own["score"].mean()), float(own["low"].min()), float(own["high"].max())
        seeds = tuple(map(float, own["score"])) if name in ALGORITHMS else ()
        found[name] = Score(mean=mean, low=low, high=high, seeds=seeds)
    return Scores(
        plant=plant.name,
        steps=budget.steps or 0,
        episodes=budget.episodes,
        hashes=plant_hashes(plant),
        scores=found,
    )


def table_lines(names: Sequence[str]) -> list[str]:
    """Return the table of plants, from their specs and the scores beside them."""
    lines = [
        "| plant | what it is | S/A/O | period | horizon | hard limits | hold | incumbent | oracle | flow (`fpo`) | `gaussian_ppo` |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        facts = describe(content.find_plant(name))
        told = facts["scores"]
        scores = {} if told is None or told["stale"] else told["scores"]
        cells = [score_cell(scores.get(key)) for key in (*CONTROLLERS, *ALGORITHMS)]
        size = f"{facts['states']}/{facts['actions']}/{facts['observations']}"
        limits = "; ".join(facts["hard_limits"]) or "none"
        head = [f"[`{name}`](../envs/{name}/README.md)", facts["title"], size, duration(facts["period_seconds"])]
        lines.append("| " + " | ".join([*head, str(facts["horizon"]), limits, *cells]) + " |")
    return lines


def score_cell(score: dict[str, float] | None) -> str:
    """Write a score: the mean, and its limits where episodes differ."""
    if score is None:
        return "–"
    mean, low, high = (f"{score[key]:.4g}" for key in ("mean", "low", "high"))
    return mean if low == high == mean else f"{mean} ({low} to {high})"


def duration(seconds: float) -> str:
    """Write a period in the unit that suits it."""
    unit, size = next((unit, size) for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 0.0)) if seconds >= size)
    return f"{seconds / (size or 1.0):.4g} {unit}"


def main() -> None:
    """Run the study, or draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/plants"), help="where the run folders go")
    parser.add_argument(
        "--plants", nargs="+", choices=sorted(content.list_plants()), help="default: those of the table"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="environment steps of a training")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--episodes", type=int, default=EPISODES, help="reported episodes")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--pictures", action="store_true", help="draw one episode of every plant, and do nothing else")
    parser.add_argument("--run", type=Path, help="with --pictures and one plant: also draw the policy of this run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.pictures:
        for name in options.plants or sorted(content.list_plants()):
            file = content.find_plant(name).parent / "episode.svg"
            write_text_atomic(file, draw_episode(load_plant(name), options.run))
            note(f"wrote {file}")
        return
    names = options.plants or PLANTS
    budget = Budget(options.steps, options.episodes)
    rows = collect(names, options.runs, budget, options.seeds, options.processes, ROWS)
    for name in names:
        plant = load_plant(name)
        write_scores(content.find_plant(name), scores_of(plant, rows, budget))
    machine = f"Machine: two CPU cores, {platform.machine()}, Python {platform.python_version()}."
    text = f"{budget.steps:,} steps, {options.seeds} seeds, {budget.episodes} episodes each. {machine}"
    put("plants", [*table_lines(PLANTS), "", text], PAGE)
    note(f"wrote {ROWS}, the scores beside each plant, and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
