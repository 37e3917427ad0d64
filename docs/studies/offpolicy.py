"""How far off-policy estimates are from the truth: 12 policies of known value on ``cstr``, from logs of the controller in charge.

Two logs: the controller with random moves of known density on top, and the controller alone, which is what a plant has. Each is
written through ``fpo-pilot ingest``, read as any log is, and judged by every estimator; the truth is simulated. Rows in
``offpolicy.parquet``, tables for ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from results_page import PAGE, put
from scipy.stats import spearmanr
from torch import Tensor

from fpo_pilot.commands.console import note
from fpo_pilot.commands.ingest import run_ingest
from fpo_pilot.evaluate.offpolicy.judgement import estimate_all, judge_policy
from fpo_pilot.evaluate.offpolicy.log import BehindShield, read_batch
from fpo_pilot.evidence import clopper_pearson
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields import ShieldContext, build_stack

ROWS = Path(__file__).resolve().parent / "offpolicy.parquet"
PLANT, EPISODES, SEEDS, TRUTH_EPISODES, MARGIN, DRAWS = "cstr", 100, 10, 200, 10.0, 8
CHOSEN_ON = 5
"""By the first so many logs it was chosen by which other features the interval of FQE is widened; the others are apart in the table."""
MOVE = 0.3
"""Standard deviation of the random moves, in half spans."""
MAP = """\
schema_version: 1
plant: cstr
time: {column: time}
signals:
  Ca: {column: Ca}
  T: {column: T}
  Tc: {column: Tc}
  Ca_sp: {column: Ca_sp}
