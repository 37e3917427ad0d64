"""``fpo-pilot verify`` and ``fpo-pilot sign``, as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fpo_pilot.commands.options import Json, Run


def verify(
    run: Annotated[Path, typer.Argument(help="A run folder; with --proof a file, wherever it lies.")],
    public_key: Annotated[
        Path | None,
        typer.Option("--pubkey", help="Public key whose signatures the run must have, up to its last line."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="A signature that was kept elsewhere.")
    ] = None,
    handover: Annotated[
        list[Path] | None,
        typer.Option("--handover", help="By which a key follows --pubkey; repeatable, in their order."),
    ] = None,
    allow_unsigned_tail: Annotated[
        bool,
        typer.Option("--allow-unsigned-tail", help="Take a run whose last lines nobody has signed; they are listed."),
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also read every page, and recompute blocks and gate verdicts from them.")
    ] = False,
    prove: Annotated[
        str | None,
        typer.Option("--prove", help="Print, as JSON, the proof that the ledger has the line of this file of the run."),
    ] = None,
    proof: Annotated[
        Path | None, typer.Option("--proof", help="Check a file that lies apart from its run by what --prove printed.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare a run with its ledger: 0 intact, 1 changed, incomplete or not signed to its end. Needs no torch."""
    from fpo_pilot.commands.proving import run_proof, run_prove
    from fpo_pilot.commands.verify import run_verify

    if prove is not None:
        raise typer.Exit(run_prove(run, prove, checkpoint))
    if proof is not None:
        raise typer.Exit(run_proof(run, proof, checkpoint, public_key, handover or (), as_json=json))
    raise typer.Exit(
        run_verify(
            run,
            public_key=public_key,
            checkpoint=checkpoint,
            handovers=handover or (),
            allow_unsigned_tail=allow_unsigned_tail,
            deep=deep,
            as_json=json,
        )
    )


def sign(
    run: Run,
    key: Annotated[Path, typer.Option("--key", help="Private key, made by `fpo-pilot keys new`.")],
    json: Json = False,
) -> None:
    """Sign the ledger of an intact run; the passphrase is asked for, or in FPO_PILOT_PASSPHRASE."""
    from fpo_pilot.commands.verify import run_sign

    raise typer.Exit(run_sign(run, key, as_json=json))
