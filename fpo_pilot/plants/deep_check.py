"""The deep questions: does a plant behave over whole episodes, in every type, under every fault, from every start?

Comparisons of two trajectories are in ranges of the states. They end where the plant is chaotic: where a nudge of the start
has grown a hundredfold no two ways of computing agree, and the answer says at which step that was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from fpo_pilot.plants.answers import Answer, CheckResult, ask
from fpo_pilot.plants.dynamics import ContinuousDynamics
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.plants.trial import Trial, running
from fpo_pilot.plants.watched import Watched, state_ranges
from fpo_pilot.specs.evaluation import FaultKind, Scenario, SensorFault
from fpo_pilot.specs.plant import Fixed, Normal, Start, Uniform

Floats = np.ndarray[Any, np.dtype[np.float64]]

LOOP_ERROR = 1e-9
TYPE_ERROR = 1e-4
"""Of float32 against float64 over a trajectory: about a thousand roundings of float32."""
SUBSTEP_ERROR = 1e-4
ESCAPE = 1e-3
"""Of the range: what a Runge-Kutta step may overshoot, at an empty tank for example."""
CHAOS = 100.0
"""Growth of a nudge from which on trajectories are not compared."""
TERM_ERROR = 1e-6
"""Relative; a reward is float32, its terms are not."""
LEAST_P = 1e-4
"""The draws are seeded, so that an answer never changes by itself."""
_DRAWS = 4096
_WIDEST = 8.0
_FAULT_STEPS = 2


def deep_results(plant: Plant, steps: int) -> list[CheckResult]:
    """Ask every deep question; trajectories have ``steps`` steps, or those of an episode if it is shorter."""
    return ask(
        (
            ("the dynamics give numbers and leave their inputs alone", _dynamics),
            ("the same seed gives the same episode to the bit", _seeds),
            ("a batch gives the trajectories of single plants", _loop),
            ("float32 gives the trajectory of float64", _types),
            ("twice the substeps give the same trajectory", _substeps),
            ("no state leaves its range without a trip", _ranges),
            ("the terms sum to the reward", _terms),
            ("observations stay in their space under every sensor fault", _faults),
            ("starts and parameters are drawn as declared", _draws),
        ),
        Trial(plant, steps),
    )


def _dynamics(trial: Trial) -> Answer:
    expected = "numbers from every state in its ranges, inputs unchanged"
    watched = Watched(trial.plant)
    plant, state = watched.watching(), trial.start
    for step, action in enumerate(trial.actions):
        watched.step = step
        try:
            state, _ = plant.step(state, action)
            plant.outputs(state, action)
        except Exception as error:  # noqa: BLE001  # told with the step at which the user's code raised it
            return Answer(False, f"step {step}: {type(error).__name__}: {error}", expected)
    return Answer(not watched.faults, "; ".join(watched.faults) or f"as expected over {trial.steps} steps", expected)


def _seeds(trial: Trial) -> Answer:
    expected = "0 numbers that differ"
    first, second = trial.random_run, trial.simulate(seed=5)
    for step, (one, other) in enumerate(zip(first, second, strict=True)):
        for name in ("state", "measurement", "reward", "final_observation"):
            mine, theirs = getattr(one, name), getattr(other, name)
            different = int(((mine != theirs) & ~(mine.isnan() & theirs.isnan())).sum())
            if different:
                return Answer(False, f"{different} of the {name} differ at step {step}", expected)
    return Answer(True, f"0 over {trial.steps} steps", expected)


def _loop(trial: Trial) -> Answer:
    apart = []
    for row in range(2):  # a plant that mixes its rows shows it in any of them
        rows = slice(row, row + 1)
        alone = trial.follow(trial.plant, trial.start[rows], trial.actions[:, rows])
        apart.append(trial.distance(alone, rows))
    return _compared(trial, torch.cat(apart, dim=1), trial.growth[:, :2], LOOP_ERROR)


def _types(trial: Trial) -> Answer:
    single = trial.follow(trial.plant, trial.start.to(torch.float32), trial.actions)
    return _compared(trial, trial.distance(single), trial.growth, TYPE_ERROR)


def _substeps(trial: Trial) -> Answer:
    if not isinstance(trial.plant.dynamics, ContinuousDynamics):
        return Answer(True, "its own code sets the time step", "only for differential equations")
    finer = trial.follow(trial.finer(), trial.start, trial.actions)
    return _compared(trial, trial.distance(finer), trial.growth, SUBSTEP_ERROR)


def _compared(trial: Trial, apart: Tensor, growth: Tensor, tolerance: float) -> Answer:
    """Judge distances ``[T, B]``: what is too far away is a fault, unless a nudge has grown as far."""
    chaotic = growth > CHAOS
    chaotic[0] = False  # one step is compared in any case
    wrong = (apart > tolerance) & ~chaotic
    expected = f"at most {tolerance:g} of the range"
    if bool(wrong.any()):
        step = int(wrong.any(dim=1).to(torch.uint8).argmax())
        return Answer(False, f"{float(apart[step].max()):.1e} at step {step}", expected)
    compared = torch.where(chaotic, 0.0, apart)
    end = f"over {trial.steps} steps"
    if bool(chaotic.any()):
        first = int(chaotic.any(dim=1).to(torch.uint8).argmax())
        end += f"; chaotic: from step {first} on a nudge has grown {CHAOS:g}-fold, and less is compared"
    return Answer(True, f"{float(compared.max()):.1e} {end}", expected)


def _ranges(trial: Trial) -> Answer:
    run = trial.random_run
    states = torch.stack([step.state for step in run])
    low, high = state_ranges(trial.plant, states)
    free = running(run) & ~torch.stack([step.tripped for step in run])
    beyond = torch.maximum(low - states, states - high) > ESCAPE * (high - low)
    escaped = beyond & free.unsqueeze(-1)
    expected = f"every state within {ESCAPE:g} of its range, or a trip"
    if not bool(escaped.any()):
        return Answer(True, f"{int(free.sum())} steps inside", expected)
    step, row, column = (int(index) for index in escaped.nonzero()[0])
    name = trial.plant.state_names[column]
    unit = trial.plant.spec.signals[name].unit
    return Answer(
        False,
        f"{name} is {float(states[step, row, column]):g} {unit} at step {step} without a trip",
        f"{float(low[column]):g} to {float(high[column]):g} {unit}: widen the range, or declare a hard limit inside it",
    )


def _terms(trial: Trial) -> Answer:
    expected = f"at most {TERM_ERROR:g} of the largest term"
    worst = 0.0
    for step, one in enumerate(trial.random_run):
        terms = torch.stack([term.to(torch.float64) for term in one.terms.values()])
        missing = (terms.sum(dim=0) - one.reward.to(torch.float64)).abs()
        error = float((missing / terms.abs().amax(dim=0).clamp(min=1.0)).max())
        if not error <= TERM_ERROR:  # NaN, too
            return Answer(False, f"the {len(terms)} terms miss the reward by {error:.1e} at step {step}", expected)
        worst = max(worst, error)
    return Answer(True, f"{worst:.1e} over {trial.steps} steps", expected)


def _faults(trial: Trial) -> Answer:
    plant, expected = trial.plant, "inside the space; NaN only where its own sensor reads NaN"
    if not plant.measured_names:
        return Answer(True, "nothing is measured", expected)
    for kind in get_args(FaultKind):
        # One fault on all sensors at a time, for a sensor does not feel another's; a NaN is followed from each.
        groups = [(name,) for name in plant.measured_names] if kind == "nan" else [plant.measured_names]
        for names in groups:
            found = _faulty(trial, kind, names)
            if found is not None:
                return Answer(False, found, expected)
    return Answer(True, f"{len(get_args(FaultKind))} faults on {len(plant.measured_names)} sensors", expected)


def _faulty(trial: Trial, kind: FaultKind, names: tuple[str, ...]) -> str | None:
    """Run a few steps with a fault on some sensors; say what is wrong with the observations, if anything is."""
    plant = trial.plant
    widths = {name: plant.spec.signals[name].range[1] - plant.spec.signals[name].range[0] for name in names}
    faults = tuple(SensorFault(signal=n, kind=kind, from_step=1, value=3.0 * widths[n]) for n in names)
    simulation = Simulation(plant, 2, seed=7, scenario=Scenario(faults=faults), autoreset=False)
    low, high = (torch.tensor(bound) for bound in simulation.observation_bounds)
    may_be_nan = torch.tensor([kind == "nan" and _reads(label, names) for label in simulation.observation_names])
    for step in range(min(_FAULT_STEPS, trial.steps)):
        seen = simulation.step(trial.actions[step, :2]).final_observation
        wrong = ~((seen >= low) & (seen <= high)) & ~(seen.isnan() & may_be_nan)
        if bool(wrong.any()):
            row, column = (int(index) for index in wrong.nonzero()[0])
            label, value = simulation.observation_names[column], float(seen[row, column])
            return (
                f"{label} is {value:g} at step {step} under a {kind} fault of {', '.join(names)}, "
                f"its space is {float(low[column]):g} to {float(high[column]):g}"
            )
    return None


def _reads(label: str, names: tuple[str, ...]) -> bool:
    """Tell whether an entry of the observation is made of one of these signals: ``T``, ``T[-1]`` or ``T-T_sp``."""
    base = label.split("[")[0]
    return any(base == name or base.startswith(f"{name}-") for name in names)


def _draws(trial: Trial) -> Answer:
    plant = trial.plant
    simulation = Simulation(plant, _DRAWS, seed=8)
    expected = f"p of a Kolmogorov-Smirnov test above {LEAST_P:g}; fixed values exactly"
    least, tested = 1.0, 0
    for column, name in enumerate(plant.state_names):
        declared = plant.spec.episode.start.get(name, Fixed(value=0.0))
        values = simulation.state[:, column]
        if isinstance(declared, Fixed) or not _spreads(declared):
            center = _center(declared)
            if not bool((values == center).all()):
                return Answer(
                    False, f"{name} starts at {float(values.min()):g} to {float(values.max()):g}", f"{center:g}"
                )
            continue
        p = float(stats.kstest(values.numpy(), _distribution(declared)).pvalue)
        least, tested = min(least, p), tested + 1
        if p <= LEAST_P:
            return Answer(False, f"the start of {name} is not as declared: p = {p:.1e}", expected)
    for name, p in _parameter_draws(plant, simulation):
        least, tested = min(least, p), tested + 1
        if p <= LEAST_P:
            return Answer(False, f"the parameter {name} is not drawn as declared: p = {p:.1e}", expected)
    found = f"least p {least:.2g} of {tested} tests on {_DRAWS} draws" if tested else "every start is fixed"
    return Answer(True, found, expected)


def _parameter_draws(plant: Plant, simulation: Simulation) -> list[tuple[str, float]]:
    """Return name and p of every parameter that is drawn anew at each reset."""
    drawn = simulation.state_dict()["parameters"]
    found = []
    for column, name in enumerate(plant.parameter_names):
        uncertainty = plant.spec.parameters[name].uncertainty
        if not plant.spec.episode.randomize_parameters or uncertainty is None or uncertainty.half_width == 0.0:
            continue
        nominal, factor = plant.parameter_values[column], plant.parameter_factors[column]
        relative = uncertainty.kind == "relative"
        half = uncertainty.half_width * (abs(nominal) if relative else abs(factor))
        uniform = stats.uniform(loc=nominal - half, scale=2.0 * half).cdf
        found.append((name, float(stats.kstest(drawn[:, column].numpy(), uniform).pvalue)))
    return found


def _spreads(start: Start) -> bool:
    if isinstance(start, Uniform):
        return start.high > start.low
    return not isinstance(start, Fixed) and start.std > 0.0


def _center(start: Start) -> float:
    if isinstance(start, Uniform):
        return (start.low + start.high) / 2
    return start.value if isinstance(start, Fixed) else start.mean


def _distribution(start: Uniform | Normal) -> Callable[[Floats], Floats]:
    """Return the distribution function that a start is declared to have."""
    if isinstance(start, Uniform):
        declared = stats.uniform(loc=start.low, scale=start.high - start.low)
    else:
        cut = min(start.truncate, _WIDEST)
        declared = stats.truncnorm(-cut, cut, loc=start.mean, scale=start.std)
    function: Callable[[Floats], Floats] = declared.cdf
    return function
