"""``fpo-pilot verify`` and ``fpo-pilot keys``: whether a run is what its ledger says, and who signed it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fpo_pilot.commands.console import progress, say, say_json, table
from fpo_pilot.errors import LogError
from fpo_pilot.evidence.recompute import recompute_rollouts, recompute_weights
from fpo_pilot.evidence.recompute_evaluation import recompute_evaluation
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.keys import fingerprint, make_key, read_attestation, read_private_key, read_public_key, sign
from fpo_pilot.logs.ledger import Ledger, files_of
from fpo_pilot.logs.succession import hand_over, successors
from fpo_pilot.logs.verify import Verification, verify_run

SECRET_VARIABLE = "FPO_PILOT_PASSPHRASE"  # noqa: S105  # its name, not its content
"""Environment variable of the passphrase of a private key, where nobody can type it."""


def run_verify(
    run_dir: Path,
    *,
    public_key: Path | None,
    checkpoint: Path | None,
    deep: bool,
    as_json: bool,
    handovers: Sequence[Path] = (),
    allow_unsigned_tail: bool = False,
) -> int:
    """Verify a run; 0 if it is intact and, where a signature is asked for, signed to its last line, 1 if not."""
    keys = trusted_keys(public_key, handovers)
    kept = None if checkpoint is None else read_attestation(checkpoint)
    total = float(sum(path.stat().st_size for path in files_of(run_dir))) if run_dir.is_dir() else 1.0
    with progress("verify [bytes]", max(total, 1.0), quiet=as_json) as report:
        found = verify_run(
            run_dir, public_keys=keys, checkpoint=kept, deep=deep, progress=lambda done: report(float(done), "")
        )
    if deep and found.intact:  # what was changed has no verdict to recompute
        found = replace(found, faults=deep_faults(run_dir))
    if as_json:
        say_json(
            {
                "intact": found.intact,
                "records": found.records,
                "files": found.files,
                "bytes": found.size,
                "recovered": found.recovered,
                "decisions": dict(found.decisions),
                "decided_before": list(found.decided_before),
                "root": found.root,
                "signatures": found.signatures,
                "signed": found.signed,
                "unsigned": None if found.signed is None else list(found.unsigned),
                "deep": deep,
                "faults": [vars(fault) for fault in found.faults],
            }
        )
    else:
        _show(run_dir, found, deep=deep, has_key=bool(keys))
        _show_tail(found, allowed=allow_unsigned_tail)
    return 0 if found.intact and (found.whole_is_signed or allow_unsigned_tail) else 1


def trusted_keys(public_key: Path | None, handovers: Sequence[Path]) -> tuple[Ed25519PublicKey, ...]:
    """Return the key that is trusted and those that follow it."""
    if handovers and public_key is None:
        raise LogError("--handover: found no --pubkey, expected the key that is trusted. Hand-overs begin with it.")
    return () if public_key is None else successors(read_public_key(public_key), handovers)


def deep_faults(run_dir: Path) -> tuple[Fault, ...]:
    """Recompute what a run says of itself; return what does not come out as it was written."""
    return (*recompute_weights(run_dir), *recompute_evaluation(run_dir), *recompute_rollouts(run_dir))


def _show(run_dir: Path, found: Verification, *, deep: bool, has_key: bool) -> None:
    if found.faults:
        rows = [(fault.where, fault.found, fault.expected) for fault in found.faults]
        table(f"{run_dir}: {len(rows)} faults", ("where", "found", "expected"), rows)
    say(
        f"{'NOT INTACT' if found.faults else 'intact'}: {found.files} files, {found.size:,} bytes, {found.records} lines"
    )
    if found.recovered:
        say(
            f"recovered: {found.recovered} lines are of what was found (after a crash, missing, or before the ledger began)"
        )
    kinds = ", ".join(f"{n} {kind}" for kind, n in found.decisions.items())
    say(f"decisions: {sum(found.decisions.values())} lines" + (f" ({kinds})" if kinds else ""))
    for name in found.decided_before:
        say(f"decisions without lines, of an earlier release: {name}")
    say(f"root: {found.root}")
    signed = f"{found.signatures} by this key" if has_key else "not checked: give --pubkey"
    say(f"signatures: {signed}; pages: {'read' if deep else 'not read: give --deep'}")


def _show_tail(found: Verification, *, allowed: bool) -> None:
    """Say how far the signatures reach, and what came after them."""
    if found.signed is None:
        return
    say(f"signed: first {found.signed} of {found.records} lines")
    if found.whole_is_signed:
        return
    for name in found.unsigned:
        say(f"not signed: {name}")
    if not allowed:
        say(
            "NOT SIGNED TO THE END: look at these changes, then sign again, or give --allow-unsigned-tail to take them as they are"
        )


def run_sign(run_dir: Path, key: Path, *, as_json: bool) -> int:
    """Sign the ledger of an intact run."""
    found = verify_run(run_dir)
    if not found.intact:
        raise LogError(
            f"{run_dir}: found {len(found.faults)} faults, expected an intact run: what is not intact is not signed. "
            f"`fpo-pilot verify {run_dir}` lists them."
        )
    signed = sign(run_dir, tuple(Ledger(run_dir).records), read_private_key(key, passphrase_for(key)))
    if as_json:
        say_json(signed.model_dump())
        return 0
    say(f"signed: {signed.size} lines, root {signed.root}")
    say(f"by key: {signed.key}")
    return 0


def run_new_key(path: Path, *, as_json: bool) -> int:
    """Make a key pair."""
    mark = make_key(path, passphrase_for(path, confirm=True))
    public = path.with_name(path.name + ".pub")
    if as_json:
        say_json({"private": str(path), "public": str(public), "fingerprint": mark})
        return 0
    say(f"private key (keep it): {path}")
    say(f"public key (give it away): {public}")
    say(f"fingerprint (tell it in person): {mark}")
    return 0


def run_rotate(old: Path, new: Path, output: Path | None, *, as_json: bool) -> int:
    """Let the old key say that the new one follows it."""
    path = output or new.with_name(new.name + ".handover.json")
    keys = [read_private_key(key, passphrase_for(key)) for key in (old, new)]
    signed = hand_over(keys[0], keys[1], path)
    if as_json:
        say_json({"handover": str(path), **signed.model_dump()})
        return 0
    say(f"key {signed.old}")
    say(f"is followed by {signed.new}")
    say(f"hand-over (give it away with the new public key): {path}")
    return 0


def run_show_key(path: Path, *, as_json: bool) -> int:
    """Print the fingerprint of a public key."""
    mark = fingerprint(read_public_key(path))
    if as_json:
        say_json({"public": str(path), "fingerprint": mark})
    else:
        say(mark)
    return 0


def passphrase_for(key: Path, *, confirm: bool = False) -> str:
    """Return the passphrase of a key: from the environment, or typed."""
    import typer

    given = os.environ.get(SECRET_VARIABLE)
    if given is not None:
        return given
    typed: str = typer.prompt(f"passphrase of {key}", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed
