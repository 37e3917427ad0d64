"""Trains policies on the crane's twin and flies them on the MuJoCo crane: do they get round the pillar, and on which side?

``python docs/studies/crane.py`` is resumable: a finished run folder is only flown, an interrupted one goes on. Episodes go to
``crane-episodes.parquet``, the paths that are drawn to ``crane-paths.parquet``, the picture to ``crane.svg``, and the table
to ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from results_page import PAGE, put
from torch import Tensor

from fpo_pilot.commands.console import note
from fpo_pilot.commands.train import train_run
from fpo_pilot.evaluate.comparison import Job, finished, variant_spec
from fpo_pilot.evidence import clopper_pearson_upper
from fpo_pilot.learn import load_policy
from fpo_pilot.learn.interaction import Loop
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields.build import build_stack
from fpo_pilot.specs import load_evaluation_spec
from fpo_pilot.specs.evaluation import Scenario

FOLDER = Path(__file__).resolve().parent
EPISODES, PATHS, PICTURE = FOLDER / "crane-episodes.parquet", FOLDER / "crane-paths.parquet", FOLDER / "crane.svg"
ALGORITHMS = ("fpo", "gaussian_ppo")
INCUMBENT = "incumbent"
SCALES = (0.0, 1.0)
"""Noise scales of deployment: from zero noise every episode takes the same decisions."""
BLOCKED = {"aisle_blocked": 1.0, "other_aisle_blocked": -1.0}
"""Scenarios in which one aisle is blocked, and the sign of its y."""
ANYWHERE = "anywhere"
"""Starts where the twin's episodes do, instead of at (0, 0)."""
FLOWN, DRAWN, EVERY, SEED = 200, 20, 3, 1000
"""Episodes of a condition, those of them that are drawn, at every which step, and the seed of both."""
GOAL = (6.0, 0.0, 0.11)
"""Middle and, with a hair to spare, radius in m: an episode that terminates elsewhere has tripped."""
PASSED = 3.0
"""The load is past the pillar from here on, in m along the hall."""


@dataclass(frozen=True)
class Flight:
    """One condition: who flies what, in which scenario, from which noise."""

    pilot: str
    plant: str
    scenario: str
    scale: float


def flights(pilot: str) -> Iterator[Flight]:
    """Yield what a pilot is asked for; the incumbent draws nothing, and knows one start."""
    for scale in (0.0,) if pilot == INCUMBENT else SCALES:
        yield Flight(pilot, "crane_twin", "nominal", scale)
        for scenario in ("nominal", *BLOCKED):
            yield Flight(pilot, "crane", scenario, scale)
        if pilot != INCUMBENT:
            yield Flight(pilot, "crane", ANYWHERE, scale)


class Pilot:
    """Proposes normalised actions: a policy at a noise scale, or the incumbent."""

    def __init__(self, flight: Flight, simulation: Simulation, runs: Path, seed: int) -> None:
        self.flight, self.simulation = flight, simulation
        self.generator = torch.Generator().manual_seed(seed)
        if flight.pilot == INCUMBENT:
            self.controller = incumbent_controller(simulation.plant)
        else:
            self.policy = load_policy(Job("crane_twin", flight.pilot, seed).folder(runs))

    def propose(self, observation: Tensor) -> Tensor:
        """Return actions ``[B, 2]``."""
        if self.flight.pilot == INCUMBENT:
            asked = self.controller.act(self.simulation.signals(), self.simulation.applied)
            return self.simulation.plant.to_normalised(asked)
        noise = torch.randn((len(observation), 2), generator=self.generator)
        return self.policy.sample(observation, noise, self.flight.scale)


