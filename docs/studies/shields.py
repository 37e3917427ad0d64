"""What the shields of the reactor near runaway keep: published numbers again, then a million adversarial steps, then outside the set.

Three tables for ``docs/results.md``, rows in ``shields.parquet``:

1. the reactor without a rate limit behind the predictive shield that knows one model only, also where that model is wrong;
2. the whole stack with the uncertainty declared (rate constant and heat transfer ±5 %), noisy readings that are one step late, and
   adversaries; the plant checks its limit 16 times a step, the shield 4 times;
3. the same where the plant is outside of what was declared: there violations must appear, or the study could not fail.

A policy is trained behind the stack and without the predictive layer, and what the stack does to each is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from results_page import PAGE, put
from torch import Tensor

from fpo_pilot.commands.console import note
from fpo_pilot.evidence import clopper_pearson_upper
from fpo_pilot.learn import load_policy, train
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields import ShieldContext, ShieldStack, build_stack
from fpo_pilot.specs import load_training_spec
from fpo_pilot.specs.evaluation import Scenario
from fpo_pilot.specs.plant import Noise, Uncertainty
from fpo_pilot.specs.safety import PredictiveShield, SafetySpec, UncertaintySet

ROWS = Path(__file__).resolve().parent / "shields.parquet"
LIMIT = 350.0
COPIES, EPISODES_LONG, SEED = 512, 60, 7
POPULATION, ELITE, ROUNDS, KNOTS = 256, 32, 12, 12
"""Of the search: sequences of a generation, of those the best, generations, and values of a sequence (held 5 steps each)."""
Adversary = Callable[[Simulation, int, torch.Generator], Tensor]


def settings(**changes: Any) -> PredictiveShield:
    """Return the predictive layer of the study."""
    given: dict[str, Any] = {
        "horizon": 12,
        "candidates": 9,
        "substeps": 4,
        "margin": {"T": 0.25},
        "terminal_set": {"T": {"high": 316.0}, "Ca": {"low": 0.9}},
    }
    return PredictiveShield.model_validate(given | changes)


def safety_of(
    plant: Plant, *, rate: bool = True, latch: bool = True, states: dict[str, float] | None = None, **changes: Any
) -> SafetySpec:
    """Return the plant's safety spec with the predictive layer; without rate limit or interlock where asked."""
    safety = plant.safety
    if safety is None:
        raise SystemExit(f"{plant.name}: found no safety spec, expected one")
    predictive = settings(**changes)
    kinds = {shield.kind: shield for shield in safety.shields}
    order = (kinds["integrity"], *((kinds["interlock"],) if latch else ()), predictive, kinds["box_rate"])
    actions = safety.actions if rate else {"Tc": safety.actions["Tc"].model_copy(update={"rate": None})}
    set_of = {"parameters": {"rate_constant": {"half_width": 0.05}, "heat_transfer": {"half_width": 0.05}}}
    declared = {"parameters": {}, "states": states} if states is not None else set_of
    update: dict[str, Any] = {
        "shields": order,
        "actions": actions,
        "uncertainty": UncertaintySet.model_validate(declared),
    }
    return safety.model_copy(update=update | ({} if latch else {"interlocks": ()}))


def late_plant(*, delay: int = 1, noise: Noise | None = None) -> Plant:
    """Return the reactor with late readings, an uncertain heat transfer, and a limit that is checked 16 times a step."""
    plant = load_plant("cstr_safety")
    spec, signals = plant.spec, dict(plant.spec.signals)
    for name in ("T", "Ca"):
        update: dict[str, Any] = {"delay_steps": delay} | ({"noise": noise} if noise and name == "T" else {})
        sensor = signals[name].sensor.model_copy(update=update)
        signals[name] = signals[name].model_copy(update={"sensor": sensor})
    parameters = dict(spec.parameters)
    wide = {"uncertainty": Uncertainty(half_width=0.05)}
    parameters["heat_transfer"] = parameters["heat_transfer"].model_copy(update=wide)
    changed = spec.model_copy(
        update={
            "signals": signals,
            "parameters": parameters,
            "dynamics": spec.dynamics.model_copy(update={"substeps": 16}),
            "episode": spec.episode.model_copy(update={"randomize_parameters": True}),
        }
    )
    return dataclasses.replace(plant, spec=changed)


