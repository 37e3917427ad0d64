"""Trains both algorithms on the benchmark reactor over five seeds and writes what each is worth.

``make study`` runs it. It is resumable: a finished run is not trained again, an interrupted one goes on. Results:
``docs/studies/cstr.parquet`` (one row a seed, algorithm and sampling mode) and the table in ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
from results_page import PAGE, put

from fpo_pilot.commands.console import note
from fpo_pilot.commands.evaluate import evaluate_run
from fpo_pilot.commands.train import train_run
from fpo_pilot.evidence import student_interval
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.specs import load_training_spec

PLANT = "cstr"
ALGORITHMS = ("fpo", "gaussian_ppo")
FOLDER = Path(__file__).resolve().parent


def one_run(algorithm: str, seed: int, runs: Path) -> list[dict[str, object]]:
    """Train (or take up again) and evaluate one seed; return a row for each sampling mode."""
    run_dir = runs / f"{PLANT}-{algorithm}-{seed}"
    spec = load_training_spec(PLANT, algorithm)
    finished = (run_dir / "evaluation.json").exists()
    if not finished:
        resume = (run_dir / "manifest.json").exists()
        train_run(PLANT, spec, run_dir, seed=seed, resume=resume, label=f"seed {seed}")
    evaluation = evaluate_run(run_dir, [], episodes=32, seed=1000, scenarios=("nominal",), quiet=True)
    training = Manifest.read(run_dir).training
    if evaluation.deployment is None or training is None:
        raise RuntimeError(f"{run_dir}: the run has no deployment or no training record")
    chosen = evaluation.deployment.noise_scale
    rows = []
    for row in evaluation.rows:
        rows.append(
            {
                "algorithm": algorithm,
                "arm": row.arm,
                "mode": row.mode,
                "shield": row.shield,
                "seed": seed,
                "cost": -row.returns.mean,
                "episodes": row.n,
                "chosen_noise_scale": chosen,
                "steps": training.steps,
                "seconds": training.seconds,
            }
        )
    return rows


def one_job(job: tuple[str, int, Path]) -> list[dict[str, object]]:
    """Do one run in a process of its own."""
    return one_run(*job)


def interval(costs: pd.Series) -> str:
    """Mean and 95 % Student-t interval over seeds, with every seed shown."""
    values = costs.to_numpy()
    each = ", ".join(f"{value:.1f}" for value in values)
    if len(values) < 2 or values.std() == 0:
        return f"{values.mean():.2f} | none: deterministic | {each}"
    mean, low, high = student_interval(values)
    return f"{mean:.2f} | {low:.2f} to {high:.2f} | {each}"


def write_table(frame: pd.DataFrame, command: str) -> None:
    """Put the table between its marks in docs/results.md."""
    shielded = frame[frame["shield"]]
    lines = [
        "| controller | mode | n seeds | cost, mean | 95 % interval over seeds | each seed |",
        "|---|---|---|---|---|---|",
    ]
    for (arm, mode), group in shielded.groupby(["arm", "mode"], sort=False):
        own = group if arm in ("flow", "gaussian_ppo") else group.drop_duplicates("arm")
        lines.append(f"| {arm} | {mode or '–'} | {len(own)} | {interval(own['cost'])} |")
    once = shielded.drop_duplicates(["algorithm", "seed"]).groupby("algorithm")
    chosen = once["chosen_noise_scale"].agg(lambda scales: ", ".join(f"{s:g}" for s in scales))
    seconds = once["seconds"].mean()
    for algorithm in chosen.index:
        own = shielded[shielded["algorithm"] == algorithm]
        lines.append("")
        lines.append(
            f"`{algorithm}`: {own['steps'].max():,} steps, {seconds[algorithm]:.0f} s a seed on average; "
            f"noise scale chosen by evaluation, each seed: {chosen[algorithm]}."
        )
    lines += [
        "",
        f"Command: `{command}`. Machine: two CPU cores, {platform.machine()}, Python {platform.python_version()}.",
    ]
    put("cstr", lines)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study"), help="where the run folders go")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    options = parser.parse_args()
    jobs = [(algorithm, seed, options.runs) for seed in range(options.seeds) for algorithm in ALGORITHMS]
    with ProcessPoolExecutor(max_workers=options.processes) as pool:
        rows = [row for part in pool.map(one_job, jobs) for row in part]
    frame = pd.DataFrame(rows)
    frame.to_parquet(FOLDER / "cstr.parquet", index=False)
    write_table(frame, "make study")
    note(f"wrote {FOLDER / 'cstr.parquet'} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