@torch.no_grad()
def fly(flight: Flight, runs: Path, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fly all episodes of a condition behind the shield; return a row for each, and the paths of the first."""
    plant = load_plant(flight.plant)
    simulation = Simulation(plant, FLOWN, seed=SEED, scenario=scenario_of(flight), autoreset=False)
    shield = None if plant.safety is None else build_stack(plant.safety, plant.spec, dynamics=Prediction(plant))
    loop, pilot = Loop(simulation, shield), Pilot(flight, simulation, runs, seed)
    observation, running = loop.reset(), torch.ones(FLOWN, dtype=torch.bool)
    columns = [plant.measured_names.index(name) for name in ("load_x", "load_y", "clearance", "sway")]
    readings, alive, tripped, arrived = [], [], torch.zeros_like(running), torch.zeros_like(running)
    total = torch.zeros(FLOWN, dtype=torch.float64)
    for _ in range(plant.horizon):
        seen = loop.step(pilot.propose(observation))
        readings.append(simulation.measurement[:, columns])
        alive.append(running)
        total += torch.where(running, seen.reward, 0.0)
        there = torch.hypot(readings[-1][:, 0] - GOAL[0], readings[-1][:, 1] - GOAL[1]) < GOAL[2]
        tripped, arrived = tripped | (running & seen.terminated & ~there), arrived | (running & seen.terminated & there)
        running = running & ~(seen.terminated | seen.truncated)
        observation = seen.observation
        if not bool(running.any()):
            break
    ended = {"tripped": tripped.numpy(), "arrived": arrived.numpy(), "reward": total.numpy()}
    return rows_of(flight, seed, torch.stack(readings).numpy(), torch.stack(alive).numpy(), ended)


def scenario_of(flight: Flight) -> Scenario:
    """Return the scenario of the plant's evaluate.yaml, or the starts of the twin."""
    if flight.scenario == ANYWHERE:
        starts = load_plant("crane_twin").spec.episode.start
        return Scenario(name=ANYWHERE, start={name: starts[name] for name in ("x", "y")})
    return next(one for one in load_evaluation_spec(flight.plant).scenarios if one.name == flight.scenario)


def rows_of(
    flight: Flight, seed: int, readings: np.ndarray, alive: np.ndarray, ended: dict[str, np.ndarray]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Turn readings ``[T, B, 4]``, of which ``alive`` ``[T, B]`` count, into the rows of episodes and of drawn paths."""
    shown = np.where(alive[..., None], readings, np.nan)
    past = shown[..., 0] >= PASSED
    across = np.take_along_axis(shown[..., 1], past.argmax(axis=0)[None], axis=0)[0]
    side = np.where(past.any(axis=0), np.where(across > 0.0, "left", "right"), "none")
    episodes = pd.DataFrame(
        {
            **vars(flight),
            "seed": seed,
            "episode": range(FLOWN),
            "side": side,
            **ended,
            "seconds": alive.sum(axis=0) * 0.1,
            "clearance_min": np.nanmin(shown[..., 2], axis=0),
            "sway_max": np.nanmax(shown[..., 3], axis=0),
        }
    )
    step, episode = np.nonzero(alive[::EVERY, :DRAWN])
    paths = pd.DataFrame({**vars(flight), "seed": seed, "episode": episode, "step": step * EVERY})
    paths[["x", "y"]] = readings[::EVERY][step, episode, :2].round(3).astype("float32")
    return episodes, paths


def collect(runs: Path, steps: int | None, seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train what is missing, fly everything; the incumbent, which nobody trains, has one seed."""
    episodes, paths = [], []
    pilots = [(INCUMBENT, 0), *((algorithm, seed) for algorithm in ALGORITHMS for seed in range(seeds))]
    for pilot, seed in pilots:
        job = Job("crane_twin", pilot, seed)
        if pilot != INCUMBENT and not finished(job, runs):
            folder = job.folder(runs)
            train_run(
                "crane_twin",
                variant_spec("crane_twin", pilot, steps),
                folder,
                seed=seed,
                resume=(folder / "manifest.json").exists(),
            )
        for flight in flights(pilot):
            flown, drawn = fly(flight, runs, seed)
            note(f"{flight}: {int(flown['arrived'].sum())} of {FLOWN} arrived")
            episodes.append(flown)
            if flight.plant == "crane" and seed == 0:
                paths.append(drawn)
    return pd.concat(episodes, ignore_index=True), pd.concat(paths, ignore_index=True)


def table_lines(episodes: pd.DataFrame) -> list[str]:
    """Return the table: for each condition what became of the episodes, and on which side those that passed went by."""
    lines = [
        "| pilot | noise scale | flown on | scenario | arrived | by seed | tripped (95 % upper bound) | passed left / right "
        "| seconds, median of arrived | greatest sway | least clearance | return |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for keys, group in episodes.groupby(["pilot", "scale", "plant", "scenario"], sort=False):
        pilot, scale, plant, scenario = keys
        trips, count = int(group["tripped"].sum()), len(group)
        arrived = group[group["arrived"]]
        by_seed = ", ".join(str(int(rows.sum())) for _, rows in group.groupby("seed")["arrived"])
        side = group["side"].value_counts()
        tripped = f"{trips} ({clopper_pearson_upper(trips, count):.1%})"
        seconds = f"{arrived['seconds'].median():.1f}" if len(arrived) else "–"
        lines.append(
            f"| {pilot} | {scale:g} | `{plant}` | {scenario} | {len(arrived)} of {count} | {by_seed} | {tripped} "
            f"| {side.get('left', 0)} / {side.get('right', 0)} | {seconds} | {group['sway_max'].max():.1f}° "
            f"| {group['clearance_min'].min():.2f} m | {group['reward'].mean():.2f} |"
        )
    return lines


def draw(paths: pd.DataFrame) -> None:
    """Draw the loads' paths from above, on the MuJoCo crane."""
    pilots = [(INCUMBENT, 0.0), *((name, scale) for name in ALGORITHMS for scale in SCALES)]
    scenarios = ("nominal", *BLOCKED, ANYWHERE)
    figure, axes = plt.subplots(
        len(scenarios), len(pilots), figsize=(3.2 * len(pilots), 10.0), sharex=True, sharey=True
    )
    for row, scenario in enumerate(scenarios):
        for axis, (pilot, scale) in zip(axes[row], pilots, strict=True):
            own = paths[(paths["pilot"] == pilot) & (paths["scale"] == scale) & (paths["scenario"] == scenario)]
            hall(axis, blocked=BLOCKED.get(scenario, 0.0))
            for _, path in own.groupby("episode"):
                up = path.loc[(path["x"] - PASSED).abs().idxmin(), "y"] > 0.0
                axis.plot(path["x"], path["y"], color="#0b5fa5" if up else "#c05a00", linewidth=0.7, alpha=0.6)
            noise = "" if pilot == INCUMBENT else f", noise {scale:g}"
            axis.set_title(f"{pilot}{noise}\n{scenario}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("x of the load [m]")
    for axis in axes[:, 0]:
        axis.set_ylabel("y of the load [m]")
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})


def hall(axis: Axes, *, blocked: float) -> None:
    """Draw the pillar, what must be kept from it, the goal, and the aisle that is blocked, by the sign of its y; 0 for none."""
    axis.add_patch(Circle((3.0, 0.0), 0.65, facecolor="0.9", edgecolor="0.6", linestyle="--"))
    axis.add_patch(Circle((3.0, 0.0), 0.4, color="0.45"))
    axis.add_patch(Circle((6.0, 0.0), 0.1, color="#2a7f3f"))
    if blocked:
        axis.plot([3.0, 3.0], [0.4 * blocked, 2.5 * blocked], color="#b02020", linewidth=3.0)
    axis.set_xlim(-0.5, 6.7)
    axis.set_ylim(-2.2, 2.2)
    axis.set_aspect("equal")


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/crane"), help="where the run folders go")
    parser.add_argument("--steps", type=int, default=None, help="of a training; as in train.yaml if not given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", action="store_true", help=f"write the table into {PAGE.name}, too")
    options = parser.parse_args()
    episodes, paths = collect(options.runs, options.steps, options.seeds)
    episodes.to_parquet(EPISODES, index=False)
    paths.to_parquet(PATHS, index=False)
    draw(paths)
    machine = f"two CPU cores, {platform.machine()}, Python {platform.python_version()}"
    command = f"Command: `python docs/studies/crane.py --page`. Machine: {machine}."
    lines = [*table_lines(episodes), "", command]
    if options.page:
        put("crane", lines)
    note("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
