"""``fpo-pilot verify --prove`` and ``--proof``: one file, away from its run, and a few hashes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fpo_pilot.commands.console import say, say_json, table
from fpo_pilot.commands.verify import trusted_keys
from fpo_pilot.errors import LogError
from fpo_pilot.logs.keys import read_attestation
from fpo_pilot.logs.ledger import FILE
from fpo_pilot.logs.proof import check_proof, prove, read_proof


def run_prove(run_dir: Path, path: str, checkpoint: Path | None) -> int:
    """Print the proof that the ledger of a run has the line of a file, as JSON."""
    if not (run_dir / FILE).exists():
        raise LogError(
            f"{run_dir}: found no {FILE}, expected the ledger of a run. Name a run folder that this release made."
        )
    proof = prove(run_dir, path, None if checkpoint is None else read_attestation(checkpoint))
    say_json(proof.model_dump(mode="json", exclude_none=True))
    return 0


def run_proof(
    file: Path,
    proof: Path,
    checkpoint: Path | None,
    public_key: Path | None,
    handovers: Sequence[Path],
    *,
    as_json: bool,
) -> int:
    """Check a file by a proof; 0 if it holds, 1 if not."""
    if not file.is_file():
        raise LogError(f"{file}: found no file, expected the one that is to be checked. Name it, not its run.")
    keys = trusted_keys(public_key, handovers)
    if keys and checkpoint is None:
        raise LogError(
            "--pubkey: found no --checkpoint, expected a signature beside a proof. Give the one that was kept."
        )
    read = read_proof(proof)
    kept = None if checkpoint is None else read_attestation(checkpoint)
    faults = check_proof(file, read, kept, keys)
    if as_json:
        say_json({"proved": not faults, "root": read.root, "faults": [vars(fault) for fault in faults]})
        return 1 if faults else 0
    if faults:
        rows = [(fault.where, fault.found, fault.expected) for fault in faults]
        table(f"{file}: {len(rows)} faults", ("where", "found", "expected"), rows)
    answer = "NOT PROVED" if faults else "proved"
    say(f"{answer}: {read.record.path} is line {read.record.i + 1} of {read.size}")
    say(f"root: {read.root}")
    signed = (
        "as in the checkpoint" if kept is not None else "not checked: compare it with a report, or give --checkpoint"
    )
    say(f"that root: {signed}" + ("" if keys or kept is None else "; its signature is not checked: give --pubkey"))
    return 1 if faults else 0
