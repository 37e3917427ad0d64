"""The worst episodes of an evaluation, with every step of them, and the way to fly one again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fpo_pilot.errors import LogError
from fpo_pilot.evaluate.cells import Bench, Cell
from fpo_pilot.evaluate.store import CellTables
from fpo_pilot.evidence.evaluation import ChosenDeployment
from fpo_pilot.evidence.worst import FILE, STEPS, Worst, WorstOf, worst_of
from fpo_pilot.logs import write_json_atomic
from fpo_pilot.logs.tables import read_parquet, write_table_atomic


def keep_worst(
    bench: Bench, reported: Sequence[tuple[Cell, CellTables]], chosen: ChosenDeployment | None, run_dir: Path
) -> None:
    """Write the worst episodes of the candidate as deployed, behind the shield: those with most hard violations, then least return.

    An episode whose steps were not logged is run again, with its whole cell: the seeds are the cell's.
    """
    own = {bench.key(cell): (cell, tables) for cell, tables in reported if _is_candidate(cell, chosen)}
    kept = worst_of(tables.episodes for _, tables in own.values())
    before = _kept_before(run_dir, bench.step_schema)
    traces = []
    for key in dict.fromkeys(one.cell for one in kept):
        wanted = [one for one in kept if one.cell == key]
        traces += _traces(bench, *own[key], wanted, before)
    write_table_atomic(run_dir / STEPS, pa.concat_tables(traces) if traces else bench.step_schema.empty_table())
    write_json_atomic(run_dir / FILE, WorstOf(episodes=kept).model_dump(mode="json"))


def _traces(bench: Bench, cell: Cell, tables: CellTables, wanted: Sequence[Worst], before: pa.Table) -> list[pa.Table]:
    """Return every step of some episodes of a cell: from the log, from what was kept before, or by flying the cell again."""
    found = {}
    for one in wanted:
        for source in (tables.steps, before):
            own = _episode(source, one)
            if own.num_rows == one.steps:
                found[one.episode] = own
                break
    missing = [one.episode for one in wanted if one.episode not in found]
    if missing:
        flown = bench.trace(cell, max(missing))
        found |= {one.episode: _episode(flown, one) for one in wanted if one.episode in missing}
    return [found[one.episode] for one in wanted]


def fly_again(bench: Bench, cell: Cell, worst: Worst) -> pa.Table:
    """Fly the cell of an episode again, and return the steps of the episode."""
    return _episode(bench.trace(cell, worst.episode), worst)


def _episode(steps: pa.Table, worst: Worst) -> pa.Table:
    same_cell = pc.equal(steps["cell"].cast(pa.string()), worst.cell)
    return steps.filter(pc.and_(same_cell, pc.equal(steps["episode_id"], worst.episode)))


def _kept_before(run_dir: Path, schema: pa.Schema) -> pa.Table:
    try:
        steps = read_parquet(run_dir / STEPS)
    except LogError:
        return schema.empty_table()  # none yet, or damaged: flown again
    return steps if steps.schema.equals(schema) else schema.empty_table()


def trace(run_dir: Path, worst: Worst) -> pa.Table:
    """Return the steps of a kept episode, as they were written."""
    return _episode(read_parquet(run_dir / STEPS), worst)


def same_steps(first: pa.Table, second: pa.Table) -> bool:
    """Tell whether two traces are the same to the bit, but for the number in their file; NaN is NaN."""
    if first.num_rows != second.num_rows or first.schema.names != second.schema.names:
        return False
    return all(
        _same(first[name].combine_chunks(), second[name].combine_chunks())
        for name in first.schema.names
        if name != "seq"
    )


def _same(first: pa.Array, second: pa.Array) -> bool:
    if pa.types.is_dictionary(first.type):
        first, second = first.cast(pa.string()), second.cast(pa.string())
    if pa.types.is_floating(first.type):
        known = first.is_null().equals(second.is_null())
        ours, theirs = (values.to_numpy(zero_copy_only=False) for values in (first, second))
        return bool(known and np.array_equal(ours, theirs, equal_nan=True))
    return bool(first.equals(second))


def _is_candidate(cell: Cell, chosen: ChosenDeployment | None) -> bool:
    shielded = cell.shield or cell.arm.kind != "policy"
    return chosen is not None and shielded and (cell.arm.name, cell.mode) == (chosen.arm, chosen.label)
