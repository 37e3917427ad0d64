"""``fpo-pilot check --deep``: does a plant keep its promises over whole episodes? A table of questions and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from fpo_pilot.commands.console import progress, say, say_json, table


def run_deep_check(plants: Sequence[str], *, steps: int | None, as_json: bool) -> int:
    """Ask every question of every plant; 1 if any answer is no.

    Args:
        plants: names or paths.
        steps: length of the trajectories; None for the default.
        as_json: write one JSON document instead of tables.
    """
    import torch

    from fpo_pilot.plants.check import DEEP_STEPS, check_plant
    from fpo_pilot.plants.load import load_plant

    torch.set_num_threads(1)  # batches are a handful of rows
    length = DEEP_STEPS if steps is None else steps
    found = {}
    with progress("check", len(plants), quiet=as_json) as report:
        for done, name in enumerate(plants):
            report(done, name)
            plant = load_plant(name)
            found[plant.name] = check_plant(plant, deep=True, steps=length)
    failed = [name for name, results in found.items() if not all(one.passed for one in results)]
    if as_json:
        say_json({"steps": length, "plants": {name: [asdict(one) for one in found[name]] for name in found}})
        return 1 if failed else 0
    for name, results in found.items():
        rows = [(one.name, "pass" if one.passed else "FAIL", one.detail, one.expected or "-") for one in results]
        table(f"{name}: {length} steps at most", ("question", "answer", "found", "expected"), rows)
    for name in failed:
        questions = "; ".join(one.name for one in found[name] if not one.passed)
        say(f"{name}: FAILED: {questions}. Correct the plant before training on it.")
    return 1 if failed else 0
