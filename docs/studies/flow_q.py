"""What an off-policy training makes of few steps: ``flow_q`` beside ``fpo`` and Gaussian PPO, and which of its settings matter.

Resumable: rows go to ``flow_q.parquet`` after every run, the table to ``docs/results.md``. A run takes a minute or less.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from results_page import PAGE, missing, put

from fpo_pilot.commands.console import note
from fpo_pilot.evaluate.comparison import Budget, Job, run_job

ROWS = Path(__file__).resolve().parent / "flow_q.parquet"
STEPS = 38_400
ALGORITHMS = ("flow_q", "fpo", "gaussian_ppo")
SETTINGS = ("flow_q:n_step=3", "flow_q:matching=0.1", "flow_q:matching=0.3,q_scale=size")
"""One changed at a time; the last are those of the paper."""
TASKS = {"cstr": (*ALGORITHMS, *SETTINGS)}


def lines(rows: pd.DataFrame) -> list[str]:
    """Return the table: each seed's return, since two make no interval."""
    text = [
        "| plant | algorithm and settings | return as deployed, each seed | noise scale of each |",
        "|---|---|---|---|",
    ]
    deployed = rows[rows["deployed"]].sort_values("seed")
    for task, algorithms in TASKS.items():
        for name in algorithms:
            group = deployed[(deployed["task"] == task) & (deployed["algorithm"] == name)]
            if not group.empty:
                returns = ", ".join(f"{value:.4g}" for value in group["score"])
                scales = ", ".join(f"{value:g}" for value in group["noise_scale"])
                text.append(f"| `{task}` | `{name}` | {returns} | {scales} |")
    episodes = int(rows["episodes"].max())
    return [
        *text,
        "",
        f"{STEPS:,} steps a run; {episodes} episodes that chose nothing. Command: `python docs/studies/flow_q.py`.",
    ]


def main() -> None:
    """Make the runs that are missing, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/studies/flow_q"))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    rows = pd.read_parquet(ROWS) if ROWS.exists() else pd.DataFrame()
    for task in given.tasks:
        jobs = [Job(task, name, seed) for seed in range(given.seeds) for name in TASKS[task]]
        for job in missing(jobs, rows):
            found = pd.DataFrame(run_job(job, given.out, Budget(STEPS)))
            note(f"{job.task}, {job.variant}, seed {job.seed}: {found.loc[found['deployed'], 'score'].iloc[0]:.4g}")
            rows = pd.concat((rows, found), ignore_index=True)
            rows.to_parquet(ROWS)
    if PAGE.exists() and not rows.empty:
        put("flow_q", lines(rows))


if __name__ == "__main__":
    main()
