"""Reads a run folder, and says what is missing and how to get it when something is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import ValidationError

from fpo_pilot.errors import ReportError
from fpo_pilot.logs.ledger import read_ledger, root_of, settled
from fpo_pilot.reporting.spec_views import View
from fpo_pilot.reporting.views import EvaluationView, ManifestView, RolloutView

ViewT = TypeVar("ViewT", bound=View)

NEEDED_COLUMNS = {
    "metrics.parquet": ("steps", "return_mean"),
    "episodes.parquet": (
        "arm",
        "mode",
        "shield",
        "scenario",
        "episode_id",
        "seed",
        "steps",
        "return",
        "violations_hard",
    ),
    "events.parquet": ("seq", "kind"),
    "blocks.parquet": ("seq", "stage", "arm", "violations_hard"),
}
HOW_TO_GET = {
    "manifest.json": "Name a folder made by `fpo-pilot train`",
    "evaluation.json": "Run `fpo-pilot evaluate {run}`",
    "episodes.parquet": "Run `fpo-pilot evaluate {run}` again",
    "metrics.parquet": "Run `fpo-pilot train --resume {run}`",
    "rollout.json": "Run `fpo-pilot rollout {run}`",
    "events.parquet": "Run `fpo-pilot rollout {run}` again",
    "blocks.parquet": "Run `fpo-pilot rollout {run}` again",
    "steps": "Run `fpo-pilot evaluate {run}` again",
}


@dataclass(frozen=True)
class Run:
    """Everything that the report reads; a part that a run does not have yet is ``None``."""

    folder: Path
    manifest: ManifestView
    metrics: pa.Table | None
    evaluation: EvaluationView | None
    episodes: pa.Table | None
    rollout: RolloutView | None
    events: pa.Table | None
    blocks: pa.Table | None
    comparisons: tuple[Run | Missing, ...] = ()
    drills: tuple[Drill, ...] = ()
    ledger: tuple[int, str] | None = None
    """Lines and root of the ledger before any report was entered."""

    def step_files(self, stage: str) -> list[Path]:
        """Step log segments of a stage, in order."""
        return sorted((self.folder / "steps" / f"stage={stage}").glob("*.parquet"))

    def logged_stages(self) -> list[str]:
        """Stages with a step log, in the order of their names."""
        return sorted(path.name.removeprefix("stage=") for path in (self.folder / "steps").glob("stage=*"))

    def steps(self, stage: str, columns: list[str], where: ds.Expression | None = None) -> pa.Table | None:
        """Named columns of a stage's step log (those that exist), or ``None`` without a log."""
        files = self.step_files(stage)
        if not files:
            return None
        try:
            source = ds.dataset([str(file) for file in files], format="parquet")
            known = [column for column in columns if column in source.schema.names]
            return source.to_table(columns=known, filter=where)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as problem:
            raise self._broken(f"steps/stage={stage}", str(problem), "steps") from problem

    def _broken(self, name: str, found: str, recipe: str) -> ReportError:
        return _report_error(self.folder, name, found, "a readable Parquet log", recipe)


@dataclass(frozen=True)
class Drill:
    """A roll-out with a fault put in on purpose, in ``drills/`` of the run folder."""

    name: str
    rollout: RolloutView
    events: pa.Table | None

    @property
    def passed(self) -> bool:
        """Whether the incumbent was in charge at its end."""
        return not self.rollout.final_authority


