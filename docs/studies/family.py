"""Compares the policy family on plants and published tasks, over five seeds, and writes what came of it.

``make study`` runs it. It is resumable: rows in ``family-runs.parquet`` are taken over, a finished run folder is only
scored, an interrupted one goes on. Tables go to ``docs/results.md``, pictures to ``docs/studies/family``.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from results_page import PAGE, missing, put

from fpo_pilot.commands.compare import run_jobs
from fpo_pilot.commands.comparison_summary import IMPROVEMENT, SUMMARY, write_summary
from fpo_pilot.commands.console import note
from fpo_pilot.commands.samplers import FILE as SAMPLER_FILE
from fpo_pilot.commands.samplers import run_samplers
from fpo_pilot.evaluate.comparison import Budget, Job, random_score
from fpo_pilot.evidence import student_interval
from fpo_pilot.specs.load import GYM

FOLDER = Path(__file__).resolve().parent
RUNS, CURVES, FLOORS = (FOLDER / f"family-{name}.parquet" for name in ("runs", "curves", "random"))
ALGORITHMS = ("fpo", "fpo_plus_plus", "dppo", "gaussian_ppo")
"""On-policy ones; ``flow_q`` has a study of its own, flow_q.py."""
SHORT, LONG = Budget(200_000, 128, 16), Budget(400_000, 2_000)
BUDGETS = {
    "jam_clear": LONG,
    "cstr": SHORT,
    "quad_tank": SHORT,
    "grid_world": SHORT,
    "gym:Pendulum-v1": SHORT,
    "gym:InvertedDoublePendulum-v5": SHORT,
    "swing_up": Budget(1_000_000, 128),
}
SAMPLERS = FOLDER / "family-samplers.parquet"
SAMPLED = (("cstr", "fpo", 32), ("jam_clear", "fpo", 1_000), ("gym:Pendulum-v1", "fpo_plus_plus", 32))
"""Task, algorithm and episodes of the sampler report, of seed 0."""
PUBLISHED = (
    ("cstr", "SAC, 50,000 steps", -78.3, "PC-Gym; same cost, other budget and method"),
    ("cstr", "PPO", -515.0, "PC-Gym; same cost, other budget"),
    ("quad_tank", "PPO, 26,600 steps", -5.29, "PC-Gym; same cost, other budget"),
    (None, "FPO, clip 0.05", 759.0, "arXiv 2507.21053: ten Control Suite tasks, 2,048 environments on a GPU"),
    (None, "FPO, clip 0.1", 623.0, "the same"),
    (None, "Gaussian PPO, tuned", 668.0, "the same"),
    (None, "DPPO", 653.0, "the same"),
)
"""Task, method, return and what stands between it and ours."""
ONLY = {"swing_up": ("fpo", "gaussian_ppo")}
"""Long runs of the two that are asked for."""


AS_MEASURED = "fpo:ratio=averaged,trust_region=ppo,clip=0.05"
"""What ``fpo`` stands for on published tasks, which have no train.yaml: the defaults when the study began."""


def jobs_of(task: str, seeds: int) -> list[Job]:
    """Return the runs of a task."""
    return [Job(task, name, seed) for seed in range(seeds) for name in ONLY.get(task, ALGORITHMS)]


def as_measured(job: Job) -> Job:
    """Return a run with the settings that the study began with spelled out."""
    return replace(job, variant=AS_MEASURED) if job.task.startswith(GYM) and job.variant == "fpo" else job


def collect(
    runs_dir: Path, tasks: Sequence[str], seeds: int, processes: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Run what is missing, task by task, and write each as soon as it is there."""
    runs, curves, floors = (
        pd.read_parquet(path) if path.exists() else pd.DataFrame() for path in (RUNS, CURVES, FLOORS)
    )
    for task in tasks:
        budget = BUDGETS[task]
        jobs = missing(jobs_of(task, seeds), runs)
        if jobs:
            note(f"{task}: {len(jobs)} runs")
            spelled = [as_measured(job) for job in jobs]
            more, learned = run_jobs(spelled, runs_dir, budget, processes=processes, quiet=False)
            more, learned = (frame.replace({"algorithm": {AS_MEASURED: "fpo"}}) for frame in (more, learned))
            runs, curves = pd.concat([runs, more], ignore_index=True), pd.concat([curves, learned], ignore_index=True)
        if floors.empty or task not in set(floors["task"]):
            floor = pd.DataFrame([{"task": task, "random": random_score(task, budget)}])
            floors = pd.concat([floors, floor], ignore_index=True)
        for path, frame in ((RUNS, runs), (CURVES, curves), (FLOORS, floors)):
            frame.to_parquet(path, index=False)
    return runs, curves, floors


