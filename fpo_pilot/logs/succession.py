"""A key that follows another: the old key says so, so that who trusts the old one need not be visited again.

A statement of a key that was stolen proves nothing: then the new fingerprint is told in person, as the first one was.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import write_json_atomic
from fpo_pilot.logs.keys import fingerprint
from fpo_pilot.logs.ledger import canonical


class Succession(BaseModel):
    """A signed statement: from now on the new key signs where the old one did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old: str
    """Fingerprint."""
    new: str
    new_key: str
    """The raw new public key, base64."""
    ts: str
    signature: str = ""
    """Of the old key, base64, over the canonical JSON of the other fields."""
    accepted: str = ""
    """Of the new key over the same: nobody names a key as successor that he does not hold."""

    def message(self) -> bytes:
        """Return what is signed."""
        return canonical(self.model_dump(exclude={"signature", "accepted"}))


def hand_over(old: Ed25519PrivateKey, new: Ed25519PrivateKey, path: Path) -> Succession:
    """Write the statement that ``new`` follows ``old``.

    Raises:
        LogError: a file is there already, or both are one key.
    """
    if path.exists():
        raise LogError(
            f"{path}: found a file there, expected none: a statement is never overwritten. Choose another name."
        )
    raw = new.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    plain = Succession(
        old=fingerprint(old.public_key()),
        new=fingerprint(new.public_key()),
        new_key=base64.b64encode(raw).decode(),
        ts=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    if plain.old == plain.new:
        raise LogError(
            f"keys rotate: found one key twice ({plain.old[:16]}…), expected another as its successor. Make it first."
        )
    message = plain.message()
    signatures = {"signature": _sign(old, message), "accepted": _sign(new, message)}
    signed = plain.model_copy(update=signatures)
    write_json_atomic(path, signed.model_dump())
    return signed


def successors(key: Ed25519PublicKey, paths: Sequence[Path]) -> tuple[Ed25519PublicKey, ...]:
    """Return ``key`` and those that follow it, by statements in the order of the hand-overs.

    Raises:
        LogError: a file is no such statement, or it is not by a key that is trusted so far.
    """
    trusted = {fingerprint(key): key}
    for path in paths:
        try:
            one = Succession.model_validate(json.loads(path.read_text("utf-8")))
            following = Ed25519PublicKey.from_public_bytes(base64.b64decode(one.new_key, validate=True))
        except (OSError, ValueError, ValidationError) as problem:
            raise LogError(
                f"{path}: found no hand-over of keys ({str(problem).splitlines()[0]}), expected what `fpo-pilot keys rotate` wrote. "
                "Restore it from a copy."
            ) from problem
        before = trusted.get(one.old)
        if before is None:
            raise LogError(
                f"{path}: found a hand-over by key {one.old[:16]}…, expected one by {', '.join(mark[:16] + '…' for mark in trusted)}. "
                "Give the hand-overs in their order, from the key of --pubkey on."
            )
        sound = _is_by(before, one.signature, one.message()) and _is_by(following, one.accepted, one.message())
        if not sound or fingerprint(following) != one.new:
            raise LogError(
                f"{path}: found a hand-over that its keys did not sign as it stands, expected it unchanged. Restore it from a copy, "
                "and compare fingerprints in person."
            )
        trusted[one.new] = following
    return tuple(trusted.values())


def _sign(key: Ed25519PrivateKey, message: bytes) -> str:
    return base64.b64encode(key.sign(message)).decode()


def _is_by(key: Ed25519PublicKey, signature: str, message: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True
