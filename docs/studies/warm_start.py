"""Steps until a training is as good as the incumbent, afresh and begun from a log of the incumbent.

Logs episodes of the incumbent behind its shields, trains each algorithm afresh and from the log (cloning, and weighted by
advantage), and looks for the first evaluation in which the policy is worth what the incumbent is on the same episodes. Resumable:
rows go to ``warm-start.parquet`` after every run, the table to ``docs/results.md``. A run takes seconds to minutes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from results_page import PAGE, put

from fpo_pilot.commands.console import note
from fpo_pilot.evaluate.arms import controller_actor
from fpo_pilot.evaluate.comparison import make_task, variant_spec
from fpo_pilot.evaluate.episodes import Conditions, run_episodes
from fpo_pilot.learn import load_policy, train
from fpo_pilot.learn.logged import read_logged
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import writing
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import build_stack
from fpo_pilot.specs import spec_hash
from fpo_pilot.specs.evaluation import Scenario
from fpo_pilot.specs.training import TrainingSpec

ROWS = Path(__file__).resolve().parent / "warm-start.parquet"
ALGORITHMS = ("fpo", "gaussian_ppo", "flow_q")
STARTS = {
    "afresh": "",
    "cloning": "warm_start.method=cloning",
    "advantage-weighted": "warm_start.method=advantage_weighted",
    "cloning, full rate": "warm_start.method=cloning,warm_start.policy_rate_factor=1",
}
"""How a training begins; the last one shows what the slower policy is for."""
LOG_SEED = 900
TASKS = {"quad_tank": 32, "poly_semibatch": 16}
"""Plants, and how many episodes of each are logged."""
STEPS = {"quad_tank": 30_000, "poly_semibatch": 11_520}
EVALUATION = {
    "quad_tank": "evaluation_every=2,evaluation_episodes=16",
    "poly_semibatch": "evaluation_every=6,evaluation_episodes=4",
}
"""Steps of a training, and how often and on how many episodes a noise scale it is evaluated: a batch is 200 slow steps."""


@torch.no_grad()
def write_log(folder: Path, name: str, episodes: int) -> Path:
    """Log nominal episodes of the incumbent behind its shields, with manifest and ledger."""
    if (folder / "manifest.json").exists():
        return folder
    plant = load_plant(name)
    if plant.safety is None:
        raise SystemExit(f"{name}: found no safety spec, expected one with an incumbent")
    shield = build_stack(plant.safety, plant.spec, dynamics=Prediction(plant))
    actor, conditions = (
        controller_actor(plant, "incumbent", episodes),
        Conditions(Scenario(), LOG_SEED, episodes, episodes),
    )
    batch = run_episodes(plant, actor, conditions, shield=shield, incumbent=incumbent_controller(plant))
    facts = {"run_id": folder.name, "algorithm": "incumbent", "command": "docs/studies/warm_start.py", "device": "cpu"}
    manifest = Manifest.collect(**facts, seed=LOG_SEED, plant_spec=plant.spec, safety_spec=plant.safety)
    labels = {"arm": "incumbent", "scenario": "nominal", "plant_hash": spec_hash(plant.spec)}
    with (
        writing(folder, "log", ("manifest.json", "steps/*")),
        StepLog(folder, "offline", step_schema(plant.spec, plant.safety)) as log,
    ):
        manifest.write(folder)
        log.append({**batch.log, **labels})
    return folder


@torch.no_grad()
def incumbent_return(name: str, spec: TrainingSpec, seed: int, modes: int) -> float:
    """Return what the incumbent is worth on the very episodes on which a training with ``seed`` evaluates."""
    evaluation_seed = int(np.random.SeedSequence(seed).generate_state(5)[2])
    loop = make_task(name, spec).loop(spec.evaluation_episodes * modes, seed=evaluation_seed, device="cpu")
    loop.seed(evaluation_seed)
    loop.reset()
    returns = torch.full((loop.num_envs,), torch.nan, dtype=torch.float64)
    for _ in range(loop.horizon):
        seen = loop.step(loop.incumbent_action())
        ended = (seen.terminated | seen.truncated) & returns.isnan()
        returns = torch.where(ended, seen.episode_return.to(torch.float64), returns)
    return float(returns.mean())


def run(task: str, algorithm: str, start: str, seed: int, steps: int, out: Path) -> dict[str, object]:
    """Train once; return when it was as good as the incumbent."""
    settings = ",".join(filter(None, (EVALUATION[task], STARTS[start])))
    spec = variant_spec(task, f"{algorithm}:{settings}", steps)
    log = write_log(out / f"log-{task}", task, TASKS[task])
    logged = None if start == "afresh" else read_logged(log, load_plant(task), spec.warm_start)
    folder = out / task / algorithm / start / str(seed)
    began = time.perf_counter()
    if Manifest.read(folder).training is None if (folder / "manifest.json").exists() else True:
        train(
            make_task(task, spec),
            spec,
            folder,
            seed=seed,
            resume=(folder / "manifest.json").exists(),
            warm_start=logged,
        )
    metrics = pd.read_parquet(folder / "metrics.parquet")
    wanted = incumbent_return(task, spec, seed, len(load_policy(folder).modes()))
    seen = metrics[metrics["evaluation_best"].notna()]
    reached = seen[seen["evaluation_best"] >= wanted]
    return {
        "task": task,
        "algorithm": algorithm,
        "start": start,
        "seed": seed,
        "steps": steps,
        "logged_episodes": TASKS[task],
        "incumbent": wanted,
        "first": float(seen["evaluation_best"].iloc[0]),
        "last": float(seen["evaluation_best"].iloc[-1]),
        "best": float(seen["evaluation_best"].max()),
        "reached": float(reached["steps"].iloc[0]) if len(reached) else np.nan,
        "violations": float(metrics["violation_rate"].mean()),
        "seconds": time.perf_counter() - began,
    }


def lines(rows: pd.DataFrame) -> list[str]:
    """Return the table: each seed's steps are told, since two or three make no interval."""
    text = [
        "| plant | algorithm | begins | steps to the incumbent's return, each seed "
        "| first evaluation | last | best | incumbent | steps with a violated limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = {name: place for names in (TASKS, ALGORITHMS, STARTS) for place, name in enumerate(names)}
    keys = ["task", "algorithm", "start"]
    rows = rows.sort_values([*keys, "seed"], key=lambda column: column.map(lambda value: order.get(value, value)))
    for (task, algorithm, start), group in rows.groupby(keys, sort=False):
        reached = ", ".join("not reached" if np.isnan(value) else f"{value:,.0f}" for value in group["reached"])
        returns = " | ".join(f"{group[name].mean():.4g}" for name in ("first", "last", "best", "incumbent"))
        text.append(
            f"| `{task}` | `{algorithm}` | {start} | {reached} | {returns} | {group['violations'].mean():.2%} |"
        )
    tasks = list(dict.fromkeys(rows["task"]))
    steps = ", ".join(f"{task} {int(group['steps'].max()):,}" for task, group in rows.groupby("task", sort=False))
    text += [
        "",
        f"Training steps: {steps}; seeds {', '.join(map(str, sorted(rows['seed'].unique())))}; columns of returns are means over "
        f"seeds, too few for an interval. Evaluation: {'; '.join(f'{task} `{EVALUATION[task]}`' for task in tasks)}, the episodes "
        "of each noise scale; the incumbent is measured on the same ones. "
        f"Command: `python docs/studies/warm_start.py --tasks {' '.join(tasks)}`.",
    ]
    return text


def main() -> None:
    """Make the runs that are missing, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/studies/warm-start"))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rows", type=Path, default=ROWS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = pd.read_parquet(given.rows) if given.rows.exists() else pd.DataFrame()
    for task in given.tasks:
        for seed in range(given.seeds):
            for algorithm in given.algorithms:
                for start in STARTS:
                    key = (task, algorithm, start, seed)
                    done = (
                        set()
                        if rows.empty
                        else set(rows[["task", "algorithm", "start", "seed"]].itertuples(index=False, name=None))
                    )
                    if key in done or (start == "cloning, full rate" and task != "quad_tank"):
                        continue
                    row = run(*key, STEPS[task], given.out)
                    note(f"{key}: reached after {row['reached']:g} steps, {row['seconds']:.0f} s")
                    rows = pd.concat((rows, pd.DataFrame([row])), ignore_index=True)
                    rows.to_parquet(given.rows)
    if PAGE.exists() and not rows.empty:
        put("warm start", lines(rows))


if __name__ == "__main__":
    main()
