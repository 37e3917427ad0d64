"""``fpo-pilot demo``: the whole way on a chemical reactor, from two trainings to two reports."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from fpo_pilot.commands.console import note, say, say_json, table
from fpo_pilot.commands.evaluate import evaluate_run, show
from fpo_pilot.commands.report import write_reports
from fpo_pilot.commands.rollout import rollout_run
from fpo_pilot.commands.train import train_run
from fpo_pilot.specs import load_training_spec
from fpo_pilot.specs.load import Algorithm

if TYPE_CHECKING:
    from fpo_pilot.rollout import RolloutResult

DEMO_STEPS = 150_000
FAULT = "T:nan@bounded"


def run_demo(out: Path, plant: str, *, steps: int | None, seed: int, as_json: bool) -> int:
    """Train a flow policy and a Gaussian one, evaluate, roll out with two drills, and report."""
    started = time.monotonic()
    compared: tuple[Algorithm, ...] = ("fpo", "gaussian_ppo")
    runs = {name: out / f"{plant}-{name}-{seed}" for name in compared}
    # One core each; the Gaussian trains unseen beside the flow policy.
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        beside = pool.submit(_train, plant, "gaussian_ppo", runs["gaussian_ppo"], steps, seed, True)
        _train(plant, "fpo", runs["fpo"], steps, seed, as_json)
        if not as_json and not beside.done():
            note("train gaussian_ppo: still running")
        beside.result()
    flow = runs["fpo"]
    evaluation = evaluate_run(flow, [runs["gaussian_ppo"]], episodes=None, seed=1000, quiet=as_json)
    results = {
        "the policy": rollout_run(flow, quiet=as_json),
        "drill: random actions": rollout_run(flow, random_actions=True, quiet=as_json),
        f"drill: {FAULT}": rollout_run(flow, inject=FAULT, quiet=as_json),
    }
    reports = write_reports(flow)
    if as_json:
        say_json(
            {
                "run": str(flow),
                "verdict": evaluation.verdict.model_dump(mode="json"),
                "rollouts": {name: result.final_stage for name, result in results.items()},
                "reports": [str(path) for path in reports],
            }
        )
        return 0
    show(evaluation, flow)
    _show_rollouts(results)
    for path in reports:
        say(f"report: {path}")
    note(f"the demo took {time.monotonic() - started:.0f} s")
    return 0


def _train(plant: str, algorithm: Algorithm, run_dir: Path, steps: int | None, seed: int, quiet: bool) -> None:
    """Train, or go on with what an earlier demo left."""
    spec = load_training_spec(plant, algorithm)
    spec = spec.model_copy(update={"total_steps": steps or min(DEMO_STEPS, spec.total_steps)})
    resume = (run_dir / "manifest.json").exists()
    train_run(plant, spec, run_dir, seed=seed, quiet=quiet, resume=resume)


def _show_rollouts(results: dict[str, RolloutResult]) -> None:
    table(
        "Staged roll-out on the simulated plant",
        ("what acted", "ended in", "authority", "episodes", "why"),
        (
            [
                name,
                result.final_stage,
                f"{result.final_authority:g}",
                str(result.episodes),
                str(result.transitions[-1]["reason"])
                if result.transitions
                else "the gate of the first stage did not pass",
            ]
            for name, result in results.items()
        ),
    )
