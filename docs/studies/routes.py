"""Two routes to one grade: which way trained policies go on ``vdv_cstr``, and whether they arrive when one way is closed.

Trains ``fpo`` and ``gaussian_ppo``, then drives them at noise scale 1 and at the deployed one, from the nominal start, with the
pump as it is, derated (F at most 15) and held up (F at least 20). Resumable; rows go to ``routes.parquet``, the table to
``docs/results.md``, the picture of first moves to ``family/routes.svg``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from results_page import PAGE, put

from fpo_pilot.commands.compare import run_jobs
from fpo_pilot.commands.console import note
from fpo_pilot.evaluate.comparison import Budget, Job
from fpo_pilot.evidence import student_interval
from fpo_pilot.learn import load_policy
from fpo_pilot.learn.interaction import Loop
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields import build_stack
from fpo_pilot.specs import load_evaluation_spec
from fpo_pilot.specs.evaluation import Scenario

FOLDER = Path(__file__).resolve().parent
ROWS = FOLDER / "routes.parquet"
PLANT = "vdv_cstr"
ALGORITHMS = ("fpo", "gaussian_ppo")
SCENARIOS = ("nominal", "pump_derate", "min_flow")
BUDGET = Budget(200_000, 64)
EPISODES, LAST, NEAR, MIDDLE = 200, 20, 0.02, 14.19
"""Episodes of each row; the grade is reached where the mean error of the last steps is below NEAR mol/L; where the feed begins."""


@torch.no_grad()
def drive(
    run_dir: Path, scenario: Scenario, scale: float, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the feed ``[T, N]``, the share of episodes at grade, and returns ``[N]``."""
    plant = load_plant(PLANT)
    if plant.safety is None:
        raise SystemExit(f"{PLANT}: found no safety spec, expected one")
    simulation = Simulation(plant, EPISODES, seed=seed, scenario=scenario, autoreset=False)
    loop = Loop(simulation, build_stack(plant.safety, plant.spec, dynamics=Prediction(plant)))
    policy, generator = load_policy(run_dir), torch.Generator().manual_seed(seed)
    obs = loop.reset()
    feed, errors = [], []
    total = torch.zeros(EPISODES, dtype=torch.float64)
    for _ in range(plant.horizon):
        noise = torch.randn(EPISODES, simulation.action_size, generator=generator)
        seen = loop.step(policy.sample(obs, noise, scale))
        obs = seen.observation
        total += seen.reward.to(torch.float64)
        feed.append(simulation.applied[:, 0].clone())
        errors.append((simulation.state[:, 1] - simulation.reference[:, 0]).abs())
    at_grade = torch.stack(errors[-LAST:]).mean(dim=0) < NEAR
    return torch.stack(feed), at_grade, total


def collect(runs_dir: Path, seeds: int, processes: int) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    """Train what is missing and drive; return rows, and the feeds of seed 0 at full noise."""
    jobs = [Job(PLANT, name, seed) for seed in range(seeds) for name in ALGORITHMS]
    scored, _ = run_jobs(jobs, runs_dir, BUDGET, processes=processes, quiet=False)
    chosen = scored[scored["deployed"]].set_index(["algorithm", "seed"])["noise_scale"]
    scenarios = {one.name: one for one in load_evaluation_spec(PLANT).scenarios}
    rows, feeds = [], {}
    for job in jobs:
        for name in SCENARIOS:
            for scale in sorted({float(chosen[job.variant, job.seed]), 1.0}):
                feed, at_grade, returns = drive(job.folder(runs_dir), scenarios[name], scale, 3000 + job.seed)
                if (name, scale, job.seed) == ("nominal", 1.0, 0):
                    feeds[job.variant] = feed
                rows.append(
                    {
                        "algorithm": job.variant,
                        "seed": job.seed,
                        "scenario": name,
                        "noise_scale": scale,
                        "deployed": scale == chosen[job.variant, job.seed],
                        "fast_route": float((feed[-LAST:].mean(dim=0) > MIDDLE).double().mean()),
                        "at_grade": float(at_grade.double().mean()),
                        "score": float(returns.mean()),
                    }
                )
    return pd.DataFrame(rows), feeds


def table_lines(rows: pd.DataFrame) -> list[str]:
    """Return what each algorithm reaches in each scenario, over seeds."""
    lines = [
        "| algorithm | noise | scenario | seeds | episodes at grade | 95 % interval over seeds | fast route | return |",
        "|---|---|---|---|---|---|---|---|",
    ]
    modes = (("as deployed", rows[rows["deployed"]]), ("scale 1", rows[rows["noise_scale"] == 1.0]))
    for mode, part in modes:
        for (name, scenario), group in part.groupby(["algorithm", "scenario"], sort=False):
            mean, low, high = student_interval(group["at_grade"].to_numpy())
            lines.append(
                f"| {name} | {mode} | {scenario} | {len(group)} | {mean:.0%} | {max(low, 0):.0%} to {min(high, 1):.0%} "
                f"| {group['fast_route'].mean():.0%} | {group['score'].mean():.2f} |"
            )
    return [*lines, "", f"{EPISODES} episodes a row and seed, {BUDGET.steps:,} training steps. Command: `make study`."]


def draw(feeds: dict[str, torch.Tensor]) -> None:
    """Draw the feed over the first steps of all episodes of seed 0."""
    figure, axes = plt.subplots(1, len(feeds), figsize=(9, 3.4), sharey=True)
    for axis, (name, feed) in zip(axes, feeds.items(), strict=True):
        shown = torch.cat((torch.full((1, EPISODES), MIDDLE, dtype=feed.dtype), feed[:15]))
        axis.plot(shown.numpy(), color="#0b5fa5", alpha=0.12, linewidth=0.9)
        axis.axhline(5.52, color="0.5", linestyle="--", linewidth=0.8)
        axis.axhline(30.39, color="0.5", linestyle="--", linewidth=0.8)
        axis.set_title(f"{name}, seed 0, noise scale 1", fontsize=10)
        axis.set_xlabel("step")
    axes[0].set_ylabel("feed F [1/h]; dashed: both ends")
    figure.tight_layout()
    figure.savefig(FOLDER / "family" / "routes.svg", metadata={"Date": None})


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/routes"), help="where the run folders go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    options = parser.parse_args()
    rows, feeds = collect(options.runs, options.seeds, options.processes)
    rows.to_parquet(ROWS, index=False)
    draw(feeds)
    put("routes", table_lines(rows))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
