"""Weights of what was asked for, and of what a limit left of it: self-normalised importance sampling on ``cstr``.

The log: the controller with random moves of known density, which the actuator's range cuts in part of the rows. Policies whose weights
are not all one, judged by logs of 100 episodes, with the density taken at the proposals and at the recorded actions. Rows in
``offpolicy_proposals.parquet``, table for ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from offpolicy import proportional
from results_page import PAGE, put
from torch import Tensor

from fpo_pilot.commands.console import note
from fpo_pilot.evaluate.offpolicy import LogBatch, per_decision
from fpo_pilot.evidence import clopper_pearson
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields import ShieldContext, build_stack

ROWS = Path(__file__).resolve().parent / "offpolicy_proposals.parquet"
EPISODES, LOGS, TRUTH_EPISODES, RESAMPLES = 100, 100, 4000, 200
MOVE = 0.3
POLICIES = {
    "moves of 0.35 instead of 0.3": (0.35, 0.0),
    "moves of 0.25": (0.25, 0.0),
    "0.05 warmer": (0.3, 0.05),
    "0.05 colder": (0.3, -0.05),
}
"""Standard deviation of the moves and their mean, in half spans."""


@dataclass(frozen=True, eq=False)
class Flown:
    """Episodes ``[T, B]``, normalised: what was asked for, what was done, what the controller alone asks for, the reward."""

    proposal: Tensor
    applied: Tensor
    centre: Tensor
    reward: Tensor


@torch.no_grad()
def fly(plant: Plant, spread: float, shift: float, episodes: int, seed: int) -> Flown:
    """Fly the controller with random moves behind the shield."""
    if plant.safety is None:
        raise SystemExit(f"{plant.name}: found no safety spec, expected one")
    simulation = Simulation(plant, episodes, seed=seed, autoreset=False)
    shield, incumbent = build_stack(plant.safety, plant.spec), incumbent_controller(plant)
    incumbent.reset(episodes)
    generator = torch.Generator().manual_seed(seed)
    act = proportional(plant, 160.0, 300.25)
    rows: list[tuple[Tensor, ...]] = []
    for _ in range(plant.horizon):
        fallback = incumbent.act(simulation.signals(), simulation.applied)
        centre = act(simulation.observation, generator)
        proposal = centre + shift + spread * torch.randn(centre.shape, generator=generator, dtype=torch.float64)
        context = ShieldContext.read(simulation, fallback=fallback, period=plant.period)
        moved = simulation.step(shield(context, plant.to_engineering(proposal)).action)
        rows.append((proposal[:, 0], plant.to_normalised(moved.applied)[:, 0], centre[:, 0], moved.reward.double()))
    return Flown(*(torch.stack(column) for column in zip(*rows, strict=True)))


def log_ratio(asked: Tensor, centre: Tensor, spread: float, shift: float) -> Tensor:
    """Return ln π − ln μ of two normal densities."""
    own, logged = (asked - centre - shift) / spread, (asked - centre) / MOVE
    return -0.5 * own.square() - math.log(spread) + 0.5 * logged.square() + math.log(MOVE)


def rows_of(flown: Flown, name: str, truth: float, logs: int) -> Iterator[dict[str, Any]]:
    """Judge one policy by every log, from the proposals and from the recorded actions."""
    spread, shift = POLICIES[name]
    steps = len(flown.reward)
    nothing = torch.zeros(steps, EPISODES, 1)
    ends = torch.zeros(steps, EPISODES, dtype=torch.bool)
    ends[-1] = True
    for index in range(logs):
        own = slice(EPISODES * index, EPISODES * (index + 1))
        begins = torch.ones(EPISODES, dtype=torch.bool)
        zero = nothing[..., 0]
        batch = LogBatch(nothing, nothing, flown.reward[:, own], nothing, ends, torch.ones_like(ends), zero, begins)
        for source, asked in (("proposals", flown.proposal), ("recorded actions", flown.applied)):
            ratio = log_ratio(asked[:, own], flown.centre[:, own], spread, shift)
            found = per_decision(batch, ratio, resamples=RESAMPLES, seed=index)
            told = found.model_dump(include={"valid", "value", "low", "high", "effective_sample_size"})
            yield {"policy": name, "truth": truth, "weights of": source, "log": index, **told}


def lines_of(rows: pd.DataFrame, on_limit: float) -> list[str]:
    """Return bias, error and coverage for each policy and source of the weights."""
    lines = [
        "| policy | true return | weights of | valid | effective episodes | bias (95 % interval) | root mean square error "
        "| 95 % interval holds the truth |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, source), group in rows.groupby(["policy", "weights of"], sort=False):
        valid = group[group["valid"]]
        error = (valid["value"] - valid["truth"]).to_numpy(float)
        half = 1.96 * error.std(ddof=1) / math.sqrt(len(error))
        inside = int(((valid["low"] <= valid["truth"]) & (valid["truth"] <= valid["high"])).sum())
        low, high = clopper_pearson(inside, len(valid))
        lines.append(
            f"| {name} | {group['truth'].iloc[0]:.1f} | {source} | {len(valid)} of {len(group)} "
            f"| {group['effective_sample_size'].mean():.0f} | {error.mean():+.2f} ({error.mean() - half:+.2f} to "
            f"{error.mean() + half:+.2f}) | {np.sqrt((error**2).mean()):.2f} | {inside} of {len(valid)} ({low:.0%} to {high:.0%}) |"
        )
    told = (
        f"{on_limit:.0%} of the recorded actions lie on a limit. {rows['log'].nunique()} logs of {EPISODES} episodes, moves of "
        f"{MOVE:g} half spans; true returns from {TRUTH_EPISODES:,} episodes. Command: `python docs/studies/offpolicy_proposals.py`."
    )
    return [*lines, "", told]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=LOGS)
    options = parser.parse_args()
    plant = load_plant("cstr")
    flown = fly(plant, MOVE, 0.0, EPISODES * options.logs, 1)
    found = []
    for name, (spread, shift) in POLICIES.items():
        truth = float(fly(plant, spread, shift, TRUTH_EPISODES, 99).reward.sum(dim=0).mean())
        found += rows_of(flown, name, truth, options.logs)
        note(name)
    rows = pd.DataFrame(found)
    rows.to_parquet(ROWS, index=False)
    put("offpolicy-proposals", lines_of(rows, float((flown.applied.abs() >= 1.0 - 1e-5).double().mean())))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