def score_lines(runs: pd.DataFrame, floors: pd.DataFrame) -> list[str]:
    """Return a table of returns as deployed, over seeds."""
    floor = dict(zip(floors["task"], floors["random"], strict=True))
    lines = [
        "| task | steps | algorithm | n seeds | return, mean | 95 % interval over seeds | each seed | noise scale chosen | s a run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for task in BUDGETS:
        own = runs[runs["deployed"] & (runs["task"] == task)]
        for name in ALGORITHMS:
            group = own[own["algorithm"] == name].sort_values("seed")
            if group.empty:
                continue
            mean, low, high = student_interval(group["score"].to_numpy())
            each = ", ".join(f"{value:.4g}" for value in group["score"])
            scales = ", ".join(f"{value:g}" for value in group["noise_scale"])
            lines.append(
                f"| `{task}` | {group['steps'].max():,} | {name} | {len(group)} | {mean:.4g} | {low:.4g} to {high:.4g} "
                f"| {each} | {scales} | {group['seconds'].mean():.0f} |"
            )
        if not own.empty:
            lines.append(f"| `{task}` | – | random actions | – | {floor[task]:.4g} | – | – | – | – |")
    return lines


def zero_noise_lines(runs: pd.DataFrame) -> list[str]:
    """Return what each noise scale is worth on the plant that needs noise."""
    own = runs[runs["task"] == "jam_clear"]
    lines = [
        "| algorithm | noise scale | cost, mean over seeds | 95 % interval | worst seed |",
        "|---|---|---|---|---|",
    ]
    for (name, scale), group in own.groupby(["algorithm", "noise_scale"]):
        mean, low, high = student_interval(-group["score"].to_numpy())
        lines.append(f"| {name} | {scale:g} | {mean:.2f} | {low:.2f} to {high:.2f} | {-group['score'].min():.2f} |")
    return lines


def summary_lines(folder: Path) -> list[str]:
    """Return the interquartile means over tasks, and the probabilities of improvement over Gaussian PPO."""
    summary, improvement = pd.read_parquet(folder / SUMMARY), pd.read_parquet(folder / IMPROVEMENT)
    lines = ["| algorithm | interquartile mean | 95 % interval | runs |", "|---|---|---|---|"]
    lines += [
        f"| {r.algorithm} | {r.score:.3f} | {r.low:.3f} to {r.high:.3f} | {r.runs} |" for r in summary.itertuples()
    ]
    lines += ["", "| X | probability that a run of X beats one of Gaussian PPO | 95 % interval |", "|---|---|---|"]
    against = improvement[improvement["y"] == "gaussian_ppo"]
    return lines + [f"| {r.x} | {r.probability:.2f} | {r.low:.2f} to {r.high:.2f} |" for r in against.itertuples()]


def published_lines(runs: pd.DataFrame) -> list[str]:
    """Return published returns with ours beside them; no line is a comparison at the same budget."""
    lines = [
        "| task | published | return | ours, return (steps) | comparable? |",
        "|---|---|---|---|---|",
    ]
    for task, method, value, remark in PUBLISHED:
        own = runs[runs["deployed"] & (runs["task"] == task)]
        means = own.groupby("algorithm")["score"].mean()
        found = ", ".join(f"{name} {score:.4g}" for name, score in means.items())
        ours = f"{found} ({own['steps'].max():,})" if found else "not run: no GPU here"
        lines.append(f"| {f'`{task}`' if task else 'ten tasks, mean'} | {method} | {value:g} | {ours} | no: {remark} |")
    return lines


def sampler_rows(runs_dir: Path) -> pd.DataFrame:
    """Measure the samplers of three policies whose run folders are here; keep the committed rows of the others."""
    known = pd.read_parquet(SAMPLERS) if SAMPLERS.exists() else pd.DataFrame()
    frames = [known]
    for task, name, episodes in SAMPLED:
        folder = Job(task, name, 0).folder(runs_dir)
        if folder.exists() and (known.empty or task not in set(known["task"])):
            run_samplers(folder, episodes=episodes, seed=1000, as_json=False)
            frames.append(pd.read_parquet(folder / SAMPLER_FILE).assign(task=task, algorithm=name))
    rows = pd.concat([frame for frame in frames if not frame.empty], ignore_index=True)
    rows.to_parquet(SAMPLERS, index=False)
    return rows


def sampler_lines(rows: pd.DataFrame) -> list[str]:
    """Return what each sampler keeps on each task."""
    lines = [
        "| task | algorithm | σ | sampler | return | 95 % interval over episodes | n | kept | drift | µs an action |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| `{r.task}` | {r.algorithm} | {r.noise_scale:g} | {r.method} {r.steps} | {r.score:.4g} | {r.low:.4g} to {r.high:.4g} "
        f"| {r.episodes} | {r.kept:.1%} | {r.drift:.4f} | {r.latency_us:.0f} |"
        for r in rows.itertuples()
    ]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/family"), help="where the run folders go")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--tasks", nargs="+", choices=tuple(BUDGETS), default=tuple(BUDGETS))
    options = parser.parse_args()
    runs, curves, floors = collect(options.runs, options.tasks, options.seeds, options.processes)
    machine = (
        f"Command: `make study`. Machine: two CPU cores, {platform.machine()}, Python {platform.python_version()}."
    )
    put("family", [*score_lines(runs, floors), "", machine])
    put("family-published", published_lines(runs))
    put("family-samplers", sampler_lines(sampler_rows(options.runs)))
    put("family-noise", zero_noise_lines(runs))
    full = [task for task in BUDGETS if task not in ONLY and task in set(runs["task"])]
    folder = FOLDER / "family"
    floor = dict(zip(floors["task"], floors["random"], strict=True))
    write_summary(runs[runs["task"].isin(full)], curves[curves["task"].isin(full)], floor, folder)
    put("family-summary", summary_lines(folder))
    note(f"wrote {RUNS}, {CURVES}, {folder} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
