"""Commands that take logs in and judge by them, and those that judge shields; the command line registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fpo_pilot.commands.options import Json, Run, Seed
from fpo_pilot.errors import CertificateError


def identify(
    log: Annotated[Path, typer.Argument(help="A run folder, or a .parquet or .csv with a column for each signal.")],
    plant: Annotated[str, typer.Option("--plant", help="Its plant.yaml (dynamics are not needed), or its name.")],
    model: Annotated[
        str, typer.Option("--model", help="linear; or neural: a small network on top, kept only where it helps.")
    ] = "neural",
    out: Annotated[Path | None, typer.Option("--out", help="The new plant's folder: envs/NAME.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fit a model of a plant to logged data, and say whether it is good enough to train on (exit code 1: it is not)."""
    from fpo_pilot.commands.identify import run_identify

    raise typer.Exit(run_identify(log, plant, model, out=out, seed=seed, as_json=json))


def ope(
    run: Run,
    log: Annotated[
        Path, typer.Option("--log", help="A run folder with a step log: ingested history, or an evaluation.")
    ],
    arms: Annotated[
        str, typer.Option("--arms", help="Who drove in the episodes to judge by, parted by commas.")
    ] = "incumbent",
    stage: Annotated[
        list[str] | None, typer.Option("--stage", help="A stage of the log to judge by; may be given again.")
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", help="A deployment in the log to judge by, such as 'noise 1'.")
    ] = None,
    margin: Annotated[float | None, typer.Option("--margin", min=0.0, help="By which the policy may be worse.")] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, max=64, help="Of the policy's noise at each state.")] = 16,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Estimate a policy's return from a log that it did not write: it may veto, and never promotes (exit code 1: veto or no answer)."""
    from fpo_pilot.commands.ope import check_arms, run_ope

    chosen = {"arms": check_arms(arms), "stages": stage or (), "modes": mode or ()}
    raise typer.Exit(run_ope(run, log, margin=margin, draws=draws, seed=seed, as_json=json, **chosen))


def ingest(
    files: Annotated[
        list[Path], typer.Argument(help="Exports of a historian, .csv or .parquet; several are put in order.")
    ],
    plant: Annotated[str, typer.Option("--plant", help="Its plant.yaml (dynamics are not needed), or its name.")],
    map_file: Annotated[
        Path, typer.Option("--map", help="map.yaml: which column is which signal, its unit, time, quality.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The new run folder.")] = None,
    json: Json = False,
) -> None:
    """Take historical data in: a step log with reward and margins, and a report of what the data are worth."""
    from fpo_pilot.commands.ingest import run_ingest

    raise typer.Exit(run_ingest(files, plant, map_file, out=out, as_json=json))


def validate_safety(
    plant: Annotated[str, typer.Argument(help="A plant by name or path, with its safety spec.")],
    policy: Annotated[Path | None, typer.Option("--policy", help="A run whose policy attacks, too.")] = None,
    episodes: Annotated[int, typer.Option("--episodes", min=4, help="Of each adversary in each condition.")] = 16,
    corners: Annotated[int, typer.Option("--corners", min=1, help="Most corners; a certificate needs all.")] = 256,
    full: Annotated[bool, typer.Option("--full", help="Run all, also where refusal is certain.")] = False,
    output: Annotated[Path | None, typer.Option("--output", help="Default: safety/certificates/NAME.json.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Does the record still hold? 0 valid, 1 not.")] = False,
    key: Annotated[Path | None, typer.Option("--key", help="Sign the record; with --check, the one there is.")] = None,
    pubkey: Annotated[Path | None, typer.Option("--pubkey", help="With --check: it must be signed by it.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Attack the declared shields in simulation, with and without them: a certificate (0), or a reasoned refusal (1)."""
    from fpo_pilot.commands.validate_safety import Attack, run_check_certificate, run_validate_safety

    if check:
        raise typer.Exit(run_check_certificate(plant, output=output, key=key, public=pubkey, as_json=json))
    if pubkey is not None:
        raise CertificateError("--pubkey: found no --check, expected both. It is asked of a record that is there.")
    attack = Attack(policy, episodes, corners, full, seed)
    raise typer.Exit(run_validate_safety(plant, attack, output=output, key=key, as_json=json))


def safety_case(
    plant: Annotated[str, typer.Argument(help="A plant by name or path, with its safety spec.")],
    output: Annotated[Path | None, typer.Option("--output", help="Folder for safety-case.en.md and .ja.md.")] = None,
    json: Json = False,
) -> None:
    """Trace hazards to rules to evidence: 0 if every claim has its evidence, 1 if one has none."""
    from fpo_pilot.commands.safety_case import run_safety_case

    raise typer.Exit(run_safety_case(plant, output=output, as_json=json))
