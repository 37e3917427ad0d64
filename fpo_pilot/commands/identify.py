"""``fpo-pilot identify``: a model of a plant from logged data, with its errors and whether to train on it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fpo_pilot.commands.console import note, say, say_json, table
from fpo_pilot.errors import SpecError
from fpo_pilot.logs.atomic import without_nan, write_text_atomic
from fpo_pilot.specs import content, load_plant_spec, load_safety_spec

if TYPE_CHECKING:
    from fpo_pilot.identification import Identification, Kind, Language, PlantLog, Reason
    from fpo_pilot.specs.plant import PlantSpec

MODELS: tuple[Kind, ...] = ("linear", "neural")
LANGUAGES: tuple[Language, ...] = ("en", "ja")


def run_identify(log_file: Path, plant_name: str, model: str, *, out: Path | None, seed: int, as_json: bool) -> int:
    """Identify a plant, write it as a plant of the project, and print errors and verdict."""
    import torch

    from fpo_pilot.identification import identify, read_log, refuse_folder, refuse_unmeasured, write_project

    kind = next((one for one in MODELS if one == model), None)
    if kind is None:
        raise SpecError("--model", model, f"one of {', '.join(MODELS)}", "Choose one of them.")
    torch.set_num_threads(1)  # networks of this size gain nothing from a second, and the result is the same to the bit
    plant_file = content.find_plant(plant_name)
    plant = load_plant_spec(plant_file, has_model=False)
    safety = load_safety_spec(plant_file, plant)
    folder = out or (content.project_root() or Path()) / "envs" / f"{plant.plant.id}_identified"
    refuse_folder(folder)
    refuse_unmeasured(plant, safety)
    log = read_log(log_file, plant)
    result = identify(log, plant, safety, kind=kind, seed=seed)
    dropped = write_project(result, log, plant, safety, plant_file, folder)
    result = result.with_reasons(_failed_checks(folder))
    _write_texts(result, log, plant, dropped, folder)
    if as_json:
        say_json(_as_json(result, log, folder))
    else:
        _show(result, log, folder)
    return 0 if result.good_enough else 1


def _failed_checks(folder: Path) -> tuple[Reason, ...]:
    from fpo_pilot.identification import Reason
    from fpo_pilot.plants.check import check_plant
    from fpo_pilot.plants.load import load_plant

    results = check_plant(load_plant(folder))
    return tuple(Reason("check", one.name, 0.0, 1.0, one.detail) for one in results if not one.passed)


def _write_texts(
    result: Identification, log: PlantLog, plant: PlantSpec, dropped: tuple[str, ...], folder: Path
) -> None:
    from fpo_pilot.identification import readme
    from fpo_pilot.reporting.figures import draw
    from fpo_pilot.reporting.prediction_figure import prediction_figure
    from fpo_pilot.reporting.texts import load_speaker

    example = result.example
    figure = prediction_figure(
        plant,
        result.signals,
        example.measured.numpy(),
        example.predicted.numpy(),
        example.half_width.numpy(),
        result.intervals.level,
    )
    for language in LANGUAGES:
        file = "README.md" if language == "en" else f"README.{language}.md"
        text = readme(result, log, name=folder.name, plant=plant.plant.id, dropped=dropped, language=language)
        write_text_atomic(folder / file, text)
        write_text_atomic(folder / f"prediction.{language}.svg", str(draw(figure, load_speaker(language))))


def _show(result: Identification, log: PlantLog, folder: Path) -> None:
    from fpo_pilot.identification import reason_text

    episodes, ahead = result.episodes, result.ahead
    note(
        f"{log.rows} rows, {log.rows_bad} not used for bad quality or range, {log.rows_elsewhere} of other scenarios; "
        f"episodes: {', '.join(f'{name} {count}' for name, count in episodes.items())}"
    )
    table(
        f"{result.kind} model of order {result.linear.order}: errors on {episodes['test']} test episodes",
        ("signal", "unit", "1 step", "of spread", f"{ahead} steps", "of spread", "nothing changes", "mean", "interval ±",
         "covered"),
        (
            (s.name, s.unit, f"{s.one.model:.3g}", f"{s.share_one:.1%}", f"{s.many.model:.3g}", f"{s.share:.1%}",
             f"{s.many.persistence:.3g}", f"{s.many.mean:.3g}", f"{s.many.half_width:.3g}",
             f"{s.episodes_covered} of {episodes['test']}")
            for s in result.accuracy
        ),
    )  # fmt: skip
    say(f"intervals: {result.intervals.level:.0%} for a whole episode, from {result.intervals.episodes} episodes")
    for moved in result.excitation:
        say(f"action {moved.action}: moved {moved.moved:.1%} of its range, {moved.own:.1%} by itself")
    say(f"wrote {folder}")
    for reason in result.reasons:
        say(f"not good enough: {reason_text(reason, ahead)}")
    if result.good_enough:
        say(f"verdict: good enough to train on. next: fpo-pilot check {folder.name} && fpo-pilot train {folder.name}")
    else:
        say("verdict: NOT good enough to train on")


def _as_json(result: Identification, log: PlantLog, folder: Path) -> object:
    from fpo_pilot.identification import reason_text

    return without_nan(
        {
            "plant": str(folder),
            "good_enough": result.good_enough,
            "reasons": [asdict(reason) | {"text": reason_text(reason, result.ahead)} for reason in result.reasons],
            "model": {"kind": result.kind, **asdict(result.linear)},
            "seed": result.seed,
            "rows": {"read": log.rows, "bad": log.rows_bad, "other_scenarios": log.rows_elsewhere, "gaps": log.gaps},
            "episodes": result.episodes,
            "steps_ahead": result.ahead,
            "signals": [
                asdict(signal) | {"share_one": signal.share_one, "share": signal.share} for signal in result.accuracy
            ],
            "actions": [asdict(moved) for moved in result.excitation],
            "intervals": {"level": result.intervals.level, "calibration_episodes": result.intervals.episodes},
            "thresholds": asdict(result.thresholds),
        }
    )