episodes: {column: batch}
"""
KNOWN = "behavior_density: known\nlog_density: log_density\ndensity_of: normalised\n"
Act = Callable[[Tensor, torch.Generator], Tensor]


def proportional(plant: Plant, gain: float, bias: float, noise: float = 0.0) -> Act:
    """Tc = bias + gain·(Ca − set point), with normal noise in half spans."""

    def act(obs: Tensor, generator: torch.Generator) -> Tensor:
        wanted = bias + gain * 0.05 * obs[:, 2:3].double()  # the third entry is the error over 0.05 mol/L
        drawn = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
        return plant.to_normalised(wanted) + noise * drawn

    return act


def policies(plant: Plant) -> dict[str, tuple[Act, int]]:
    """Return the policies, and how many draws their noise needs."""
    gains = {
        "gain 160 (the best)": (160.0, 300.25),
        "gain 120": (120.0, 300.0),
        "gain 80": (80.0, 300.25),
        "gain 40": (40.0, 300.25),
    }
    gains |= {
        "gain 240": (240.0, 300.25),
        "gain 320": (320.0, 300.25),
        "gain 0": (0.0, 300.25),
        "gain −60": (-60.0, 300.25),
    }
    gains |= {"gain 160, 2 K cold": (160.0, 298.25), "gain 160, 1 K warm": (160.0, 301.25)}
    found = {name: (proportional(plant, *values), 1) for name, values in gains.items()}
    found["gain 160, noise 0.1"] = (proportional(plant, 160.0, 300.25, 0.1), DRAWS)
    found["gain 160, noise 0.3"] = (proportional(plant, 160.0, 300.25, 0.3), DRAWS)
    return found


@torch.no_grad()
def simulate(
    plant: Plant, act: Act, episodes: int, seed: int
) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    """Run whole episodes behind the shield; return their returns, and what a historian would have recorded, ``[T, B]`` each."""
    if plant.safety is None:
        raise SystemExit(f"{plant.name}: found no safety spec, expected one")
    simulation = Simulation(plant, episodes, seed=seed, autoreset=False)
    shield, controller = build_stack(plant.safety, plant.spec), incumbent_controller(plant)
    controller.reset(episodes)
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[np.ndarray[Any, Any]]] = {}
    total = torch.zeros(episodes, dtype=torch.float64)
    for _ in range(plant.horizon):
        obs, asked = simulation.observation, controller.act(simulation.signals(), simulation.applied)
        seen = dict(zip(plant.measured_names, simulation.measurement.unbind(-1), strict=True))
        seen |= dict(zip(plant.reference_names, simulation.reference.unbind(-1), strict=True))
        proposal = plant.to_engineering(act(obs, generator))
        action = shield(ShieldContext.read(simulation, fallback=asked, period=plant.period), proposal).action
        moved = simulation.step(action)
        total += moved.reward.double()
        seen |= dict(zip(plant.action_names, moved.applied.unbind(-1), strict=True))
        for name, value in seen.items():
            rows.setdefault(name, []).append(value.numpy().copy())
    last = dict(zip(plant.measured_names, simulation.measurement.unbind(-1), strict=True))
    for name in rows:
        rows[name].append(last[name].numpy().copy() if name in last else rows[name][-1])
    return total.numpy(), {name: np.stack(values) for name, values in rows.items()}


def log_of(plant: Plant, noise: float, seed: int, folder: Path) -> Path:
    """Write a log through ``ingest``, as an export with a time, a batch and, where there is noise, its density."""
    act = proportional(plant, 160.0, 300.25, noise)
    _, columns = simulate(plant, act, EPISODES, seed)
    steps = plant.horizon + 1
    start = pd.Timestamp("2026-01-01")
    hours = pd.to_timedelta(np.arange(EPISODES) * 24, unit="h")
    offsets = pd.to_timedelta(np.arange(steps) * plant.period, unit="s")
    frame = pd.DataFrame({name: values.T.ravel() for name, values in columns.items()})
    frame["time"] = (start + hours.repeat(steps) + pd.TimedeltaIndex(np.tile(offsets, EPISODES))).to_numpy()
    frame["batch"] = np.repeat(np.arange(EPISODES), steps)
    text = MAP
    if noise:
        centre = plant.to_normalised(
            torch.from_numpy(300.25 + 160.0 * (frame["Ca"] - frame["Ca_sp"]).to_numpy())[:, None]
        )
        done = plant.to_normalised(torch.from_numpy(frame["Tc"].to_numpy())[:, None])
        z = ((done - centre) / noise).numpy()[:, 0]
        frame["log_density"] = -0.5 * z**2 - math.log(noise) - 0.5 * math.log(2 * math.pi)
        text += KNOWN
    export, mapped = folder / "export.parquet", folder / "map.yaml"
    frame.to_parquet(export, index=False)
    mapped.write_text(text, encoding="utf-8")
    run_ingest([export], plant.name, mapped, out=folder / "history", as_json=False)
    return folder / "history"


def rows_of(plant: Plant, truths: dict[str, float], noise: float, seed: int) -> Iterator[dict[str, Any]]:
    """Judge every policy by one log; yield a row for each estimator."""
    folder = Path(tempfile.mkdtemp())
    batch, logged = read_batch(log_of(plant, noise, seed, folder), plant, ("incumbent",))
    shutil.rmtree(folder)
    for name, (act, draws) in policies(plant).items():
        behind = BehindShield(plant, act, draws=draws, seed=seed)
        spread = {"gain 160, noise 0.1": 0.1, "gain 160, noise 0.3": 0.3}.get(name)

        def density(obs: Tensor, action: Tensor, spread: float | None = spread) -> Tensor:
            centre = proportional(plant, 160.0, 300.25)(obs, torch.Generator())
            z = ((action - centre) / (spread or 1.0))[:, 0]
            return -0.5 * z.square() - math.log(spread or 1.0) - 0.5 * math.log(2 * math.pi)

        estimates = estimate_all(
            batch,
            logged,
            behind,
            horizon=plant.horizon,
            log_density=None if spread is None else density,
            no_density="a deterministic policy has no density",
            seed=seed,
        )
        answer, beyond, worth = judge_policy(estimates, batch, logged, behind, margin=MARGIN)
        for one in estimates:
            yield {
                "log": "random moves" if noise else "controller alone",
                "seed": seed,
                "policy": name,
                "truth": truths[name],
                "logged": worth,
                "beyond": beyond,
                "answer": answer.result,
                **one.model_dump(
                    include={"method", "valid", "reason", "value", "low", "high", "effective_sample_size"}
                ),
            }


def policy_lines(rows: pd.DataFrame) -> list[str]:
    """Return what is said of each policy from the log with random moves: truth, fitted Q, answers."""
    own = rows[(rows["log"] == "random moves") & (rows["method"] == "FQE")]
    lines = [
        "| policy | true return | FQE, mean of the logs | least to greatest | actions beyond the log | answers |",
        "|---|---|---|---|---|---|",
    ]
    for name, group in own.groupby("policy", sort=False):
        values = group["value"].dropna()
        told = f"{values.mean():.1f} | {values.min():.1f} to {values.max():.1f}" if len(values) else "not valid | –"
        answers = ", ".join(f"{answer} {count}" for answer, count in group["answer"].value_counts().items())
        lines.append(f"| {name} | {group['truth'].iloc[0]:.1f} | {told} | {group['beyond'].mean():.0%} | {answers} |")
    return lines


def calibration_lines(rows: pd.DataFrame) -> list[str]:
    """Return bias, error, rank correlation and coverage of every estimator on each log."""
    lines = [
        "| log | estimator | valid | bias | root mean square error | rank correlation | 95 % interval holds the truth |",
        "|---|---|---|---|---|---|---|",
    ]
    fresh = rows[(rows["seed"] >= CHOSEN_ON) & (rows["method"] == "FQE")]
    fresh = fresh.assign(log=fresh["log"] + f", the last {rows['seed'].nunique() - CHOSEN_ON} logs")
    whole = pd.concat([rows, fresh[fresh["log"].str.startswith("random")]])
    for (log, method), group in whole.groupby(["log", "method"], sort=False):
        valid = group[group["valid"]]
        if valid.empty:
            reason = group["reason"].mode().iloc[0]
            lines.append(f"| {log} | {method} | 0 of {len(group)} ({reason}) | – | – | – | – |")
            continue
        error = (valid["value"] - valid["truth"]).to_numpy(float)
        ranks = [spearmanr(g["value"], g["truth"]).statistic for _, g in valid.groupby("seed") if len(g) > 2]
        inside = int(((valid["low"] <= valid["truth"]) & (valid["truth"] <= valid["high"])).sum())
        low, high = clopper_pearson(inside, len(valid))
        rank = f"{np.mean(ranks):.2f}" if ranks else "–"
        lines.append(
            f"| {log} | {method} | {len(valid)} of {len(group)} | {error.mean():+.1f} | {np.sqrt((error**2).mean()):.1f} "
            f"| {rank} | {inside} of {len(valid)} ({low:.0%} to {high:.0%}) |"
        )
    return lines


def answer_lines(rows: pd.DataFrame) -> list[str]:
    """Return how often a bad policy is vetoed, and a good one."""
    one = rows[rows["method"] == "FQE"].copy()
    one["bad"] = one["truth"] < one["logged"] - MARGIN
    lines = ["| log | policies | veto (95 % interval) | no veto | no answer |", "|---|---|---|---|---|"]
    for (log, bad), group in one.groupby(["log", "bad"], sort=False):
        counts = group["answer"].value_counts()
        vetoes = int(counts.get("veto", 0))
        low, high = clopper_pearson(vetoes, len(group))
        kind = "worse than the log by more than the margin" if bad else "within the margin, or better"
        rest = f"{counts.get('no veto', 0)} | {counts.get('no answer', 0)}"
        lines.append(f"| {log} | {kind} ({len(group)}) | {vetoes} ({low:.0%} to {high:.0%}) | {rest} |")
    told = f"{EPISODES} episodes a log, {SEEDS} logs of each kind, margin {MARGIN:g}. Command: `python docs/studies/offpolicy.py`."
    return [*lines, "", told]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    plant = load_plant(PLANT)
    truths = {
        name: float(simulate(plant, act, TRUTH_EPISODES if draws > 1 else 1, 12345)[0].mean())
        for name, (act, draws) in policies(plant).items()
    }
    found = []
    for noise in (MOVE, 0.0):
        for seed in range(options.seeds):
            found += rows_of(plant, truths, noise, seed)
            note(f"log {'with random moves' if noise else 'of the controller alone'}, seed {seed}")
    rows = pd.DataFrame(found)
    rows.to_parquet(ROWS, index=False)
    put("offpolicy-policies", policy_lines(rows))
    put("offpolicy-calibration", calibration_lines(rows))
    put("offpolicy-answers", answer_lines(rows))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
