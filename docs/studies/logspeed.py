"""What the step log costs: rows a second in and out, a query, one row in a control loop, and its share of a command.

Ten million rows of the schema of a plant are written in batches to two stages, verified, and asked a question in SQL;
single rows are appended as a roll-out does. With ``--run`` a training as that of the run begins anew, a copy of the run is
evaluated and rolled out again, and the time inside of the log's own calls is set against the whole. Rows go to
``logspeed.parquet``, the table to ``docs/results.md``. Needs the extra ``sql``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from results_page import PAGE, put

from fpo_pilot.commands.console import note
from fpo_pilot.evidence.recompute import recompute_rollouts
from fpo_pilot.logs.query import query
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.verify import verify_run
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import ROLLOUT, writing
from fpo_pilot.specs import PlantSpec, SafetySpec, load_plant_spec, load_safety_spec

ROWS = Path(__file__).resolve().parent / "logspeed.parquet"
PLANT, SEED, BATCH, EPISODE = "cstr_safety", 5000, 65_536, 200
STAGES = ("shadow", "full")
UPDATES = 40
"""Of the training that is timed."""
QUERY = """
SELECT stage, count(*), avg("obs.T"), max("obs.T"), quantile_cont("act.applied.Tc", 0.95)
FROM steps WHERE stage = 'full' AND "obs.T" > 350 GROUP BY stage
"""
Found = list[dict[str, Any]]


def specs_of(plant: str) -> tuple[PlantSpec, SafetySpec]:
    """Read the specs of a shipped plant."""
    spec = load_plant_spec(plant)
    safety = load_safety_spec(plant, spec)
    if safety is None:
        raise SystemExit(f"{plant}: found no safety spec, expected one")
    return spec, safety


def batch_of(schema: Any, rows: int, generator: np.random.Generator) -> dict[str, Any]:
    """Return columns as a plant gives them: slow walks with noise on every measured column, flags, texts, reasons."""
    steps = np.arange(rows)
    columns: dict[str, Any] = {
        "episode_id": steps // EPISODE,
        "block_id": steps // EPISODE,
        "step": steps % EPISODE,
        "arm": "policy",
        "mode": "sampled",
        "scenario": "nominal",
        "shield": True,
        "authority": 1.0,
        "shield.active": generator.random(rows) < 0.05,
        "terminated": False,
        "truncated": steps % EPISODE == EPISODE - 1,
        "latency_us": generator.integers(500, 1500, rows),
        "deadline_miss": False,
    }
    columns["shield.reasons"] = [["rate:Tc"] if active else [] for active in columns["shield.active"]]
    for field in schema:
        kind, _, _ = field.name.partition(".")
        if kind in {"obs", "ref", "act", "reward", "margin"}:
            walk = np.cumsum(generator.normal(0.0, 0.02, rows)) + generator.normal(350.0, 0.3, rows)
            columns[field.name] = walk.astype(np.float32)
        elif kind == "quality":
            columns[field.name] = np.zeros(rows, np.uint8)
    return {name: value for name, value in columns.items() if name in schema.names}


def write(run_dir: Path, rows: int) -> Found:
    """Write ``rows`` rows to two stages, batch by batch; the batches themselves are made beforehand."""
    schema = step_schema(*specs_of(PLANT))
    generator = np.random.default_rng(SEED)
    pool = [batch_of(schema, BATCH, generator) for _ in range(4)]
    period = np.timedelta64(1, "s").astype("timedelta64[ns]")
    start = np.datetime64("2026-01-01", "ns")
    spent, number, longest = 0.0, 0, 0.0
    with writing(run_dir, "rollout", ROLLOUT):
        for stage, until in zip(STAGES, (rows // 2, rows), strict=True):
            began = time.perf_counter()
            log = StepLog(run_dir, stage, schema)
            log.resume_at(number)
            spent += time.perf_counter() - began
            while number < until:
                size = min(BATCH, until - number)
                columns = {
                    name: value[:size] if isinstance(value, np.ndarray | list) else value
                    for name, value in pool[(number // BATCH) % len(pool)].items()
                }
                times = start + (number + np.arange(size)) * period
                began = time.perf_counter()
                log.append({"t": times, **columns})
                took = time.perf_counter() - began
                spent, number, longest = spent + took, number + size, max(longest, took)
            began = time.perf_counter()
            log.close()
            spent += time.perf_counter() - began
        began = time.perf_counter()
    entered = time.perf_counter() - began
    size = sum(path.stat().st_size for path in run_dir.rglob("*.parquet"))
    asked = "at least 200,000 rows/s"
    return [
        {
            "what": f"rows written, {len(schema)} columns",
            "value": rows / spent,
            "unit": "rows/s",
            "n": rows,
            "asked": asked,
        },
        {"what": "size of a row on the disk", "value": size / rows, "unit": "bytes", "n": rows, "asked": ""},
        {"what": "entering the segments in the ledger", "value": entered, "unit": "s", "n": rows, "asked": ""},
    ]


def read(run_dir: Path, rows: int) -> Found:
    """Verify and query what was written; the files are in the system's cache."""
    found = []
    for deep in (False, True):
        began = time.perf_counter()
        checked = verify_run(run_dir, deep=deep)
        if not checked.intact:
            raise SystemExit(f"verify: {checked.faults[0]}")
        took = time.perf_counter() - began
        name = "verify --deep, pages of all tables" if deep else "verify"
        found.append(
            {"what": name, "value": checked.size / took / 1e6, "unit": "MB/s", "n": rows, "asked": "at least 50 MB/s"}
        )
    times = []
    for _ in range(5):
        began = time.perf_counter()
        answer = query(run_dir, QUERY, limit=10)
        times.append(time.perf_counter() - began)
    if len(answer.rows) != 1 or not 0 < answer.rows[0][1] <= rows:
        raise SystemExit(f"query: found {answer.rows}, expected one row of one stage")
    what = "DuckDB query by stage and tag, slowest of 5"
    return [*found, {"what": what, "value": max(times), "unit": "s", "n": rows, "asked": "under 1 s"}]


