"""One file away from its run, and the few hashes that show that the ledger of the run has its line (RFC 6962, RFC 9162)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.logs.fault import Fault
from fpo_pilot.logs.keys import Attestation, signed_by
from fpo_pilot.logs.ledger import Record, current, file_hash, line_hash, read_ledger, root_of
from fpo_pilot.logs.merkle import consistency_proof, holds_consistency, holds_inclusion, inclusion_proof, leaf_hash


class Grown(BaseModel):
    """That the tree of a proof is the beginning of a later one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    root: str
    consistency: tuple[str, ...]
    """Hashes of RFC 6962, 2.1.2, in hexadecimal."""


class Proof(BaseModel):
    """That a line is one of the first ``size`` lines of a ledger with this root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: Record
    size: int
    root: str
    inclusion: tuple[str, ...]
    """Hashes of RFC 6962, 2.1.1, nearest first, in hexadecimal. The leaf is the line as it stands in the ledger."""
    grown: Grown | None = None
    """The ledger when the proof was made, where it had more lines than ``size``."""


def prove(run_dir: Path, path: str, checkpoint: Attestation | None = None) -> Proof:
    """Prove that the ledger has the newest line of a file.

    Args:
        run_dir: the run folder.
        path: of the file, relative to it.
        checkpoint: a signature: the proof is for the lines that it signed, and shows that the ledger grew out of them.

    Raises:
        LogError: the ledger is not sound, did not grow out of what was signed, or has no line of the file in it.
    """
    records, problem = read_ledger(run_dir)
    if problem is not None:
        raise LogError(f"{problem}, expected a sound ledger. Run `fpo-pilot verify {run_dir}`.")
    size = len(records) if checkpoint is None else checkpoint.size
    if checkpoint is not None and (size > len(records) or root_of(records[:size]) != checkpoint.root):
        raise LogError(
            f"{run_dir}: found a ledger that did not grow out of what was signed, expected the one of the checkpoint. "
            f"Run `fpo-pilot verify {run_dir} --checkpoint …`."
        )
    record = current(records[:size]).get(path)
    if record is None:
        known = ", ".join(sorted(current(records[:size]))) or "none"
        raise LogError(f"--prove: found {path!r}, expected a file with one of the first {size} lines: {known}.")
    leaves = [leaf_hash(one.line()) for one in records]
    grown = None
    if size < len(records):
        hashes = tuple(one.hex() for one in consistency_proof(leaves, size))
        grown = Grown(size=len(records), root=root_of(records), consistency=hashes)
    inclusion = tuple(one.hex() for one in inclusion_proof(leaves[:size], record.i))
    return Proof(record=record, size=size, root=root_of(records[:size]), inclusion=inclusion, grown=grown)


def read_proof(path: Path) -> Proof:
    """Read a proof.

    Raises:
        LogError: it is none.
    """
    try:
        return Proof.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as problem:
        raise LogError(
            f"{path}: found no proof ({str(problem).splitlines()[0]}), expected what `fpo-pilot verify RUN --prove PATH` printed. "
            "Make it again."
        ) from problem


def check_proof(
    file: Path, proof: Proof, checkpoint: Attestation | None = None, keys: Sequence[Ed25519PublicKey] = ()
) -> list[Fault]:
    """Check a file by a proof; return what does not hold.

    Args:
        file: the file, wherever it lies.
        proof: of its line.
        checkpoint: a signature that was kept elsewhere: the root must be the one it signed.
        keys: that are trusted, of which one must have signed it.
    """
    faults = []
    record = proof.record
    digest, size = file_hash(file)
    if (digest, size) != (record.sha256, record.size):
        expected = f"{record.size}, {(record.sha256 or '')[:16]}… as in the ledger"
        faults.append(Fault(str(file), f"{size} bytes, SHA-256 {digest[:16]}…", expected))
    if record.hash != line_hash(record.model_dump()):
        faults.append(Fault("proof: record", "a line whose hash is not its own", "the line as it was written"))
    try:
        root, inclusion = bytes.fromhex(proof.root), [bytes.fromhex(one) for one in proof.inclusion]
        holds = holds_inclusion(leaf_hash(record.line()), record.i, proof.size, inclusion, root)
        grown = proof.grown is None or holds_consistency(
            proof.size,
            proof.grown.size,
            [bytes.fromhex(one) for one in proof.grown.consistency],
            root,
            bytes.fromhex(proof.grown.root),
        )
    except ValueError:
        holds, grown = False, True
    if not holds:
        faults.append(
            Fault("proof: inclusion", "hashes that do not lead from the line to the root", "those of the tree")
        )
    if not grown:
        faults.append(Fault("proof: grown", "a later tree that is no continuation", "one that the ledger grew into"))
    if checkpoint is not None and (checkpoint.size, checkpoint.root) != (proof.size, proof.root):
        expected = f"root {checkpoint.root[:16]}… over {checkpoint.size}, which was signed"
        faults.append(Fault("proof: root", f"root {proof.root[:16]}… over {proof.size} lines", expected))
    if checkpoint is not None and keys and not any(signed_by(checkpoint, key) for key in keys):
        faults.append(Fault("checkpoint", "a signature that is not by the key given", "its own"))
    return faults
