"""A key follows another by the word of both; whatever is changed in the statement makes it none."""

from __future__ import annotations

import json

import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.keys import fingerprint, make_key, read_private_key, read_public_key, sign
from fpo_pilot.logs.ledger import Ledger, files_of
from fpo_pilot.logs.succession import hand_over, successors
from fpo_pilot.logs.verify import verify_run

WORDS = "correct horse battery"


@pytest.fixture
def keys(tmp_path):
    for name in ("first", "second", "third"):
        make_key(tmp_path / name, WORDS)
    private = [read_private_key(tmp_path / name, WORDS) for name in ("first", "second", "third")]
    return private, [read_public_key(tmp_path / f"{name}.pub") for name in ("first", "second", "third")]


def test_signatures_of_both_keys_verify_and_of_a_stranger_do_not(tmp_path, keys) -> None:
    private, public = keys
    hand_over(private[0], private[1], tmp_path / "a.json")
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text("{}", "utf-8")
    ledger = Ledger(run)
    ledger.enter(files_of(run))
    for key in private[:2]:
        sign(run, tuple(ledger.records), key)
    trusted = successors(public[0], [tmp_path / "a.json"])
    assert [fingerprint(key) for key in trusted] == [fingerprint(key) for key in public[:2]]
    found = verify_run(run, public_keys=trusted)
    assert (found.intact, found.signatures) == (True, 2)
    assert not verify_run(run, public_keys=public[:1]).intact
    sign(run, tuple(ledger.records), private[2])
    assert [fault.where for fault in verify_run(run, public_keys=trusted).faults] == ["attestations/0002.json"]


def test_a_chain_is_followed_in_its_order_only(tmp_path, keys) -> None:
    private, public = keys
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    hand_over(private[0], private[1], a)
    hand_over(private[1], private[2], b)
    assert len(successors(public[0], [a, b])) == 3
    with pytest.raises(LogError, match="in their order"):
        successors(public[0], [b, a])
    with pytest.raises(LogError, match="in their order"):
        successors(public[2], [a])


@pytest.mark.parametrize("field", ["old", "new", "new_key", "ts", "signature", "accepted"])
def test_a_changed_statement_is_none(tmp_path, keys, field) -> None:
    private, public = keys
    path = tmp_path / "a.json"
    hand_over(private[0], private[1], path)
    facts = json.loads(path.read_text())
    other = tmp_path / "other.json"
    hand_over(private[0], private[2], other)
    instead = json.loads(other.read_text()) | {"old": fingerprint(public[2]), "ts": "2000-01-01T00:00:00.000+00:00"}
    path.write_text(json.dumps(facts | {field: instead[field]}))
    with pytest.raises(LogError, match=r"did not sign|in their order"):
        successors(public[0], [path])


def test_nothing_is_overwritten_and_a_key_does_not_follow_itself(tmp_path, keys) -> None:
    private, public = keys
    hand_over(private[0], private[1], tmp_path / "a.json")
    with pytest.raises(LogError, match="never overwritten"):
        hand_over(private[0], private[1], tmp_path / "a.json")
    with pytest.raises(LogError, match="one key twice"):
        hand_over(private[0], private[0], tmp_path / "b.json")
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(LogError, match="no hand-over of keys"):
        successors(public[0], [tmp_path / "c.json"])