@dataclass(frozen=True)
class Missing:
    """A compared run that is named but not there."""

    folder: str


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Args:
        folder: a folder that ``fpo-pilot train`` made; evaluation and roll-out may be absent as a whole, not by halves.

    Returns:
        The artefacts.

    Raises:
        ReportError: something is missing or not as declared; the message says what, where and how to mend it.
    """
    if not folder.is_dir():
        raise ReportError(f"{folder}: found no folder, expected a run folder. {HOW_TO_GET['manifest.json']}.")
    own = _read_one(folder)
    compared = own.evaluation.compared if own.evaluation is not None else ()
    return Run(**{**own.__dict__, "comparisons": tuple(_read_compared(folder, name) for name in compared)})


def _read_one(folder: Path) -> Run:
    manifest = _read_json(folder, "manifest.json", ManifestView)
    if manifest is None:
        raise _report_error(folder, "manifest.json", "no such file", "what a run is", "manifest.json")
    evaluation = _read_json(folder, "evaluation.json", EvaluationView)
    rollout = _read_json(folder, "rollout.json", RolloutView)
    episodes = _read_table(folder, "episodes.parquet")
    if evaluation is not None and episodes is None:
        raise _report_error(folder, "episodes.parquet", "no such file", "it beside evaluation.json", "episodes.parquet")
    events = _read_table(folder, "events.parquet")
    if rollout is not None and events is None:
        raise _report_error(folder, "events.parquet", "no such file", "it beside rollout.json", "events.parquet")
    for name, found in (("evaluation.json", evaluation), ("rollout.json", rollout)):
        if found is not None and found.plant != manifest.plant:
            raise _report_error(
                folder, name, f"plant {found.plant!r}", f"plant {manifest.plant!r} of manifest.json", name
            )
    return Run(
        folder=folder,
        manifest=manifest,
        metrics=_read_table(folder, "metrics.parquet"),
        evaluation=evaluation,
        episodes=episodes,
        rollout=rollout,
        events=events,
        blocks=_read_table(folder, "blocks.parquet"),
        drills=tuple(_read_drills(folder)),
        ledger=_read_root(folder),
    )


def _read_root(folder: Path) -> tuple[int, str] | None:
    records, _ = read_ledger(folder)
    known = settled(records)
    return (len(known), root_of(known)) if known else None


def _read_drills(folder: Path) -> Iterator[Drill]:
    for drill in sorted((folder / "drills").glob("*/")):
        rollout = _read_json(drill, "rollout.json", RolloutView)
        if rollout is not None:
            yield Drill(drill.name, rollout, _read_table(drill, "events.parquet"))


def _read_compared(folder: Path, name: str) -> Run | Missing:
    """A compared run lies beside this one, or where its path says; one that was moved away is told, not fatal."""
    for candidate in (folder / name, folder.parent / Path(name).name, Path(name)):
        if (candidate / "manifest.json").is_file():
            return _read_one(candidate)
    return Missing(Path(name).name)


def _read_json(folder: Path, name: str, view: type[ViewT]) -> ViewT | None:
    path = folder / name
    if not path.is_file():
        return None
    try:
        return view.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise _report_error(folder, name, f"text that is no JSON ({problem})", "a JSON document", name) from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        found = "nothing" if first["type"] == "missing" else repr(first["input"])[:60]
        more = f" ({problem.error_count() - 1} more like it)" if problem.error_count() > 1 else ""
        raise _report_error(folder, f"{name}: {where}", found, f"{first['msg']}{more}", name) from problem


def _read_table(folder: Path, name: str) -> pa.Table | None:
    path = folder / name
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as problem:
        raise _report_error(folder, name, str(problem).splitlines()[0], "a readable Parquet file", name) from problem
    missing = [column for column in NEEDED_COLUMNS[name] if column not in table.schema.names]
    if missing:
        raise _report_error(folder, name, f"no column {', '.join(missing)}", "the columns of this version", name)
    return table


def _report_error(folder: Path, name: str, found: str, expected: str, recipe: str) -> ReportError:
    fix = HOW_TO_GET[recipe.split(":")[0]].format(run=folder)
    return ReportError(f"{folder}: {name}: found {found}, expected {expected}. {fix}.")


def numbers(table: pa.Table, column: str) -> list[float]:
    """A column as floats; nulls become NaN; an absent column is empty."""
    if column not in table.schema.names:
        return []
    filled = pc.fill_null(pc.cast(table[column], pa.float64()), float("nan"))
    return [float(value) for value in filled.to_pylist()]


def strings(table: pa.Table, column: str) -> list[str]:
    """A column as text; nulls become empty; an absent column is empty text in every row."""
    if column not in table.schema.names:
        return [""] * table.num_rows
    return ["" if value is None else str(value) for value in table[column].to_pylist()]
