"""Cells of an evaluation in several processes, or on a Ray cluster: each worker makes the cells from names and paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpo_pilot.commands.compare import end_with
from fpo_pilot.errors import FpoPilotError

if TYPE_CHECKING:
    from fpo_pilot.evaluate.arms import Sampler
    from fpo_pilot.evaluate.cells import Bench, Cell
    from fpo_pilot.evaluate.harness import Runner
    from fpo_pilot.evaluate.store import CellTables

Answer = tuple[int, str, "CellTables | None"]
LOCAL = "local"
"""As an address: a cluster of this machine alone, which ends with the command."""


@dataclass(frozen=True)
class Recipe:
    """All that a worker needs; run folders are absolute, and on a cluster every machine must see them."""

    plant: str
    project: str
    """Folder to stand in, where plants are looked for first."""
    runs: tuple[str, ...]
    """Candidate first."""
    spec: str
    """The evaluation spec as JSON."""
    seed: int
    sampler: Sampler | None


def pool_runner(recipe: Recipe, processes: int) -> Runner:
    """Run cells in processes of this machine, one thread each."""

    def run(missing: Sequence[int]) -> Iterator[Answer]:
        context = get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=end_with, initargs=(os.getpid(),)) as pool:
            waiting = [pool.submit(run_cell, recipe, index) for index in missing]
            try:
                for future in as_completed(waiting):
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    return run


def cluster_runner(recipe: Recipe, address: str, processes: int | None = None) -> Runner:
    """Run cells on a Ray cluster: ``local``, ``auto`` (the one that was started on this machine), or its address.

    Raises:
        FpoPilotError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _ray()

    def run(missing: Sequence[int]) -> Iterator[Answer]:
        started = _connect(ray, address, processes)
        try:
            remote: Callable[..., Any] = ray.remote(run_cell).remote
            waiting = [remote(recipe, index) for index in missing]
            while waiting:
                ready, waiting = ray.wait(waiting)
                yield from ray.get(ready)
        finally:
            if started:
                ray.shutdown()

    def closed(missing: Sequence[int]) -> Iterator[Answer]:
        with closing(run(missing)) as answers:  # type: ignore[type-var]
            yield from answers

    return closed


def run_cell(recipe: Recipe, index: int) -> Answer:
    """Run one cell; its number is that in the list of all cells."""
    import torch

    from fpo_pilot.evaluate.oracle import NoPlan

    torch.set_num_threads(1)
    bench, cells = _prepared(recipe)
    ran = bench.run(cells[index])
    return index, bench.key(cells[index]), None if isinstance(ran, NoPlan) else ran


@lru_cache(maxsize=1)
def _prepared(recipe: Recipe) -> tuple[Bench, list[Cell]]:
    from fpo_pilot.commands.evaluate import load_policies
    from fpo_pilot.evaluate import build_arms
    from fpo_pilot.evaluate.cells import Bench
    from fpo_pilot.evaluate.harness import cells_of
    from fpo_pilot.plants.load import load_plant
    from fpo_pilot.specs.evaluation import EvaluationSpec

    os.chdir(recipe.project)
    spec = EvaluationSpec.model_validate_json(recipe.spec)
    plant = load_plant(recipe.plant)
    first, *others = map(Path, recipe.runs)
    arms = build_arms(plant, load_policies(plant, first, others))
    choice, reported = cells_of(plant, arms, spec, recipe.seed, recipe.sampler)
    return Bench(plant), [*choice, *reported]


def _ray() -> Any:
    try:
        import ray
    except ImportError as problem:
        raise FpoPilotError(
            "--cluster: found no Ray, expected it. Install the extra: pip install 'fpo-pilot[cluster]'; or use --processes."
        ) from problem
    return ray


def _connect(ray: Any, address: str, processes: int | None) -> bool:
    """Connect, and tell whether the connection is ours to end."""
    if ray.is_initialized():
        return False
    where: dict[str, Any] = {"num_cpus": processes} if address == LOCAL else {"address": address}
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", **where)
    except (ConnectionError, RuntimeError, ValueError) as problem:
        raise FpoPilotError(
            f"--cluster: found no cluster at {address!r} ({problem}), expected one. Start it by `ray start --head` and say "
            "`--cluster auto`, or say `--cluster local`."
        ) from problem
    return True