def uniform(simulation: Simulation, generator: torch.Generator) -> Tensor:
    """Draw a jacket temperature for every copy, ``[B, 1]`` K."""
    return 290.0 + 20.0 * torch.rand(simulation.num_envs, 1, generator=generator, dtype=torch.float64)


class Held:
    """Draws by ``draw`` and holds for ten steps."""

    def __init__(self, draw: Adversary) -> None:
        self.draw, self.value = draw, torch.empty(0)

    def __call__(self, simulation: Simulation, step: int, generator: torch.Generator) -> Tensor:
        """Return what is held now."""
        if step % 10 == 0:
            self.value = self.draw(simulation, step, generator)
        return self.value


def brink(simulation: Simulation, step: int, generator: torch.Generator) -> Tensor:
    """Steer the true temperature to just below the interlock and sit there, which needs knowledge that no policy has."""
    return (300.0 + 4.0 * (344.5 - simulation.state[:, 1:])).clamp(290.0, 310.0)


ADVERSARIES: dict[str, Callable[[], Adversary]] = {
    "random": lambda: lambda simulation, step, generator: uniform(simulation, generator),
    "slow random": lambda: Held(lambda simulation, step, generator: uniform(simulation, generator)),
    "bang-bang": lambda: Held(
        lambda simulation, step, generator: 290.0 + 20.0 * (uniform(simulation, generator) > 300.0).double()
    ),
    "maximum": lambda: lambda simulation, step, generator: torch.full_like(simulation.applied, 310.0),
    "brink": lambda: brink,
}


