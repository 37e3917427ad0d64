"""Keeps what an evaluation has computed, so that one that was cut short goes on where it stopped.

A cell is one arm in one mode, with or without shield, in one scenario, on one set of seeds. Its key is a hash of
everything that its result depends on. Finished cells of an evaluation under way are in ``evaluation.partial/``; those
of a finished one are in its own artefacts, which have the key as the column ``cell``.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import write_atomic
from fpo_pilot.logs.reader import read_steps
from fpo_pilot.logs.tables import read_parquet, write_table_atomic
from fpo_pilot.logs.writer import rewrite_stage

STAGE = "offline"
EPISODES = "episodes.parquet"
SELECTION = "selection.parquet"
"""Episodes by which the deployments were chosen; those that are reported are others."""
PARTIAL = "evaluation.partial"


@dataclass(frozen=True)
class CellTables:
    """What one cell leaves: rows of the episode table and of the step log, which may have none."""

    episodes: pa.Table
    steps: pa.Table


class CellStore:
    """The cells of one run folder."""

    def __init__(self, run_dir: Path, step_schema: pa.Schema) -> None:
        self.run_dir = run_dir
        self.partial = run_dir / PARTIAL
        self._schema = step_schema
        self._finished = _concatenated([_readable(run_dir / name) for name in (EPISODES, SELECTION)])
        self._steps = self._finished_steps()

    def find(self, key: str, episodes: int, log_episodes: int) -> CellTables | None:
        """Return the cell if it is there with as many episodes as asked for."""
        found = self._in_partial(key) or self._in_finished(key)
        if found is None or found.episodes.num_rows != episodes:
            return None
        logged = len(pc.unique(found.steps["episode_id"])) if found.steps.num_rows else 0
        return found if logged == min(log_episodes, episodes) else None

    def put(self, key: str, tables: CellTables) -> None:
        """Keep a cell until the evaluation is finished; one that a crash leaves in part is computed again.

        Arrow streams behind a checksum: a Parquet file of so few rows costs more than the cell is worth.
        """
        sink = io.BytesIO()
        for table in (tables.episodes, tables.steps):
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        content = sink.getbuffer()
        checksum = zlib.crc32(content).to_bytes(4, "big")
        write_atomic(self._place(key), lambda file: (file.write(checksum), file.write(content)), durable=False)

    def finish(self, reported: Sequence[CellTables], selection: Sequence[CellTables]) -> None:
        """Write episodes, selection and step log of the whole evaluation in the place of those of an earlier one."""
        rewrite_stage(self.run_dir, STAGE, pa.concat_tables([cell.steps for cell in reported]), self._schema)
        write_table_atomic(self.run_dir / EPISODES, pa.concat_tables([cell.episodes for cell in reported]))
        if selection:
            write_table_atomic(self.run_dir / SELECTION, pa.concat_tables([cell.episodes for cell in selection]))
        else:
            (self.run_dir / SELECTION).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the partial cells, once evaluation.json is written."""
        if not self.partial.is_dir():
            return
        for file in self.partial.glob("*.cell*"):
            file.unlink()
        self.partial.rmdir()

    def _in_partial(self, key: str) -> CellTables | None:
        try:
            content = self._place(key).read_bytes()
        except FileNotFoundError:
            return None
        if zlib.crc32(content[4:]).to_bytes(4, "big") != content[:4]:
            return None
        source = io.BytesIO(content[4:])
        return CellTables(pa.ipc.open_stream(source).read_all(), pa.ipc.open_stream(source).read_all())

    def _place(self, key: str) -> Path:
        return self.partial / f"{key}.cell"

    def _in_finished(self, key: str) -> CellTables | None:
        if self._finished is None or "cell" not in self._finished.schema.names:
            return None
        episodes = self._finished.filter(pc.equal(self._finished["cell"].cast(pa.string()), key))
        steps = self._steps.filter(pc.equal(self._steps["cell"].cast(pa.string()), key))
        return CellTables(episodes, steps) if episodes.num_rows else None

    def _finished_steps(self) -> pa.Table:
        try:
            steps = read_steps(self.run_dir, STAGE)
        except LogError:
            return self._schema.empty_table()  # none yet, or damaged: the cells are computed again
        return steps if steps.schema.equals(self._schema) else self._schema.empty_table()


def _readable(path: Path) -> pa.Table | None:
    """Read a table if it is there and whole; what is damaged is computed again."""
    if not path.exists():
        return None
    try:
        return read_parquet(path)
    except LogError:
        return None


def _concatenated(tables: Sequence[pa.Table | None]) -> pa.Table | None:
    present = [table for table in tables if table is not None]
    return pa.concat_tables(present, promote_options="default") if present else None
