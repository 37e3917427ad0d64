"""``fpo-pilot export``: the deployed policy of a run for another runtime, of which only the box is inside; or its step log."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fpo_pilot import __version__
from fpo_pilot.commands.console import note, say, say_json
from fpo_pilot.commands.deployment import FILE, deployment_of, evaluation_of
from fpo_pilot.commands.export_log import Format, run_export_log
from fpo_pilot.errors import ExportError
from fpo_pilot.exports.choice import NOMINAL, Action, Choice, Observations
from fpo_pilot.exports.target import check_target
from fpo_pilot.logs.atomic import write_atomic
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.load import GYM

if TYPE_CHECKING:
    from fpo_pilot.evaluate import Evaluation
    from fpo_pilot.learn import Deployment, TrainedPolicy
    from fpo_pilot.learn.graph import Parity
    from fpo_pilot.plants.plant import Plant

WARNING = (
    "Only the box (low and high of each action) is inside this file: no rate, no interlock, no sequence, no predictive "
    "layer. It has no authority by itself: its actions are proposals to the shield stack of fpo-pilot, or of the plant."
)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder, such as runs/cstr-fpo-0.")],
    onnx: Annotated[
        Path | None, typer.Option("--onnx", help="The policy: the ONNX file to write (extra `onnx`).")
    ] = None,
    noise_input: Annotated[
        bool,
        typer.Option("--noise-input", help="With --onnx: the sampler's standard normal noise is a second input."),
    ] = False,
    minari: Annotated[
        Path | None, typer.Option("--minari", help="The step log: the Minari data set to write (extra `minari`).")
    ] = None,
    lerobot: Annotated[
        Path | None, typer.Option("--lerobot", help="The step log: the LeRobot data set v3.0 to write (no extra).")
    ] = None,
    d3rlpy: Annotated[
        Path | None, typer.Option("--d3rlpy", help="The step log: d3rlpy's HDF5 file to write (extra `d3rlpy`).")
    ] = None,
    stage: Annotated[list[str] | None, typer.Option("--stage", help="Of the log, repeatable; all if none.")] = None,
    arm: Annotated[list[str] | None, typer.Option("--arm", help="Who drove, repeatable; all if none.")] = None,
    scenario: Annotated[
        list[str] | None, typer.Option("--scenario", help="Repeatable; nominal if none; `all` for every one.")
    ] = None,
    shielded: Annotated[bool, typer.Option("--shielded", help="Pass over episodes with the shield off.")] = False,
    action: Annotated[
        Action | None, typer.Option("--action", help="What moved the plant (default), or what was asked for.")
    ] = None,
    observations: Annotated[
        Observations | None,
        typer.Option("--observations", help="What a policy sees (default), or readings in engineering units."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file, or an earlier export.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output.")] = False,
) -> None:
    """Write the policy as ONNX (1: it differs from torch; ONLY THE BOX IS INSIDE), or the step log as a data set."""
    targets: dict[Format, Path | None] = {"--minari": minari, "--lerobot": lerobot, "--d3rlpy": d3rlpy}
    asked = [option for option, path in (("--onnx", onnx), *targets.items()) if path is not None]
    if len(asked) != 1:
        raise typer.BadParameter("name one of --onnx FILE, --minari DIR, --lerobot DIR, --d3rlpy FILE")
    if onnx is not None:
        of_a_log = {"--stage": stage, "--arm": arm, "--scenario": scenario, "--shielded": shielded}
        of_a_log |= {"--action": action is not None, "--observations": observations is not None}
        useless = [option for option, given in of_a_log.items() if given]
        if useless:
            raise typer.BadParameter(f"{useless[0]} is of a step log; --onnx exports a policy")
        raise typer.Exit(run_export(run, onnx, noise_input=noise_input, force=force, as_json=json))
    if noise_input:
        raise typer.BadParameter(f"--noise-input is of a policy; {asked[0]} exports a step log")
    choice = Choice(
        stages=tuple(stage or ()),
        arms=tuple(arm or ()),
        scenarios=tuple(scenario or (NOMINAL,)),
        shielded=shielded,
        action=action or Action.APPLIED,
        observations=observations or Observations.POLICY,
    )
    option, target = next((option, path) for option, path in targets.items() if path is not None)
    raise typer.Exit(run_export_log(run, option, target, choice, force=force, as_json=json))


def run_export(run_dir: Path, file: Path, *, noise_input: bool, force: bool, as_json: bool) -> int:
    """Export, compare with torch, and leave the file only where they agree; 0, or 1 where they do not."""
    manifest = Manifest.read(run_dir)
    check_target("--onnx", run_dir, file, force=force)
    import torch

    from fpo_pilot.learn import load_policy
    from fpo_pilot.learn.graph import TOLERANCE, DeployedGraph, check_parity, write_graph
    from fpo_pilot.learn.libraries import library

    torch.set_num_threads(1)  # one action at a time: a second thread only waits
    for name in ("onnx", "onnxruntime"):
        library("--onnx", name, "onnx")
    plant = _plant(manifest, run_dir)
    _check_weights(manifest, run_dir)
    policy = load_policy(run_dir)
    evaluation = evaluation_of(run_dir, policy)
    deployment = _deployment(run_dir, policy, evaluation, noise_input=noise_input)
    facts = metadata(manifest, plant, deployment, "none" if evaluation is None else evaluation.verdict.result)
    content = write_graph(DeployedGraph(policy, deployment, plant).eval(), facts, noise_input=noise_input)
    parity = check_parity(content, policy, deployment, plant)
    if parity.holds:
        write_atomic(file, lambda out: out.write(content))
    _show(file, facts, parity, TOLERANCE, as_json=as_json)
    return 0 if parity.holds else 1


def metadata(manifest: Manifest, plant: Plant, deployment: Deployment, verdict: str) -> dict[str, str]:
    """Return what the file says of itself; structures are JSON. ``verdict``: of the offline evaluation, or none."""
    from fpo_pilot.plants.observations import entry_scales

    observation = [
        {"name": name, "unit": unit, "minus_one": low, "plus_one": high}
        for name, unit, (low, high) in entry_scales(plant)
    ]
    box = zip(plant.action_names, plant.action_low, plant.action_high, strict=True)
    action = [
        {"name": name, "unit": plant.spec.signals[name].unit, "low": low, "high": high} for name, low, high in box
    ]
    settings = {
        "noise_scale": deployment.noise_scale,
        "method": deployment.method,
        "steps": deployment.steps,
        "candidates": deployment.candidates,
    }
    return {
        "warning": WARNING,
        "authority": "none",
        "fpo_pilot_version": __version__,
        "run_id": manifest.run_id,
        "plant": manifest.plant,
        "algorithm": manifest.algorithm,
        "deployment": deployment.label,
        "deployment_settings": json.dumps(settings),
        "evaluation_verdict": verdict,
        "model_sha256": str(manifest.hashes.get("model")),
        "plant_sha256": str(manifest.hashes.get("plant")),
        "safety_sha256": str(manifest.hashes.get("safety")),
        "training_sha256": str(manifest.hashes.get("training")),
        "period_seconds": repr(plant.period),
        "observation": json.dumps(observation, ensure_ascii=False),
        "action": json.dumps(action, ensure_ascii=False),
        "not_finite": "A row with an input that is NaN or infinite gives NaN for every action.",
    }


def _plant(manifest: Manifest, run_dir: Path) -> Plant:
    """Load the plant of the run; another spec would give its numbers another meaning."""
    from fpo_pilot.plants.load import load_plant

    if manifest.plant.startswith(GYM):
        raise ExportError(
            f"{run_dir}: found a policy for {manifest.plant}, expected one for a plant: without a safety spec there is no "
            "box to cut to. Declare the task as a plant."
        )
    plant = load_plant(manifest.plant)
    if plant.safety is None:
        raise ExportError(
            f"{run_dir}: found no safety spec of {plant.name}, expected one: without it there is no box to cut to. "
            f"Write safety/{plant.name}.yaml and train again."
        )
    now = {"plant": spec_hash(plant.spec), "safety": spec_hash(plant.safety)}
    changed = [name for name, value in now.items() if manifest.hashes.get(name) != value]
    if changed:
        raise ExportError(
            f"{run_dir}: found another {' and '.join(changed)} spec than that of the training, expected the same: scales "
            "and limits are part of the graph. Restore it, or train again."
        )
    return plant


def _check_weights(manifest: Manifest, run_dir: Path) -> None:
    """Refuse a run that has no best policy, or whose policy is not that of its manifest."""
    from fpo_pilot.learn.checkpoint import checkpoint_path

    path = checkpoint_path(run_dir, "best")
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
    if found is None or found != manifest.hashes.get("model"):
        what = "nothing" if found is None else "other weights than those that the manifest names"
        raise ExportError(
            f"{path}: found {what}, expected the policy of this run. Finish its training "
            f"(`fpo-pilot train --resume {run_dir}`), or restore it; `fpo-pilot verify {run_dir}` lists what was changed."
        )


def _deployment(
    run_dir: Path, policy: TrainedPolicy, evaluation: Evaluation | None, *, noise_input: bool
) -> Deployment:
    """Return the evaluated deployment, or that without noise; refuse a noise that is declared and not given."""
    if evaluation is None:
        return replace(policy.modes()[0], noise_scale=1.0 if noise_input else 0.0)
    chosen = deployment_of(evaluation, run_dir)
    if noise_input and chosen.noise_scale == 0.0:
        raise ExportError(
            f"--noise-input: found the deployment `{chosen.label}` in {run_dir / FILE}, expected one with noise: the "
            "input would change nothing. Leave the option out."
        )
    if not noise_input and chosen.noise_scale > 0.0:
        raise ExportError(
            f"{run_dir / FILE}: found the deployment `{chosen.label}`, expected one without noise: a graph draws none, "
            "and without it would be another policy than was evaluated. Give --noise-input, and draw the noise outside."
        )
    return chosen


def _show(file: Path, facts: dict[str, str], parity: Parity, tolerance: float, *, as_json: bool) -> None:
    if as_json:
        found = {
            "worst": parity.worst if parity.worst < float("inf") else None,
            "tolerance": tolerance,
            "rows": parity.rows,
            "seed": parity.seed,
            "holds": parity.holds,
        }
        say_json({"file": str(file) if parity.holds else None, "metadata": facts, "parity": found})
    else:
        say(f"deployment: {facts['deployment']}; verdict of the offline evaluation: {facts['evaluation_verdict']}")
        say(
            f"onnxruntime against torch: {parity.worst:.2g} of the action's span on {parity.rows} random observations "
            f"(seed {parity.seed}, asked: below {tolerance:g})"
        )
        say(f"written: {file}" if parity.holds else f"NOT written, they differ: {file}")
    note(f"WARNING: {WARNING}")
