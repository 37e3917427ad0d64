"""Which part of a ledger is signed, by whom, and what came after the last signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fpo_pilot.errors import LogError
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.keys import Attestation, attestations, read_attestation, signed_by
from fpo_pilot.logs.ledger import COMMAND, FILE, Record, root_of


@dataclass(frozen=True)
class Signed:
    """What the signatures of a run cover."""

    good: int
    """Signatures beside the ledger that hold for a key that was given."""
    lines: int | None
    """Lines that the last good signature, or the checkpoint, covers; None if neither key nor checkpoint was given."""
    tail: tuple[str, ...]
    """Files that were recorded, changed or taken away, or whose decisions were entered, after these lines, by path."""
    faults: tuple[Fault, ...]


def check_signatures(
    run_dir: Path, records: tuple[Record, ...], keys: Sequence[Ed25519PublicKey], checkpoint: Attestation | None
) -> Signed:
    """Check each signature beside the ledger, and the one that was kept elsewhere.

    Args:
        run_dir: the run folder.
        records: of its ledger.
        keys: that are trusted; without one no signature beside the ledger counts.
        checkpoint: a signature that was kept elsewhere.
    """
    faults: list[Fault] = []
    sizes: list[int] = []
    paths = attestations(run_dir)
    for path in paths:
        where = path.relative_to(run_dir).as_posix()
        try:
            statement = read_attestation(path)
        except LogError:
            faults.append(Fault(where, "no signature that can be read", "one as it was written"))
            continue
        trouble = _trouble(statement, records)
        if trouble:
            faults.append(Fault(where, trouble, "the root that was signed"))
        elif keys and not any(signed_by(statement, key) for key in keys):
            faults.append(Fault(where, f"a signature that is not by key {statement.key[:16]}… as given", "its own"))
        elif keys:
            sizes.append(statement.size)
    good = len(sizes)
    if keys and not paths:
        faults.append(Fault("attestations", "no signature", "one by the key that was given"))
    if checkpoint is not None:
        trouble = _trouble(checkpoint, records)
        if trouble:
            faults.append(Fault(FILE, trouble, "the history that the checkpoint signed"))
        elif keys and not any(signed_by(checkpoint, key) for key in keys):
            faults.append(Fault("checkpoint", "a signature that is not by the key given", "its own"))
        else:
            sizes.append(checkpoint.size)
    if not keys and checkpoint is None:
        return Signed(0, None, (), tuple(faults))
    lines = max(sizes, default=0)
    later = {record.path for record in records[lines:] if record.kind not in COMMAND}
    return Signed(good, lines, tuple(sorted(later)), tuple(faults))


def _trouble(statement: Attestation, records: tuple[Record, ...]) -> str:
    if statement.size > len(records):
        return f"{len(records)} lines where {statement.size} were signed"
    root = root_of(records[: statement.size])
    return "" if root == statement.root else f"root {root[:16]}… over the first {statement.size} lines"
