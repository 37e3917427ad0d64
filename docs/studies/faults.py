"""Fault sweep: what each fault of a sensor or actuator costs, and whether a hard limit is passed, behind the shield.

The incumbent drives (and policies, if run folders are given); each fault begins a third into the episode and stays. Rows go
to ``faults.parquet``, the table to ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from results_page import PAGE, put

from fpo_pilot.commands.console import note
from fpo_pilot.evidence import clopper_pearson_upper, student_interval
from fpo_pilot.learn import load_policy
from fpo_pilot.learn.policy import Policy
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields import ShieldContext, build_stack
from fpo_pilot.specs import load_evaluation_spec
from fpo_pilot.specs.evaluation import ActuatorFault, Scenario, SensorFault

ROWS = Path(__file__).resolve().parent / "faults.parquet"
PLANTS = {"cstr_safety": "T", "quad_tank": "h3", "vdv_cstr": "CB"}
"""Plant, and the sensor whose faults are tried."""
EPISODES, SEED = 64, 4000


def faults(plant: Plant, signal: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield a name and what it changes in a scenario; sizes are shares of the range that matters."""
    begin = plant.horizon // 3
    low, high = plant.spec.signals[signal].range
    step = 0.03 * (high - low)
    sensors: list[tuple[str, dict[str, object]]] = [
        ("nan", {"kind": "nan"}),
        ("stale", {"kind": "stale"}),
        ("out of range", {"kind": "range"}),
        ("stuck", {"kind": "stuck"}),
        (f"bias {step:+.3g}", {"kind": "bias", "value": step}),
        (f"bias {-step:+.3g}", {"kind": "bias", "value": -step}),
        (f"drift {step / 10:+.3g} a step", {"kind": "drift", "value": step / 10}),
        (f"noise {step:.3g}", {"kind": "noise", "value": step}),
    ]
    yield "none", {}
    for name, fault in sensors:
        yield (
            f"{signal} {name}",
            {"faults": (SensorFault.model_validate({"signal": signal, "from_step": begin, **fault}),)},
        )
    for action, least, most in zip(plant.action_names, plant.action_low, plant.action_high, strict=True):
        span = most - least
        for kind, value in (("stuck", 0.0), ("slow", 0.01 * span), ("offset", 0.1 * span), ("offset", -0.1 * span)):
            fault = ActuatorFault.model_validate({"action": action, "kind": kind, "from_step": begin, "value": value})
            size = f" {value:+.3g}" if kind != "stuck" else ""
            yield f"{action} {kind}{size}", {"actuator_faults": (fault,)}


@torch.no_grad()
def drive(plant: Plant, scenario: Scenario, policy: Policy | None) -> dict[str, float]:
    """Run one episode of every copy; ``policy`` None is the incumbent."""
    if plant.safety is None:
        raise SystemExit(f"{plant.name}: found no safety spec, expected one")
    simulation = Simulation(plant, EPISODES, seed=SEED, scenario=scenario, autoreset=False)
    shield, incumbent = build_stack(plant.safety, plant.spec, dynamics=Prediction(plant)), incumbent_controller(plant)
    incumbent.reset(EPISODES)
    generator = torch.Generator().manual_seed(SEED)
    obs = simulation.reset()
    total, altered, steps = (torch.zeros(EPISODES, dtype=torch.float64) for _ in range(3))
    running = torch.ones(EPISODES, dtype=torch.bool)
    passed = torch.zeros_like(running)
    for _ in range(plant.horizon):
        asked = proposal = incumbent.act(simulation.signals(), simulation.applied)
        if policy is not None:
            noise = torch.randn(EPISODES, simulation.action_size, generator=generator)
            proposal = plant.to_engineering(policy.sample(obs, noise, 0.0).to(simulation.dtype))
        context = ShieldContext.read(simulation, fallback=asked, period=plant.period)
        verdict = shield(context, proposal)
        seen = simulation.step(verdict.action)
        passed |= running & (seen.cost > 0.0)
        total += torch.where(running, seen.reward.to(total.dtype), 0.0)
        altered += running & verdict.altered(proposal)
        steps += running
        running = running & ~(seen.terminated | seen.truncated)
        obs = seen.observation
    mean, low, high = student_interval(total.numpy())
    share = float((altered / steps).mean())
    return {"score": mean, "low": low, "high": high, "passed": int(passed.sum()), "altered": share}


def collect(runs: dict[str, Path]) -> pd.DataFrame:
    """Drive every plant under every fault, from varied starts where the plant's evaluation has them."""
    rows = []
    for name, signal in PLANTS.items():
        plant = load_plant(name)
        scenarios = {one.name: one for one in load_evaluation_spec(name).scenarios}
        base = scenarios.get("varied_start", Scenario())
        arms: dict[str, Policy | None] = {"incumbent": None}
        if name in runs:
            arms["policy, noise 0"] = load_policy(runs[name])
        for fault, change in faults(plant, signal):
            note(f"{name}: {fault}")
            for arm, policy in arms.items():
                found = drive(plant, base.model_copy(update=change), policy)
                rows.append({"plant": name, "arm": arm, "fault": fault, "n": EPISODES, **found})
    return pd.DataFrame(rows)


def table_lines(rows: pd.DataFrame) -> list[str]:
    """Return return and violations under each fault."""
    lines = [
        "| plant | who drives | fault | return | 95 % interval | beyond a hard limit (95 % upper bound) | steps altered |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows.itertuples():
        upper = clopper_pearson_upper(r.passed, r.n)
        interval = f"{r.low:.4g} to {r.high:.4g}" if r.high - r.low > 1e-9 * abs(r.score) else "none: all equal"
        lines.append(
            f"| `{r.plant}` | {r.arm} | {r.fault} | {r.score:.4g} | {interval} "
            f"| {r.passed} of {r.n} ({upper:.0%}) | {r.altered:.0%} |"
        )
    return [
        *lines,
        "",
        f"{EPISODES} episodes a row; the fault begins a third into the episode and stays. Command: `make study`.",
    ]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", action="append", default=[], metavar="PLANT=PATH", help="a trained run to drive as well"
    )
    options = parser.parse_args()
    rows = collect({name: Path(path) for name, _, path in (text.partition("=") for text in options.run)})
    rows.to_parquet(ROWS, index=False)
    put("faults", table_lines(rows))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
