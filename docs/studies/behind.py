"""Where a shield belongs: in training and in use, or in use alone; with one candidate or four; with its flag observed or not.

Each training is flown with the shield and without, on the same episodes. Resumable: finished runs are only scored. Two tables for
``docs/results.md``, rows in ``behind.parquet``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from results_page import PAGE, put
from variant_plant import variant_plant

from fpo_pilot.commands.compare import run_jobs
from fpo_pilot.commands.console import note
from fpo_pilot.evaluate.arms import PolicyActor, deployments
from fpo_pilot.evaluate.comparison import CHOOSING, SCORING, Budget, Job
from fpo_pilot.evaluate.episodes import Conditions, EpisodeBatch, run_episodes
from fpo_pilot.evidence import clopper_pearson_upper, student_interval
from fpo_pilot.learn import load_policy
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import build_stack
from fpo_pilot.specs.evaluation import Scenario

ROWS = Path(__file__).resolve().parent / "behind.parquet"
PLANTS = ("cstr_late", "poly_semibatch")
EPISODES, STEPS, SEEDS = 128, 80_000, 3
PLAIN, FLAG = "plain", "flag"
TRAININGS = {
    "in training and in use": (PLAIN, "fpo"),
    "in use alone": (PLAIN, "fpo:shield_in_training=false"),
    "in both, 4 candidates": (PLAIN, "fpo:candidates=4"),
    "in both, 4 candidates, corrections priced at 30": (PLAIN, "fpo:candidates=4,correction_penalty=30"),
    "in both, 4 candidates, corrections priced at 200": (PLAIN, "fpo:candidates=4,correction_penalty=200"),
    "in both, its flag observed": (FLAG, "fpo"),
}


def with_flag(data: dict[str, Any]) -> None:
    """Let the policy see whether the shield altered its last proposal, and what was applied instead."""
    terms = [entry.get("term") for entry in data["observations"]]
    for term in ("previous_action", "shield_active"):
        if term not in terms:
            data["observations"].append({"term": term})


def flown(plant: Plant, run: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Choose the noise scale behind the shield, then fly the policy with it and without; yield a row each."""
    policy = load_policy(run)
    ways = deployments(policy, (0.0, 0.5, 1.0))
    tried = [fly(plant, policy, way, seed + CHOOSING, shielded=True) for way in ways]
    best = max(
        range(len(ways)), key=lambda index: (-int(tried[index].tripped.sum()), float(tried[index].returns.mean()))
    )
    rates = pd.read_parquet(run / "metrics.parquet")["intervention_rate"].to_numpy()
    tenth = max(1, len(rates) // 10)
    learned = {"early": float(rates[:tenth].mean()), "late": float(rates[-tenth:].mean())}
    for shielded in (True, False):
        batch = fly(plant, policy, ways[best], seed + SCORING, shielded=shielded)
        yield {
            "shield": "on" if shielded else "off",
            "deployment": ways[best].label,
            "return": float(batch.returns.mean()),
            "trips": int(batch.tripped.sum()),
            "episodes": EPISODES,
            "altered": int(batch.interventions.sum()),
            "steps": int(batch.steps.sum()),
            **learned,
        }


def fly(plant: Plant, policy: Any, way: Any, seed: int, *, shielded: bool) -> EpisodeBatch:
    """Run one episode of each copy; the seed decides the plants and the policy's noise."""
    safety = plant.safety
    if safety is None:
        raise SystemExit(f"{plant.name}: found no safety spec, expected one")
    actor = PolicyActor(plant, policy, way, torch.Generator().manual_seed(seed))
    shield = build_stack(safety, plant.spec, dynamics=Prediction(plant)) if shielded else None
    with torch.inference_mode():
        conditions = Conditions(Scenario(), seed, EPISODES)
        return run_episodes(plant, actor, conditions, shield=shield, incumbent=incumbent_controller(plant))


def rows_of(name: str, runs: Path, seeds: int, steps: int, processes: int) -> Iterator[dict[str, Any]]:
    """Train what is missing of one plant, and yield what its policies did."""
    paths = {PLAIN: name, FLAG: variant_plant(runs / "plants" / name, name, with_flag)}
    wanted = [
        (words, Job(paths[kind], variant, seed))
        for seed in range(seeds)
        for words, (kind, variant) in TRAININGS.items()
    ]
    run_jobs([job for _, job in wanted], runs, Budget(steps, 16), processes=processes, quiet=False)
    for words, job in wanted:
        for row in flown(load_plant(job.task), job.folder(runs), job.seed):
            yield {"plant": name, "training": words, "seed": job.seed, "trained": steps, **row}


def lines_of(rows: pd.DataFrame, plant: str) -> list[str]:
    """Return the table of one plant: a line for each training, mean over seeds with the interval of Student's t."""
    own = rows[rows["plant"] == plant]
    lines = [
        "| shield | n seeds | return, shield on (95 % interval over seeds) | return, shield off "
        "| trips, on (95 % upper bound) | trips, off | steps altered, in use | in the first tenth of training | in the last |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for words, group in own.groupby("training", sort=False):
        on, off = group[group["shield"] == "on"], group[group["shield"] == "off"]
        bad, count = int(on["trips"].sum()), int(on["episodes"].sum())
        altered = on["altered"].sum() / on["steps"].sum()
        lines.append(
            f"| {words} | {len(on)} | {_interval(on['return'])} | {_interval(off['return'])} "
            f"| {bad} of {count} ({clopper_pearson_upper(bad, count):.2%}) | {int(off['trips'].sum())} of {int(off['episodes'].sum())} "
            f"| {altered:.1%} | {on['early'].mean():.1%} | {on['late'].mean():.1%} |"
        )
    told = ", ".join(f"{count:,}" for count in sorted(set(own["trained"])))
    return [*lines, "", f"{told} steps of training, {EPISODES} episodes a seed. Command: `make study`."]


def _interval(values: pd.Series) -> str:
    mean, low, high = student_interval(np.asarray(values, dtype=np.float64))
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/behind"), help="where the run folders go")
    parser.add_argument("--plants", nargs="*", default=list(PLANTS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    rows = pd.read_parquet(ROWS) if ROWS.exists() else pd.DataFrame()
    for name in options.plants:
        fresh = pd.DataFrame(rows_of(name, options.runs, options.seeds, options.steps, options.processes))
        kept = rows if rows.empty else rows[rows["plant"] != name]
        rows = fresh if kept.empty else pd.concat([kept, fresh], ignore_index=True)
        rows.to_parquet(ROWS, index=False)
        put(f"behind-{name}", lines_of(rows, name))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
