"""``fpo-pilot ingest``: a historian's export becomes the step log of a run, with an account of what it is worth."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fpo_pilot.commands.console import note, say, say_json, table
from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import without_nan, write_json_atomic, write_text_atomic
from fpo_pilot.logs.ledger import file_hash
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.reader import HISTORY
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import writing
from fpo_pilot.specs import content, load_ingestion_map, load_plant_spec, load_safety_spec, spec_hash

COVERS = ("manifest.json", "ingestion.json", "data_quality.*", f"steps/stage={HISTORY}/*")


def run_ingest(files: Sequence[Path], plant_name: str, map_file: Path, *, out: Path | None, as_json: bool) -> int:
    """Read the files, write the run folder, and print what is worth a look."""
    from fpo_pilot.ingestion import ingest, quality_report, read_export
    from fpo_pilot.ingestion.account import LANGUAGES, markdown, warnings
    from fpo_pilot.ingestion.declared import DeclaredPlant

    plant_file = content.find_plant(plant_name)
    spec = load_plant_spec(plant_file, has_model=False)
    safety = load_safety_spec(plant_file, spec)
    wanted = load_ingestion_map(map_file, spec)
    folder = _new_folder(out, spec.plant.id)
    exports = [read_export(path, wanted, spec) for path in files]
    declared = DeclaredPlant(spec, safety)
    found = ingest(exports, wanted, declared)
    report = quality_report(found, declared, tuple(files), declared.action_limits, wanted.behavior_density)
    command = shlex.join(["fpo-pilot", "ingest", *map(str, files), "--plant", plant_name, "--map", str(map_file)])
    manifest = Manifest.collect(
        run_id=folder.name,
        algorithm="history",
        command=command,
        seed=0,
        device="cpu",
        plant_spec=spec,
        safety_spec=safety,
    )
    hashes = [(path.name, *file_hash(path)) for path in files]
    sources = [{"name": name, "sha256": digest, "bytes": size} for name, digest, size in hashes]
    with writing(folder, "ingest", COVERS):
        schema = step_schema(spec, safety)
        with StepLog(folder, HISTORY, schema, metadata={"behavior_density": wanted.behavior_density}) as log:
            if log.next_seq:
                raise LogError(
                    f"{folder}: found {log.next_seq} rows of an ingestion that was cut short, expected a new folder. "
                    "Remove it, or name another: rows would be there twice."
                )
            constant = {
                "arm": "incumbent",
                "authority": 0.0,
                "plant_hash": spec_hash(spec),
                "safety_hash": None if safety is None else spec_hash(safety),
            }
            log.append({**found.columns, **constant})
        write_json_atomic(folder / "ingestion.json", {"sources": sources, "map": wanted.model_dump(mode="json")})
        write_json_atomic(folder / "data_quality.json", without_nan(report.model_dump(mode="json")))
        for language in LANGUAGES:
            write_text_atomic(folder / f"data_quality.{language}.md", markdown(report, language))
        manifest.write(folder)
    if as_json:
        say_json(without_nan({"run": str(folder), **report.model_dump(mode="json")}))
        return 0
    table(
        f"{spec.plant.id}: {report.rows:,} steps, {report.episodes} episodes, {report.gap_count} gaps",
        ("signal", "unit", "least", "mean", "greatest", "missing", "held", "out of range", "visited"),
        (
            (s.signal, s.unit, f"{s.least:.4g}", f"{s.mean:.4g}", f"{s.greatest:.4g}", f"{s.missing:.1%}", f"{s.held:.1%}",
             f"{s.outside:.1%}", f"{s.visited:.0%}")
            if s.least is not None and s.mean is not None and s.greatest is not None and s.visited is not None
            else (s.signal, s.unit, "–", "–", "–", f"{s.missing:.1%}", f"{s.held:.1%}", f"{s.outside:.1%}", "–")
            for s in report.signals
        ),
    )  # fmt: skip
    for line in warnings(report, "en"):
        say(f"worth a look: {line}")
    if report.no_reward:
        say(f"no reward: the log does not have {', '.join(report.no_reward)}")
    note(f"wrote {folder}; the report is data_quality.en.md, and .ja.md")
    return 0


def _new_folder(out: Path | None, plant: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = out or (content.project_root() or Path()) / "runs" / f"{plant}-history-{stamp}"
    blocked = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if blocked is not None:
        raise LogError(f"{blocked}: found a file, expected a folder for the run, or nothing. Name another with --out.")
    if (folder / "manifest.json").exists():
        raise LogError(
            f"{folder}: found a run there, expected a new folder. History is never overwritten: name another."
        )
    return folder
