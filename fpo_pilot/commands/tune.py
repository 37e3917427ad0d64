"""``fpo-pilot tune``: a small search over the settings that matter, with the same budget for every algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fpo_pilot.commands.console import progress, say, say_json, table
from fpo_pilot.errors import TrainingError
from fpo_pilot.logs.tables import read_parquet, write_table_atomic

if TYPE_CHECKING:
    from fpo_pilot.evaluate.comparison import Budget

FILE = "trials.parquet"
SHARED: Mapping[str, tuple[object, ...]] = {
    "learning_rate": (3e-4, 1e-3, 2e-3),
    "rollout_steps": (15, 30, 60),
    "passes": (4, 8, 12),
}
"""What every algorithm has, and how much of it is tried."""
OWN: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "fpo": {"clip": (0.02, 0.05, 0.1), "ratio": ("averaged", "per_draw"), "trust_region": ("ppo", "spo", "aspo")},
    "fpo_plus_plus": {
        "clip": (0.02, 0.05, 0.1),
        "weighting": ("noise", "velocity"),
        "deployment_average": (0.9, 0.95),
    },
    "dppo": {"clip": (0.02, 0.05, 0.2), "clip_base": (0.001, 0.005, 0.02), "chain_std": (0.1, 0.2, 0.3)},
    "gaussian_ppo": {
        "clip": (0.1, 0.2, 0.3),
        "entropy_coefficient": (0.0, 0.003, 0.01),
        "initial_std": (0.3, 0.5, 1.0),
    },
    "flow_q": {
        "matching": (0.003, 0.01, 0.03),
        "exploration": (0.0, 0.1, 0.2),
        "n_step": (1, 3),
        "passes": (16, 32, 64),
    },
}
"""Three settings of its own for each algorithm, so that none is searched more widely than another; ``flow_q`` goes over what it
has collected more often than the others, so its ``passes`` are others."""


def run_tune(task: str, algorithm: str, *, trials: int, steps: int | None, out: Path, seed: int, as_json: bool) -> int:
    """Try settings one after the other; the first is the spec as it stands. What the folder has is taken over."""
    from fpo_pilot.evaluate.comparison import Budget, variant_spec

    if algorithm not in OWN:
        raise TrainingError(f"--algorithm: found {algorithm!r}, expected one of {', '.join(OWN)}.")
    variant_spec(task, algorithm, steps)
    found = search(task, algorithm, Budget(steps), trials=trials, out=out, seed=seed, quiet=as_json)
    best = max(found, key=lambda row: float(row["score"]))
    if as_json:
        say_json({"best": best, "trials": found})
        return 0
    lines = [(row["settings"], f"{row['score']:.4g}", f"{row['seconds']:.0f}") for row in found]
    table(f"{task}, {algorithm}: {len(found)} trials", ("settings", "return", "s"), lines)
    say(f"best: --algorithm {best['settings']}")
    say("The best of several flatters itself: confirm it with `fpo-pilot compare` on other seeds.")
    return 0


def search(
    task: str, algorithm: str, budget: Budget, *, trials: int, out: Path, seed: int, quiet: bool
) -> list[dict[str, Any]]:
    """Return a row a trial; a search that is taken up asks and tells the finished trials again, so that it goes on alike."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    space = {
        name: optuna.distributions.CategoricalDistribution(values)
        for name, values in {**SHARED, **OWN[algorithm]}.items()
    }
    rows: list[dict[str, Any]] = read_parquet(out / FILE).to_pylist() if (out / FILE).exists() else []
    with progress(f"tune {algorithm}", trials, quiet=quiet) as report:
        for index in range(trials):
            asked = None if index == 0 else study.ask(space)  # the first is the spec as it stands
            variant = _variant(algorithm, {} if asked is None else asked.params)
            if index < len(rows) and rows[index]["settings"] != variant:
                raise TrainingError(
                    f"{out / FILE}: found the trials of another search, expected {variant} as number {index}. "
                    "Name another folder, or the seed that it began with."
                )
            if index >= len(rows):
                rows.append(_trial(task, variant, budget, out, seed, index))
                write_table_atomic(out / FILE, pa.Table.from_pylist(rows))
            if asked is not None:
                study.tell(asked, float(rows[index]["score"]))
            report(index + 1, f"best {max(float(one['score']) for one in rows):.4g}")
    return rows[:trials]


def _variant(algorithm: str, changes: Mapping[str, object]) -> str:
    """Return settings as ``fpo-pilot train --algorithm`` takes them."""
    listed = ",".join(f"{name}={value}" for name, value in changes.items())
    return f"{algorithm}:{listed}" if listed else algorithm


def _trial(task: str, variant: str, budget: Budget, out: Path, seed: int, index: int) -> dict[str, Any]:
    """Train and score one setting."""
    from fpo_pilot.evaluate.comparison import Job, run_job

    deployed = next(row for row in run_job(Job(task, variant, seed), out, budget) if row["deployed"])
    return {"trial": index, "settings": variant, "score": deployed["score"], "seconds": deployed["seconds"]}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as problem:
        raise TrainingError(
            "tune: found no Optuna, expected it installed. Install the extra: pip install 'fpo-pilot[tune]'."
        ) from problem
    return optuna