def single(run_dir: Path, rows: int) -> Found:
    """Append single rows, as a control loop does, and close."""
    schema = step_schema(*specs_of(PLANT))
    columns = batch_of(schema, rows, np.random.default_rng(SEED))
    plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in columns.items()}
    listed = [{k: v[i] if isinstance(v, list) else v for k, v in plain.items()} for i in range(rows)]
    times = np.empty(rows)
    with StepLog(run_dir, "shadow", schema) as log:
        for i, row in enumerate(listed):
            began = time.perf_counter()
            log.append_row({"t": i * 1_000_000_000, **row})
            times[i] = time.perf_counter() - began
    return [
        {"what": f"one row, {name}", "value": float(value) * 1e6, "unit": "µs", "n": rows, "asked": ""}
        for name, value in (
            ("median", np.median(times)),
            ("99.9 %", np.quantile(times, 0.999)),
            ("slowest", times.max()),
        )
    ]


@contextmanager
def timed(*places: tuple[type, str]) -> Iterator[list[float]]:
    """Add up the seconds spent in some methods."""
    spent, before = [0.0], [(owner, name, getattr(owner, name)) for owner, name in places]

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return real(*args, **more)
            finally:
                spent[0] += time.perf_counter() - began

        return call

    for owner, name, real in before:
        setattr(owner, name, wrapped(real))
    try:
        yield spent
    finally:
        for owner, name, real in before:
            setattr(owner, name, real)


