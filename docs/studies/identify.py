"""Identifies four tanks from noisy logs, trains on the identified plant, and judges the policy on the true one.

``make study`` runs it. It is resumable: a log or a finished run that is there is taken over; ``--page`` only writes the
tables again, from the committed rows.
Results: ``docs/studies/identify-errors.parquet`` (a row for each log, model and signal), ``identify-runs.parquet`` (a
row for each policy) and the tables in ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from results_page import PAGE, put

from fpo_pilot.commands.console import note
from fpo_pilot.evaluate.arms import controller_actor
from fpo_pilot.evaluate.comparison import Job, finished, make_task, score, variant_spec
from fpo_pilot.evaluate.episodes import Conditions, run_episodes
from fpo_pilot.evidence import student_interval
from fpo_pilot.identification import identify, read_log, reason_text, write_project
from fpo_pilot.learn import load_policy, train
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs.content import find_plant
from fpo_pilot.specs.evaluation import Scenario
from fpo_pilot.specs.plant import Noise, Sensor

PLANT = "quad_tank"
FOLDER = Path(__file__).resolve().parent
ERRORS, RUNS = FOLDER / "identify-errors.parquet", FOLDER / "identify-runs.parquet"
NOISE = 0.002  # m, standard deviation of every level reading: a quarter of a percent of the range
EPISODES = 60
EXCITATION = {"with random steps": 2.0, "the incumbent alone": 0.0}
"""Log: largest random step on top of the incumbent's action [V]."""
CHANGE = 0.25  # probability in a control step that the random step is drawn anew
MODELS = ("linear", "neural")
STEPS = 100_000
ALGORITHM = "gaussian_ppo"


def noisy_plant() -> Plant:
    """Return the true plant with noisy level readings, which the incumbent acts on too."""
    plant = load_plant(PLANT)
    sensor = Sensor(noise=Noise(std=NOISE))
    signals = {
        name: signal.model_copy(update={"sensor": sensor}) if name in plant.measured_names else signal
        for name, signal in plant.spec.signals.items()
    }
    return replace(plant, spec=plant.spec.model_copy(update={"signals": signals}))


def write_log(path: Path, largest: float) -> None:
    """Log episodes of the noisy plant under the incumbent, with held random steps on top of its actions."""
    plant, random = noisy_plant(), np.random.default_rng(0)
    simulation = Simulation(plant, EPISODES, seed=0, autoreset=False)
    incumbent = incumbent_controller(plant)
    incumbent.reset(EPISODES)
    shape = (EPISODES, len(plant.action_names))
    steps, running, rows = np.zeros(shape), np.ones(EPISODES, dtype=bool), []
    for step in range(plant.horizon):
        drawn = random.uniform(-largest, largest, size=shape)
        steps = np.where(random.random(shape) < CHANGE, drawn, steps)
        seen = simulation.measurement.numpy()
        transition = simulation.step(incumbent.act(simulation.signals(), simulation.applied) + torch.from_numpy(steps))
        values = np.concatenate((seen, transition.applied.numpy()), axis=1)
        frame = pd.DataFrame(values, columns=[*plant.measured_names, *plant.action_names])
        rows.append(frame.assign(episode=np.arange(EPISODES), step=step)[running])
        running = running & ~transition.tripped.numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(rows, ignore_index=True).to_parquet(path, index=False)


def identified(out: Path, log_name: str, model: str) -> tuple[Path, list[dict[str, object]]]:
    """Identify one model from one log, write it as a plant, and return its folder and its errors."""
    log_file = out / f"log-{'-'.join(log_name.split())}.parquet"
    if not log_file.exists():
        write_log(log_file, EXCITATION[log_name])
    plant = load_plant(PLANT)
    log = read_log(log_file, plant.spec)
    result = identify(log, plant.spec, plant.safety, kind="neural" if model == "neural" else "linear")
    folder = out / "envs" / f"quad_tank_{model}_{'_'.join(log_name.split())}"
    if folder.exists():
        shutil.rmtree(folder)
    write_project(result, log, plant.spec, plant.safety, find_plant(PLANT), folder)
    reasons = "; ".join(reason_text(reason, result.ahead) for reason in result.reasons)
    own = {moved.action: moved.own for moved in result.excitation}
    rows: list[dict[str, object]] = [
        {
            "log": log_name,
            "model": model,
            "order": result.linear.order,
            "signal": s.name,
            "one_step": s.one.model,
            "share_one": s.share_one,
            "twenty_steps": s.many.model,
            "share": s.share,
            "persistence": s.many.persistence,
            "half_width": s.many.half_width,
            "episodes_covered": s.episodes_covered,
            "test_episodes": result.episodes["test"],
            "level": result.intervals.level,
            "least_excitation": min(own.values()),
            "good_enough": result.good_enough,
            "reasons": reasons,
        }
        for s in result.accuracy
    ]
    return folder, rows


