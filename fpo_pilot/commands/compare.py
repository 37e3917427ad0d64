"""``fpo-pilot compare``: algorithms × tasks × seeds, resumable, in parallel; tables, intervals and figures."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from fpo_pilot.commands.comparison_summary import write_summary
from fpo_pilot.commands.console import note, progress, say, say_json, table
from fpo_pilot.errors import TrainingError
from fpo_pilot.logs.tables import write_table_atomic

if TYPE_CHECKING:
    import pandas as pd

    from fpo_pilot.evaluate.comparison import Budget, Job

RUNS, CURVES, FLOORS = "runs.parquet", "curves.parquet", "random.parquet"


def run_compare(
    tasks: Sequence[str],
    algorithms: Sequence[str],
    *,
    seeds: int,
    steps: int | None,
    episodes: int,
    out: Path,
    processes: int | None,
    as_json: bool,
) -> int:
    """Train and score what is missing, then print and write what was found."""
    from fpo_pilot.evaluate.comparison import Budget, Job, random_score, variant_spec

    if not tasks or not algorithms:
        raise TrainingError("compare: found no task or no algorithm, expected at least one of each. Name them.")
    for task in tasks:
        for variant in algorithms:
            variant_spec(task, variant, steps)  # a wrong name is told before hours are spent
    budget = Budget(steps, episodes)
    # seed by seed, so that an interrupted comparison has all algorithms on equal terms
    jobs = [Job(task, variant, seed) for seed in range(seeds) for task in tasks for variant in algorithms]
    runs, curves = run_jobs(jobs, out, budget, processes=processes, quiet=as_json)
    floors = {task: random_score(task, budget) for task in tasks}
    chance = [{"task": task, "random": score} for task, score in floors.items()]
    tables = {
        RUNS: pa.Table.from_pandas(runs, preserve_index=False),
        CURVES: pa.Table.from_pandas(curves, preserve_index=False),
        FLOORS: pa.Table.from_pylist(chance),
    }
    for name, rows in tables.items():
        write_table_atomic(out / name, rows)
    written = write_summary(runs, curves, floors, out)
    if as_json:
        say_json({"runs": runs.to_dict("records"), "random": chance})
        return 0
    show_comparison(runs, floors)
    for path in (out / RUNS, out / CURVES, out / FLOORS, *written):
        say(f"written: {path}")
    return 0


def run_jobs(
    jobs: Sequence[Job], out: Path, budget: Budget, *, processes: int | None, quiet: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Do all jobs, each in a process with one thread; return the rows of the runs and of the learning curves."""
    import pandas as pd

    from fpo_pilot.evaluate.comparison import curve_rows, finished, run_job

    workers = processes or os.cpu_count() or 1
    rows: list[dict[str, object]] = []
    with (
        progress("compare", len(jobs), quiet=quiet) as report,
        ProcessPoolExecutor(
            max_workers=workers, mp_context=get_context("spawn"), initializer=end_with, initargs=(os.getpid(),)
        ) as pool,
    ):
        waiting: dict[Future[list[dict[str, object]]], Job] = {}
        # finished ones first: they only have to be scored, and the estimate of the time left is then of the others
        for job in sorted(jobs, key=lambda one: not finished(one, out)):
            waiting[pool.submit(run_job, job, out, budget)] = job
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                rows += future.result()
                job = waiting[future]
                report(done, f"{job.task}, {job.variant}, seed {job.seed}")
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            note("stopped by Ctrl-C; the same command goes on where it was")
            raise
    runs = pd.DataFrame(rows).sort_values(["task", "algorithm", "seed", "noise_scale"], ignore_index=True)
    curves = pd.DataFrame([row for job in jobs for row in curve_rows(job, out)])
    return runs, curves


def end_with(parent: int) -> None:
    """Let this process end when ``parent`` does: a worker whose command was killed would train on for nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)  # what was trained is in its run folder; there is nobody to clean up for

    threading.Thread(target=watch, daemon=True).start()


def show_comparison(runs: pd.DataFrame, floors: Mapping[str, float]) -> None:
    """Print mean and 95 % interval over seeds of the deployed policies, with what random actions get."""
    from fpo_pilot.evidence import student_interval

    lines: list[tuple[str, ...]] = []
    for (task, algorithm), group in runs[runs["deployed"]].groupby(["task", "algorithm"], sort=True):
        mean, low, high = student_interval(group["score"].to_numpy())
        interval = f"{low:.4g} to {high:.4g}" if low == low else "none: one seed"
        scales = ", ".join(f"{scale:g}" for scale in group["noise_scale"])
        seconds = f"{group['seconds'].mean():.0f}"
        lines.append(
            (
                str(task),
                str(algorithm),
                str(len(group)),
                f"{mean:.4g}",
                interval,
                scales,
                f"{floors[str(task)]:.4g}",
                seconds,
            )
        )
    columns = ("task", "algorithm", "seeds", "return", "95 % interval", "noise scale of each", "random", "s a run")
    table("comparison: mean return as deployed, over seeds", columns, lines)
