"""Keys are kept as keys are, and a signature holds for one root by one key."""

from __future__ import annotations

import stat

import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.keys import (
    attestations,
    fingerprint,
    make_key,
    read_attestation,
    read_private_key,
    read_public_key,
    sign,
    signed_by,
)
from fpo_pilot.logs.ledger import Ledger, files_of, root_of

WORDS = "correct horse battery"


def test_a_private_key_is_encrypted_and_its_owners_alone(tmp_path) -> None:
    path = tmp_path / "keys" / "safety"
    mark = make_key(path, WORDS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in path.read_bytes()
    private = read_private_key(path, WORDS)
    assert mark == fingerprint(private.public_key()) == fingerprint(read_public_key(tmp_path / "keys" / "safety.pub"))
    with pytest.raises(LogError, match="does not open"):
        read_private_key(path, "correct horse batteries")
    with pytest.raises(LogError, match="never overwritten"):
        make_key(path, WORDS)
    path.chmod(0o644)
    with pytest.raises(LogError, match="others may read"):
        read_private_key(path, WORDS)


def test_a_short_passphrase_and_files_that_are_no_keys_are_refused(tmp_path) -> None:
    with pytest.raises(LogError, match="at least 12"):
        make_key(tmp_path / "key", "short")
    assert not list(tmp_path.iterdir())
    (tmp_path / "no").write_text("nothing", "utf-8")
    (tmp_path / "no").chmod(0o600)
    with pytest.raises(LogError, match="expected its own"):
        read_private_key(tmp_path / "no", WORDS)
    with pytest.raises(LogError, match="no public key"):
        read_public_key(tmp_path / "no")
    with pytest.raises(LogError, match="keys new"):
        read_private_key(tmp_path / "missing", WORDS)


def test_a_signature_is_of_one_root_by_one_key(tmp_path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text("{}", "utf-8")
    ledger = Ledger(run)
    ledger.enter(files_of(run))
    for name in ("ours", "theirs"):
        make_key(tmp_path / name, WORDS)
    statement = sign(run, tuple(ledger.records), read_private_key(tmp_path / "ours", WORDS))
    assert (statement.size, statement.root, statement.run) == (1, root_of(ledger.records), "run")
    assert [read_attestation(path) for path in attestations(run)] == [statement]
    ours, theirs = (read_public_key(tmp_path / f"{name}.pub") for name in ("ours", "theirs"))
    assert signed_by(statement, ours)
    assert not signed_by(statement, theirs)
    assert not signed_by(statement.model_copy(update={"size": 2}), ours)
    assert not signed_by(statement.model_copy(update={"signature": "%%%"}), ours)


def test_a_signature_is_never_overwritten(tmp_path) -> None:
    make_key(tmp_path / "key", WORDS)
    key = read_private_key(tmp_path / "key", WORDS)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}", "utf-8")
    ledger = Ledger(tmp_path / "run")
    ledger.enter(files_of(tmp_path / "run"))
    for _ in range(3):
        sign(tmp_path / "run", tuple(ledger.records), key)
    first = attestations(tmp_path / "run")[0]
    first.unlink()
    kept = {path.name: path.read_bytes() for path in attestations(tmp_path / "run")}
    sign(tmp_path / "run", tuple(ledger.records), key)
    assert [path.name for path in attestations(tmp_path / "run")] == ["0001.json", "0002.json", "0003.json"]
    assert all((tmp_path / "run" / "attestations" / name).read_bytes() == kept[name] for name in kept)
