"""Ed25519 keys and what they sign: the size and the root of a ledger at one moment.

A signature shows that whoever held the key saw this root. It does not show that the key was well kept, and whoever
holds it can sign another history: print the root where it cannot be changed, such as in a report on paper.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import write_json_atomic
from fpo_pilot.logs.ledger import ATTESTATIONS, SIGNATURE, Record, canonical, root_of

SHORTEST_PASSPHRASE = 12


class Attestation(BaseModel):
    """A signed statement: the ledger of this run had this root when it had this many lines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    """Name of the run folder."""
    size: int
    root: str
    ts: str
    key: str
    """Fingerprint of the public key."""
    signature: str = ""
    """Base64, over the canonical JSON of the other fields."""

    def message(self) -> bytes:
        """Return what is signed."""
        return canonical(self.model_dump(exclude={"signature"}))


def make_key(path: Path, passphrase: str) -> str:
    """Make a key pair: ``path`` (private, encrypted, readable by its owner alone) and ``path`` with ``.pub`` added.

    Returns:
        The fingerprint of the public key.

    Raises:
        LogError: something is there already, or the passphrase is short.
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise LogError(
            f"passphrase: found {len(passphrase)} characters, expected at least {SHORTEST_PASSPHRASE}. Choose a longer one."
        )
    public_path = path.with_name(path.name + ".pub")
    for taken in (path, public_path):
        if taken.exists():
            raise LogError(
                f"{taken}: found a file there, expected none: a key is never overwritten. Choose another name."
            )
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
    public_path.write_bytes(_pem(private.public_key()))
    return fingerprint(private.public_key())


def read_private_key(path: Path, passphrase: str) -> Ed25519PrivateKey:
    """Read a private key that nobody but its owner can read.

    Raises:
        LogError: others may read it, it is none, or the passphrase is wrong.
    """
    try:
        mode = path.stat().st_mode & 0o077
        data = path.read_bytes()
    except OSError as problem:
        raise LogError(
            f"{path}: found no file that can be read ({problem.strerror}), expected a private key. "
            "Make one with `fpo-pilot keys new`."
        ) from problem
    if mode:
        raise LogError(f"{path}: found a key that others may read, expected mode 0600. Run `chmod 600 {path}`.")
    try:
        key = serialization.load_pem_private_key(data, passphrase.encode())
    except (ValueError, TypeError) as problem:
        raise LogError(
            f"{path}: found a key that this passphrase does not open, expected its own. Type it again."
        ) from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise LogError(f"{path}: found a key of another kind, expected Ed25519. Make one with `fpo-pilot keys new`.")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        LogError: it is none.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise LogError(
            f"{path}: found no public key ({problem}), expected the `.pub` file of a key. Ask its owner for it."
        ) from problem
    if not isinstance(key, Ed25519PublicKey):
        raise LogError(f"{path}: found a key of another kind, expected Ed25519. Ask its owner for the right one.")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the raw public key, in hexadecimal: what people compare by telephone."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()


def sign(run_dir: Path, records: tuple[Record, ...], key: Ed25519PrivateKey) -> Attestation:
    """Sign the root over ``records``, and keep the signature beside the ledger."""
    statement = Attestation(
        run=run_dir.resolve().name,
        size=len(records),
        root=root_of(records),
        ts=datetime.now(UTC).isoformat(timespec="milliseconds"),
        key=fingerprint(key.public_key()),
    )
    signature = base64.b64encode(key.sign(statement.message())).decode()
    signed = statement.model_copy(update={"signature": signature})
    number = 1 + max((int(path.stem) for path in attestations(run_dir)), default=-1)
    write_json_atomic(run_dir / ATTESTATIONS / f"{number:04d}.json", signed.model_dump())
    return signed


def attestations(run_dir: Path) -> list[Path]:
    """List the signatures of a run, oldest first."""
    found = (path for path in (run_dir / ATTESTATIONS).glob("*.json") if SIGNATURE.fullmatch(path.name))
    return sorted(found, key=lambda path: int(path.stem))


def read_attestation(path: Path) -> Attestation:
    """Read a signature.

    Raises:
        LogError: it is none.
    """
    try:
        return Attestation.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as problem:
        raise LogError(
            f"{path}: found no signature of a ledger ({str(problem).splitlines()[0]}), expected one. Restore it from a copy."
        ) from problem


def signed_by(statement: Attestation, key: Ed25519PublicKey) -> bool:
    """Tell whether ``key`` signed ``statement``."""
    try:
        key.verify(base64.b64decode(statement.signature, validate=True), statement.message())
    except (InvalidSignature, ValueError):
        return False
    return statement.key == fingerprint(key)


def _pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