def share(run: Path, folder: Path, episodes: int) -> Found:
    """Train a short while, then evaluate and roll out a copy of a run; return which share of the time its log took."""
    from fpo_pilot.commands.evaluate import evaluate_run
    from fpo_pilot.commands.rollout import rollout_run
    from fpo_pilot.commands.train import train_run
    from fpo_pilot.evaluate.store import CellStore
    from fpo_pilot.learn.step_record import StepRecorder
    from fpo_pilot.learn.training_log import TrainingLog
    from fpo_pilot.logs.manifest import Manifest
    from fpo_pilot.logs.writing import writing
    from fpo_pilot.rollout.record import Recorder
    from fpo_pilot.specs.training import training_spec_of

    manifest = Manifest.read(run)
    spec = training_spec_of(manifest.training_spec)
    short = spec.model_copy(update={"total_steps": UPDATES * spec.num_envs * spec.rollout_steps})
    copy = folder / run.name
    copy.mkdir()
    for name in ("manifest.json", "metrics.parquet", "checkpoints"):  # all else is computed and logged again
        (shutil.copytree if (run / name).is_dir() else shutil.copy2)(run / name, copy / name)
    with writing(copy, "copy", ("manifest.json", "metrics.parquet", "checkpoints/*"), begin_ledger=True):
        pass  # a copy without its history begins a ledger of its own
    rows = []
    for command, places, go in (
        (
            "train",
            (
                *((StepRecorder, name) for name in ("before", "after")),
                *((TrainingLog, name) for name in ("note", "commit")),
                (StepLog, "close"),
            ),
            lambda: train_run(manifest.plant, short, folder / "trained", seed=manifest.seed, quiet=True),
        ),
        (
            "evaluate",
            (
                (CellStore, "put"),
                (CellStore, "finish"),
                (CellStore, "clear"),
                *((StepRecorder, name) for name in ("before", "after", "taken", "columns")),
            ),
            lambda: evaluate_run(copy, (), episodes=None, seed=1000, quiet=True),
        ),
        (
            "rollout",
            ((Recorder, "cycle"), (Recorder, "block"), (Recorder, "commit"), (Recorder, "finish")),
            lambda: rollout_run(copy, max_episodes=episodes, quiet=True),
        ),
    ):
        note(f"{command} of {copy.name}")
        with timed(*places) as spent:
            began = time.perf_counter()
            go()
            whole = time.perf_counter() - began
        asked = "under 3 %" if command == "evaluate" else ""
        rows.append(
            {
                "what": f"share of `{command}` that its log takes",
                "value": 100.0 * spent[0] / whole,
                "unit": "%",
                "n": 1,
                "asked": asked,
            }
        )
    if any(recompute_rollouts(copy)):
        raise SystemExit(f"{copy}: found a roll-out whose verdicts cannot be recomputed")
    return rows


def table_lines(rows: pd.DataFrame) -> list[str]:
    """Return the table of results.md."""
    lines = ["| what | measured | asked | n |", "|---|---|---|---|"]
    for row in rows.to_dict("records"):
        value = f"{row['value']:,.0f}" if row["value"] >= 1000 else f"{row['value']:.3g}"
        lines.append(f"| {row['what']} | {value} {row['unit']} | {row['asked']} | {row['n']:,} |")
    return [
        *lines,
        "",
        "Command: `python docs/studies/logspeed.py --run RUN`, seed 5000. Machine: two CPU cores, x86_64, Python 3.11.7.",
    ]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--single", type=int, default=100_000)
    parser.add_argument("--episodes", type=int, default=40, help="of the roll-out that is timed")
    parser.add_argument("--run", type=Path, help="a trained run to evaluate and roll out again")
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fpo-pilot-logspeed-") as name:
        folder = Path(name)
        found = write(folder / "many", options.rows)
        found += read(folder / "many", options.rows)
        found += single(folder / "single", options.single)
        if options.run is not None:
            found += share(options.run, folder, options.episodes)
    rows = pd.DataFrame(found)
    if options.no_page:
        note("\n".join(table_lines(rows)))
        return
    rows.to_parquet(ROWS, index=False)
    put("logspeed", table_lines(rows))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