@torch.inference_mode()
def fly(
    plant: Plant,
    shield: ShieldStack | None,
    ask: Adversary,
    scenario: Scenario,
    *,
    copies: int = COPIES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Run one episode of every copy; return counts, and the peak of each copy as ``peaks``."""
    simulation = Simulation(plant, copies, seed=seed, scenario=scenario, autoreset=False)
    if shield is not None:
        shield.reset()  # simulated plants start
    generator = torch.Generator().manual_seed(seed)
    running, tripped = torch.ones(copies, dtype=torch.bool), torch.zeros(copies, dtype=torch.bool)
    peaks = simulation.state[:, 1].clone()
    steps = altered = infeasible = predictive = torch.zeros((), dtype=torch.int64)
    for step in range(EPISODES_LONG):
        proposal = action = ask(simulation, step, generator)
        if shield is not None:
            safe = torch.full_like(proposal, 290.0)
            verdict = shield(ShieldContext.read(simulation, fallback=safe, period=plant.period), proposal)
            action = verdict.action
            altered = altered + (running & verdict.altered(proposal)).sum()
            infeasible = infeasible + (running & ~verdict.feasible).sum()
            own = [
                flag for name, flag in verdict.reasons.items() if name in ("predictive.reduced", "predictive.backup")
            ]
            if own:
                predictive = predictive + (running & torch.stack(own).any(dim=0)).sum()
        seen = simulation.step(action)
        steps = steps + running.sum()
        peaks = torch.where(running, torch.maximum(peaks, seen.state[:, 1]), peaks)
        tripped |= running & seen.tripped
        running &= ~seen.terminated
    return {
        "steps": int(steps),
        "episodes": copies,
        "violations": int(tripped.sum()),
        "peak": float(peaks.max()),
        "altered": int(altered),
        "predictive": int(predictive),
        "infeasible": int(infeasible),
        "peaks": torch.where(tripped, torch.inf, peaks),
    }


def search(plant: Plant, make: Callable[[], ShieldStack | None], scenario: Scenario) -> dict[str, Any]:
    """Search for the sequence that makes the reactor hottest behind the shield: the cross-entropy method on held values."""
    generator = torch.Generator().manual_seed(SEED)
    mean, std = torch.full((KNOTS,), 303.0, dtype=torch.float64), torch.full((KNOTS,), 6.0, dtype=torch.float64)
    totals: dict[str, Any] = {}
    for _ in range(ROUNDS):
        drawn = torch.randn(POPULATION, KNOTS, generator=generator, dtype=torch.float64)
        plan = (mean + std * drawn).clamp(290.0, 310.0)

        def follow(simulation: Simulation, step: int, _: torch.Generator, plan: Tensor = plan) -> Tensor:
            return plan[:, step * KNOTS // EPISODES_LONG, None]

        found = fly(plant, make(), follow, scenario, copies=POPULATION)
        best = found.pop("peaks").topk(ELITE).indices
        mean, std = plan[best].mean(dim=0), plan[best].std(dim=0) + 0.3
        peak = max(found["peak"], totals.get("peak", -math.inf))
        totals = {key: value + totals.get(key, 0) for key, value in found.items()} | {"peak": peak}
    return totals


def corners(plant: Plant) -> Iterator[tuple[str, Scenario]]:
    """Yield the declared set: drawn inside of it, and each corner."""
    yield "drawn", Scenario()
    k0, ua = (plant.spec.parameters[name].value for name in ("rate_constant", "heat_transfer"))
    for faster in (1.05, 0.95):
        for wetted in (1.05, 0.95):
            where = Scenario(parameters={"rate_constant": k0 * faster, "heat_transfer": ua * wetted})
            yield f"k0 ×{faster:g}, UA ×{wetted:g}", where


def declared_rows() -> Iterator[dict[str, Any]]:
    """Yield the rows of the second table: every adversary in the declared set."""
    plant = late_plant()

    def make(latch: bool) -> ShieldStack:
        return build_stack(safety_of(plant, latch=latch), plant.spec, dynamics=Prediction(plant))

    for latch in (True, False):
        stack = "whole stack" if latch else "no interlock"
        for place, scenario in corners(plant):
            for name, adversary in ADVERSARIES.items():
                found = fly(plant, make(latch), adversary(), scenario)
                yield {"table": "declared", "stack": stack, "plant": place, "adversary": name, **_plain(found)}
            if place in ("drawn", "k0 ×1.05, UA ×0.95"):
                found = search(plant, lambda latch=latch: make(latch), scenario)
                yield {"table": "declared", "stack": stack, "plant": place, "adversary": "search", **found}
            note(f"{stack}, {place}")
    for place, scenario in corners(plant):
        for name, adversary in ADVERSARIES.items():
            found = fly(plant, None, adversary(), scenario)
            yield {"table": "declared", "stack": "no shield", "plant": place, "adversary": name, **_plain(found)}


def outside_rows() -> Iterator[dict[str, Any]]:
    """Yield the rows of the third table: the shield is told less than what is the case."""
    told = late_plant()
    k0 = told.spec.parameters["rate_constant"].value
    worlds = {
        "k0 ×1.10": (told, Scenario(parameters={"rate_constant": 1.10 * k0})),
        "k0 ×1.15": (told, Scenario(parameters={"rate_constant": 1.15 * k0})),
        "k0 ×1.20": (told, Scenario(parameters={"rate_constant": 1.20 * k0})),
        "noise 3 K": (late_plant(noise=Noise(std=3.0)), Scenario()),
        "readings 4 steps late": (late_plant(delay=4), Scenario()),
    }
    for latch in (True, False):
        for name, (plant, scenario) in worlds.items():
            for adversary in ("maximum", "brink"):
                shield = build_stack(safety_of(told, latch=latch), told.spec, dynamics=Prediction(told))
                found = fly(plant, shield, ADVERSARIES[adversary](), scenario)
                stack = "whole stack" if latch else "no interlock"
                yield {"table": "outside", "stack": stack, "plant": name, "adversary": adversary, **_plain(found)}


def nominal_rows() -> Iterator[dict[str, Any]]:
    """Yield the rows of the first table: no rate limit, no interlock, exact readings, one model."""
    plant = load_plant("cstr_safety")
    quiet = {
        name: plant.spec.signals[name].model_copy(update={"sensor": type(plant.spec.signals[name].sensor)()})
        for name in ("T", "Ca")
    }
    episode = plant.spec.episode.model_copy(update={"randomize_parameters": False})
    update = {"signals": plant.spec.signals | quiet, "episode": episode}
    plant = dataclasses.replace(plant, spec=plant.spec.model_copy(update=update))
    k0 = plant.spec.parameters["rate_constant"].value
    exact = {"T": 0.0, "Ca": 0.0}
    tried: list[tuple[str, float, float | None]] = [
        *((name, 1.0, margin) for name in ("random", "slow random", "maximum") for margin in (None, 0.25)),
        *(("maximum", 1.02, margin) for margin in (0.25, 4.0, 6.0, 8.0)),
        ("maximum", 1.05, 8.0),
        *(("maximum", 1.10, margin) for margin in (8.0, 12.0)),
    ]
    for name, factor, margin in tried:
        shield = None
        if margin is not None:
            spec = safety_of(plant, rate=False, latch=False, states=exact, margin={"T": margin})
            shield = build_stack(spec, plant.spec, dynamics=Prediction(plant))
        scenario = Scenario(parameters={"rate_constant": factor * k0})
        found = fly(plant, shield, ADVERSARIES[name](), scenario, copies=256)
        stack = "no shield" if margin is None else f"margin {margin:g} K"
        yield {"table": "nominal", "stack": stack, "plant": f"k0 ×{factor:g}", "adversary": name, **_plain(found)}


def policy_rows(runs: Path, steps: int | None) -> Iterator[dict[str, Any]]:
    """Yield what the whole stack does to policies trained behind it, and without its predictive layer."""
    plant = late_plant()
    spec = load_training_spec("cstr_safety", "fpo")
    full = safety_of(plant)
    bare = full.model_copy(update={"shields": tuple(s for s in full.shields if s.kind != "predictive")})
    for name, safety in (("trained behind it", full), ("trained without it", bare)):
        folder = runs / name.replace(" ", "-")
        if not (folder / "manifest.json").exists():
            shield = build_stack(safety, plant.spec, dynamics=Prediction(plant))
            train(plant, spec, folder, seed=0, shield=shield, total_steps=steps)
        policy = load_policy(folder)

        def follow(simulation: Simulation, step: int, generator: torch.Generator, policy: Any = policy) -> Tensor:
            noise = torch.randn(simulation.num_envs, 1, generator=generator)
            return plant.to_engineering(policy.sample(simulation.observation, noise, 0.0).double())

        for stack, built in (("whole stack", full), ("no predictive layer", bare)):
            shield = build_stack(built, plant.spec, dynamics=Prediction(plant))
            found = fly(plant, shield, follow, Scenario())
            yield {"table": "policy", "stack": stack, "plant": "drawn", "adversary": name, **_plain(found)}


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "peaks"}


def lines_of(rows: pd.DataFrame, table: str) -> list[str]:
    """Return a table: sums over the plants of a stack and adversary, but for the first, which has every row."""
    own = rows[rows["table"] == table]
    keys = ["stack", "plant", "adversary"] if table in ("nominal", "outside") else ["stack", "adversary"]
    lines = [
        "| stack | plant | adversary | steps | episodes beyond the limit (95 % upper bound) | hottest at a control step "
        "| steps altered | by the predictive layer | infeasible |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for _, group in own.groupby(keys, sort=False):
        steps, count, bad = (int(group[name].sum()) for name in ("steps", "episodes", "violations"))
        first = group.iloc[0]
        plant = first["plant"] if len(group) == 1 else f"{len(group)} plants of the set"
        shares = " | ".join(f"{group[name].sum() / steps:.1%}" for name in ("altered", "predictive", "infeasible"))
        shares = "– | – | –" if first["stack"] == "no shield" else shares
        lines.append(
            f"| {first['stack']} | {plant} | {first['adversary']} | {steps:,} | {bad:,} of {count:,} "
            f"({clopper_pearson_upper(bad, count):.2%}) | {group['peak'].max():.2f} K | {shares} |"
        )
    return lines


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/shields"), help="where the run folders go")
    parser.add_argument("--steps", type=int, default=None, help="of a training; as in train.yaml if not given")
    parser.add_argument(
        "--only", choices=("nominal", "outside", "declared", "policy"), nargs="*", help="the others stay"
    )
    options = parser.parse_args()
    started = time.perf_counter()
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "nominal": nominal_rows,
        "outside": outside_rows,
        "declared": declared_rows,
        "policy": lambda: policy_rows(options.runs, options.steps),
    }
    chosen = options.only or [*parts]
    kept = pd.read_parquet(ROWS) if len(chosen) < len(parts) else pd.DataFrame({"table": []})
    found = [kept[~kept["table"].isin(chosen)]]
    for name in chosen:
        found.append(pd.DataFrame(list(parts[name]())))
        note(f"{name}: {time.perf_counter() - started:.0f} s")
    rows = pd.concat(found, ignore_index=True)
    rows.to_parquet(ROWS, index=False)
    for table in ("nominal", "declared", "outside", "policy"):
        put(f"shields-{table}", lines_of(rows, table))
    whole = rows[(rows["table"] == "declared") & (rows["stack"] != "no shield")]
    note(f"{int(whole['steps'].sum()):,} adversarial steps, {int(whole['violations'].sum())} violations")
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
