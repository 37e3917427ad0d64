"""The identity of a spec: a hash of what it says, the same on every machine and for every way of writing it down."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel

from fpo_pilot.specs.base import IDENTITY


def canonical_json(model: BaseModel) -> str:
    """Write a spec as JSON with sorted keys, no spaces, and numbers as they are after unit conversion."""
    data = model.model_dump(mode="json", by_alias=True, context={IDENTITY: True})
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def spec_hash(model: BaseModel) -> str:
    """Return the SHA-256 of the canonical JSON: comments, order of keys and choice of units do not change it."""
    return hashlib.sha256(canonical_json(model).encode("utf-8")).hexdigest()
