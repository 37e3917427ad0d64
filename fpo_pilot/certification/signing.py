"""Who stands for a record: a signature over its digest, with the keys of ``fpo-pilot keys``.

A digest shows an edit by somebody who does not know of it; a signature shows one by anybody who does not hold the key.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fpo_pilot.certification.record import Record, Signature
from fpo_pilot.logs.keys import fingerprint
from fpo_pilot.logs.ledger import canonical


def signed(record: Record, key: Ed25519PrivateKey) -> Record:
    """Return the record, sealed, with a signature of ``key`` in the place of any before."""
    sealed = record.sealed()
    mark, now = fingerprint(key.public_key()), datetime.now(UTC).isoformat(timespec="milliseconds")
    text = base64.b64encode(key.sign(_message(sealed.digest, mark, now))).decode()
    return sealed.model_copy(update={"signature": Signature(key=mark, ts=now, signature=text)})


def signed_by(record: Record, key: Ed25519PublicKey) -> bool:
    """Tell whether ``key`` signed the record as it stands."""
    own, mark = record.signature, fingerprint(key)
    if own is None or own.key != mark:
        return False
    try:
        key.verify(base64.b64decode(own.signature, validate=True), _message(record.sealed().digest, mark, own.ts))
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(digest: str | None, key: str, ts: str) -> bytes:
    return canonical({"record": digest, "key": key, "ts": ts})
