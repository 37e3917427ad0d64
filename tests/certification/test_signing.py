"""A signature is over what a record says: another key, an edit or a copied signature does not pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fpo_pilot.certification.record import Record, read_record, write_record
from fpo_pilot.certification.signing import signed, signed_by
from fpo_pilot.certification.validate import Plan, binding_of, planned
from fpo_pilot.plants.plant import Plant

OURS, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def record(make_tank: Callable[..., Plant]) -> Record:
    plant = make_tank(predictive=None)
    facts = {"date": "2026-01-01", "fpo_pilot_version": "1", "command": "", "seed": 0, "episodes": 4, "assumptions": ()}
    nothing = {"conditions": (), "rows": (), "worst": ()}
    reasons = tuple(planned(plant, Plan())[1])
    return Record(plant="tank", verdict="refused", reasons=reasons, binding=binding_of(plant), **facts, **nothing)  # type: ignore[arg-type]


def test_a_signed_record_is_known_by_its_key_after_it_was_written_and_read(record: Record, tmp_path: Path) -> None:
    write_record(tmp_path / "tank.json", signed(record, OURS))
    read = read_record(tmp_path / "tank.json")
    assert signed_by(read, OURS.public_key())
    assert not signed_by(read, OTHER.public_key())
    assert not signed_by(record.sealed(), OURS.public_key())


def test_a_signature_does_not_pass_on_to_another_content(record: Record, tmp_path: Path) -> None:
    path, own = tmp_path / "tank.json", signed(record, OURS)
    write_record(path, own.model_copy(update={"episodes": 400}))
    assert read_record(path).signature is None  # what is written anew must be signed anew
    assert not signed_by(own.model_copy(update={"episodes": 400}), OURS.public_key())
    write_record(path, own)
    told = json.loads(path.read_text("utf-8"))
    forged = record.model_copy(update={"episodes": 400}).sealed()
    path.write_text(json.dumps(told | {"episodes": 400, "digest": forged.digest}), "utf-8")  # by hand, digest and all
    assert read_record(path).digest == forged.digest
    assert not signed_by(read_record(path), OURS.public_key())


def test_a_signature_names_its_time_and_its_key(record: Record) -> None:
    own = signed(record, OURS)
    assert own.signature is not None
    for change in ({"ts": "2020-01-01T00:00:00.000+00:00"}, {"key": "0" * 64}, {"signature": "not base64"}):
        moved = own.model_copy(update={"signature": own.signature.model_copy(update=change)})
        assert not signed_by(moved, OURS.public_key())
