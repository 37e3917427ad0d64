"""A file away from its run is checked by a few hashes; whatever is changed in them proves nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.keys import make_key, read_private_key, read_public_key, sign
from fpo_pilot.logs.ledger import FILE, Ledger, files_of
from fpo_pilot.logs.proof import Proof, check_proof, prove

WORDS = "correct horse battery"


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.json").write_text(f"{{{i}}}", "utf-8")
    Ledger(folder).enter(files_of(folder))
    return folder


def test_the_proof_of_the_last_of_five_lines_is_one_hash(run) -> None:
    """Five leaves are split into four and one (RFC 6962), so the fifth needs the root of the first four alone."""
    lines = (run / FILE).read_bytes().split(b"\n")[:-1]

    def leaf(line: bytes) -> bytes:
        return hashlib.sha256(b"\x00" + line).digest()

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\x01" + left + right).digest()

    four = node(node(leaf(lines[0]), leaf(lines[1])), node(leaf(lines[2]), leaf(lines[3])))
    proof = prove(run, "4.json")
    assert proof.inclusion == (four.hex(),)
    assert proof.root == node(four, leaf(lines[4])).hex()
    assert check_proof(run / "4.json", proof) == []


def test_every_file_is_proved_and_none_by_the_proof_of_another(run) -> None:
    proofs = [prove(run, f"{i}.json") for i in range(5)]
    for i, proof in enumerate(proofs):
        again = Proof.model_validate_json(proof.model_dump_json())
        assert check_proof(run / f"{i}.json", again) == []
        assert check_proof(run / f"{(i + 1) % 5}.json", again) != []
        assert check_proof(run / f"{i}.json", again.model_copy(update={"size": 2})) != []
        assert check_proof(run / f"{i}.json", again.model_copy(update={"inclusion": again.inclusion[1:]})) != []
        assert check_proof(run / f"{i}.json", again.model_copy(update={"inclusion": ("zz",)})) != []
        forged = again.record.model_copy(update={"sha256": "0" * 64})
        assert len(check_proof(run / f"{i}.json", again.model_copy(update={"record": forged}))) == 3


def test_a_proof_is_for_the_lines_that_were_signed_and_shows_what_they_grew_into(run, tmp_path) -> None:
    for name in ("ours", "theirs"):
        make_key(tmp_path / name, WORDS)
    kept = sign(run, tuple(Ledger(run).records), read_private_key(tmp_path / "ours", WORDS))
    (run / "5.json").write_text("late", "utf-8")
    (run / "0.json").write_text("changed", "utf-8")
    Ledger(run).enter(files_of(run))
    proof = prove(run, "1.json", kept)
    assert proof.grown is not None
    assert (proof.size, proof.root, proof.grown.size) == (5, kept.root, 7)
    ours, theirs = (read_public_key(tmp_path / f"{name}.pub") for name in ("ours", "theirs"))
    assert check_proof(run / "1.json", proof, kept, (ours,)) == []
    assert [one.where for one in check_proof(run / "1.json", proof, kept, (theirs,))] == ["checkpoint"]
    assert [one.where for one in check_proof(run / "1.json", prove(run, "1.json"), kept)] == ["proof: root"]
    other = proof.model_copy(update={"grown": proof.grown.model_copy(update={"root": "0" * 64})})
    assert [one.where for one in check_proof(run / "1.json", other)] == ["proof: grown"]
    assert check_proof(run / "0.json", prove(run, "0.json", kept)) != []  # what was signed was another content
    with pytest.raises(LogError, match=r"found '5.json', expected a file with one of the first 5 lines"):
        prove(run, "5.json", kept)
    (run / FILE).unlink()
    Ledger(run).enter(files_of(run))
    with pytest.raises(LogError, match="did not grow out of what was signed"):
        prove(run, "1.json", kept)


def test_events_are_counted_in_their_line(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "run").mkdir()
    kinds = ["gate", "gate", "transition", "note", "guard"]
    pq.write_table(pa.table({"kind": kinds, "seq": range(5)}), tmp_path / "run" / "events.parquet")
    (line,) = Ledger(tmp_path / "run").enter(files_of(tmp_path / "run"))
    assert (line.kind, line.rows) == ("events", 5)
    assert line.counts == {"gate": 2, "guard": 1, "note": 1, "transition": 1}
    assert json.loads(line.line())["counts"] == line.counts
    assert Ledger(tmp_path / "run").records == [line]
