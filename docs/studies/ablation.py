"""Which ratio, trust region, clip and rollout length: a fractional design over three plants and two published tasks.

Nine settings (an orthogonal array L9; the third column has two levels, of which ``per_draw`` stands twice), three
seeds each. Resumable as ``family.py`` is; rows go to ``ablation-runs.parquet``, the table to ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from results_page import PAGE, missing, put

from fpo_pilot.commands.compare import run_jobs
from fpo_pilot.commands.comparison_summary import best_means
from fpo_pilot.commands.console import note
from fpo_pilot.evaluate.comparison import Budget, Job, random_score
from fpo_pilot.evidence import stratified_bootstrap
from fpo_pilot.evidence.comparison_tables import normalise_table

FOLDER = Path(__file__).resolve().parent
RUNS = FOLDER / "ablation-runs.parquet"
BUDGETS = {  # what a run needs to show the difference: `jam_clear` is not solved before 200,000 steps
    "jam_clear": Budget(240_000, 1_000),
    "cstr": Budget(100_000, 64),
    "quad_tank": Budget(100_000, 64),
    "grid_world": Budget(100_000, 256),
    "gym:Pendulum-v1": Budget(100_000, 64, 16),
}
LEVELS = {
    "trust_region": ("ppo", "spo", "aspo"),
    "clip": ("0.02", "0.05", "0.1"),
    "ratio": ("averaged", "per_draw", "per_draw"),
    "rollout_steps": ("15", "30", "60"),
}
ARRAY = (
    (0, 0, 0, 0),
    (0, 1, 1, 1),
    (0, 2, 2, 2),
    (1, 0, 1, 2),
    (1, 1, 2, 0),
    (1, 2, 0, 1),
    (2, 0, 2, 1),
    (2, 1, 0, 2),
    (2, 2, 1, 0),
)
"""Each pair of columns has each pair of levels once (G. Taguchi's L9)."""


AFTERWARDS = {"trust_region": "ppo", "clip": "0.05", "ratio": "averaged", "rollout_steps": "15"}
"""What the means of the levels point at, run afterwards: no setting of the array is this one."""


def settings() -> list[dict[str, str]]:
    """Return the nine settings, and the one that confirms."""
    return [{name: levels[row[i]] for i, (name, levels) in enumerate(LEVELS.items())} for row in ARRAY] + [AFTERWARDS]


def variant(setting: dict[str, str]) -> str:
    """Return a setting as ``fpo-pilot compare`` takes it."""
    return "fpo:" + ",".join(f"{name}={value}" for name, value in setting.items())


def collect(runs_dir: Path, seeds: int, processes: int) -> pd.DataFrame:
    """Run what is missing, seed by seed, so that an interrupted study is balanced; write after each task."""
    runs = pd.read_parquet(RUNS) if RUNS.exists() else pd.DataFrame()
    for seed in range(seeds):
        for task, budget in BUDGETS.items():
            jobs = missing([Job(task, variant(setting), seed) for setting in settings()], runs)
            if jobs:
                note(f"{task}, seed {seed}: {len(jobs)} runs")
                more, _ = run_jobs(jobs, runs_dir, budget, processes=processes, quiet=False)
                runs = pd.concat([runs, more[more["deployed"]]], ignore_index=True)
                runs.to_parquet(RUNS, index=False)
    return runs


def normalised(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with 0 for random actions and 1 for the best setting of a task, and a column a factor."""
    floors = {task: random_score(task, budget) for task, budget in BUDGETS.items()}
    scored = normalise_table(runs, floors, {str(task): float(best) for task, best in best_means(runs).items()})
    factors = pd.DataFrame(
        [dict(part.split("=") for part in name.removeprefix("fpo:").split(",")) for name in runs["algorithm"]]
    )
    return pd.concat([scored[["task", "seed", "algorithm", "score"]], factors], axis=1)


def level_lines(runs: pd.DataFrame) -> list[str]:
    """Return the mean of each level of each factor, over tasks and on each, with an interval over seeds."""
    tasks = list(BUDGETS)
    heads = " | ".join(f"`{task}`" for task in tasks)
    lines = [
        f"| factor | level | mean over tasks | 95 % interval | {heads} |",
        "|---|---|---|---|" + "---|" * len(tasks),
    ]
    runs = runs[runs["algorithm"] != variant(AFTERWARDS)]  # the array alone is balanced
    for factor, levels in LEVELS.items():
        for level in dict.fromkeys(levels):
            own = runs[runs[factor] == level]
            groups = {str(task): group["score"].to_numpy() for task, group in own.groupby("task")}
            found = stratified_bootstrap(groups, "mean")
            each = " | ".join(f"{groups[task].mean():.3f}" for task in tasks)
            lines.append(f"| {factor} | {level} | {found.mean:.3f} | {found.low:.3f} to {found.high:.3f} | {each} |")
    return lines


def setting_lines(runs: pd.DataFrame) -> list[str]:
    """Return each setting on each task."""
    tasks = list(BUDGETS)
    heads = " | ".join(f"`{task}`" for task in tasks)
    lines = [
        f"| setting | seeds | mean over tasks | 95 % interval | {heads} |",
        "|---|---|---|---|" + "---|" * len(tasks),
    ]
    for name, group in runs.groupby("algorithm"):
        scores = {str(task): one["score"].to_numpy() for task, one in group.groupby("task")}
        found = stratified_bootstrap(scores, "mean")
        each = " | ".join(f"{scores[task].mean():.3f}" for task in tasks)
        mark = " (run afterwards)" if name == variant(AFTERWARDS) else ""
        seeds = group["seed"].nunique()
        interval = f"{found.low:.3f} to {found.high:.3f}" if seeds > 1 else "none: one seed"
        lines.append(f"| `{name}`{mark} | {seeds} | {found.mean:.3f} | {interval} | {each} |")
    return lines


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/ablation"), help="where the run folders go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--page", action="store_true", help="write the table from the rows that are there; run nothing")
    options = parser.parse_args()
    rows = pd.read_parquet(RUNS) if options.page else collect(options.runs, options.seeds, options.processes)
    runs = normalised(rows)
    lines = [*level_lines(runs), "", *setting_lines(runs), "", "Command: `make study`."]
    put("ablation", lines)
    note(f"wrote {PAGE}" if options.page else f"wrote {RUNS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