def policy_row(trained_on: str, task: str, seed: int, out: Path) -> dict[str, object]:
    """Train a policy on a plant, choose its noise scale there, and report its cost there and on the true plant."""
    job = Job(trained_on, ALGORITHM, seed)
    run_dir = job.folder(out)
    spec = variant_spec(task, ALGORITHM, STEPS)
    if not finished(job, out):
        shutil.rmtree(run_dir, ignore_errors=True)
        train(make_task(task, spec), spec, run_dir, seed=seed)
    policy = load_policy(run_dir)
    scales = tuple(mode.noise_scale for mode in policy.modes())
    chosen, rows = score(make_task(task, spec), policy, scales, episodes=8, seed=seed)
    _, true_rows = score(make_task(PLANT, spec), policy, scales, episodes=8, seed=seed)
    here, there = (next(r for r in found if r["noise_scale"] == chosen) for found in (rows, true_rows))
    return {
        "trained_on": trained_on,
        "seed": seed,
        "noise_scale": chosen,
        "cost_where_trained": -float(str(here["score"])),
        "cost_on_true_plant": -float(str(there["score"])),
        "violation_rate_on_true_plant": there["violation_rate"],
    }


def controller_cost(kind: Literal["incumbent", "hold"]) -> float:
    """Return the cost of a controller of today on the true plant; its episodes are all alike."""
    plant = load_plant(PLANT)
    actor = controller_actor(plant, kind, 1)
    batch = run_episodes(plant, actor, Conditions(Scenario(), 0, 1), shield=None, incumbent=None)
    return -float(batch.returns.mean())


def error_lines(errors: pd.DataFrame) -> list[str]:
    """Return the errors of every model, and its verdict."""
    lines = [
        "| log | model (order) | signal | one step [mm] | 20 steps [mm] | of the standard deviation | “nothing changes”, 20 steps "
        "[mm] | interval ±, 20 steps [mm] | test episodes covered |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in errors.itertuples():
        lines.append(
            f"| {row.log} | {row.model} ({row.order}) | {row.signal} | {1e3 * row.one_step:.2f} | {1e3 * row.twenty_steps:.2f} "
            f"| {row.share:.1%} | {1e3 * row.persistence:.0f} | {1e3 * row.half_width:.1f} "
            f"| {row.episodes_covered} of {row.test_episodes} |"
        )
    lines.append("")
    for row in errors.drop_duplicates(["log", "model"]).itertuples():
        verdict = "good enough to train on" if row.good_enough else f"not good enough: {row.reasons.rstrip('.')}"
        lines.append(
            f"- {row.log}, {row.model}: {verdict}. The action that moved least moved {row.least_excitation:.1%} of its range by itself."
        )
    return lines


def policy_lines(runs: pd.DataFrame) -> list[str]:
    """Return what policies and controllers cost on the true plant."""
    lines = [
        f"| {ALGORITHM}, {STEPS:,} steps, trained on | n seeds | cost where trained | cost on the true plant | "
        "95 % interval over seeds | each seed | episodes with a violation |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, group in runs[runs["seed"] >= 0].groupby("trained_on", sort=False):
        costs = group["cost_on_true_plant"].to_numpy()
        mean, low, high = student_interval(costs)
        lines.append(
            f"| {name} | {len(group)} | {group['cost_where_trained'].mean():.3f} | {mean:.3f} | {low:.3f} to {high:.3f} "
            f"| {', '.join(f'{cost:.3f}' for cost in costs)} | {group['violation_rate_on_true_plant'].mean():.0%} |"
        )
    for row in runs[runs["seed"] < 0].itertuples():
        lines.append(f"| – ({row.trained_on}) | – | – | {row.cost_on_true_plant:.3f} | none: deterministic | – | 0% |")
    return lines


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/identify"), help="where logs, plants and runs go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", action="store_true", help="only write the tables again")
    options = parser.parse_args()
    if not options.page:
        measure(options.runs, options.seeds)
    write_page(pd.read_parquet(ERRORS), pd.read_parquet(RUNS))
    note(f"wrote {ERRORS}, {RUNS} and {PAGE}")


def measure(out: Path, seeds: int) -> None:
    """Identify, train and judge; write the rows."""
    torch.set_num_threads(1)
    tasks, errors = {"the true plant": PLANT}, []
    for log_name, largest in EXCITATION.items():
        for model in MODELS:
            folder, rows = identified(out, log_name, model)
            errors += rows
            if largest > 0.0 or model == "neural":  # one model is enough to show what a log without excitation is worth
                tasks[f"{model} model, log {log_name}"] = str(folder)
    pd.DataFrame(errors).to_parquet(ERRORS, index=False)
    rows = [policy_row(name, task, seed, out) for name, task in tasks.items() for seed in range(seeds)]
    rows += [
        {"trained_on": kind, "seed": -1, "cost_on_true_plant": controller_cost(kind)} for kind in ("incumbent", "hold")
    ]
    pd.DataFrame(rows).to_parquet(RUNS, index=False)


def write_page(errors: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Put the tables between their marks in docs/results.md."""
    machine = (
        f"Command: `make study`. Machine: two CPU cores, {platform.machine()}, Python {platform.python_version()}."
    )
    noise = (
        f"Measurement noise {1e3 * NOISE:g} mm; {EPISODES} episodes of 60 steps under the incumbent; random steps up to "
        f"±{max(EXCITATION.values()):g} V, drawn anew with probability {CHANGE:g} in a step. Policies are judged without "
        "measurement noise, as the benchmark is."
    )
    put("identify", [noise, "", *error_lines(errors), "", *policy_lines(runs), "", machine])


if __name__ == "__main__":
    sys.exit(main())
