"""``fpo-pilot validate-safety``: 0 for a certificate, 1 for a refusal, 2 for wrong usage; both languages say the same."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from fpo_pilot import cli
from fpo_pilot.certification.record import read_record, write_record
from fpo_pilot.certification.signing import signed_by
from fpo_pilot.certification.words import REASONS, SIGNED, STATUS
from fpo_pilot.logs.keys import make_key, read_public_key
from fpo_pilot.logs.tables import read_parquet
from fpo_pilot.specs import content

ROOT = content.shipped_root()


def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fpo-pilot", "validate-safety", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capfd.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, captured.out, captured.err


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the reactor alone."""
    for name in ("cstr", "cstr_safety"):
        shutil.copytree(ROOT / "envs" / name, tmp_path / "envs" / name)
        (tmp_path / "safety").mkdir(exist_ok=True)
        shutil.copy(ROOT / "safety" / f"{name}.yaml", tmp_path / "safety")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_refusal_is_told_in_both_languages_and_a_certificate_ends_with_a_change_of_the_spec(
    monkeypatch, capfd, project: Path
) -> None:
    code, out, err = call(monkeypatch, capfd, "cstr", "--episodes", "4", "--check")
    assert (code, err) == (1, "")
    assert f"cstr: {STATUS['absent'].en} / {STATUS['absent'].ja}" in out
    monkeypatch.setenv("FPO_PILOT_PASSPHRASE", "a long passphrase")
    for name in ("ours", "other"):
        make_key(project / name, "a long passphrase")
    code, out, _ = call(monkeypatch, capfd, "cstr", "--episodes", "4", "--key", "ours")
    assert code == 1
    path = project / "safety" / "certificates" / "cstr.json"
    record = read_record(path)
    assert record.verdict == "refused"
    assert signed_by(record, read_public_key(project / "ours.pub"))
    assert record.command == "fpo-pilot validate-safety cstr --episodes 4 --corners 256 --seed 0"
    told = {reason.code for reason in record.reasons}
    assert "no_model_layer" in told
    for name, text in REASONS.items():
        assert (text.en in out) == (text.ja in out) == (name in told)
    assert read_parquet(path.with_suffix(".parquet")).num_rows > 0
    code, out, _ = call(monkeypatch, capfd, "cstr", "--check", "--json")
    assert code == 1
    assert json.loads(out)["status"] == "refused"

    # the word alone makes no certificate
    text = path.read_text("utf-8")
    path.write_text(json.dumps(json.loads(text) | {"verdict": "certified", "reasons": []}), "utf-8")
    code, out, _ = call(monkeypatch, capfd, "cstr", "--check")
    assert code == 1
    assert STATUS["altered"].en in out
    assert STATUS["altered"].ja in out

    # a certificate is one until a spec changes
    kept = {"violations": 0, "least_margin": {}}
    rows = tuple(row.model_copy(update={"shielded": row.shielded.model_copy(update=kept)}) for row in record.rows)
    write_record(path, record.model_copy(update={"verdict": "certified", "reasons": (), "rows": rows}))
    assert call(monkeypatch, capfd, "cstr", "--check")[0] == 0

    # whose it is, only a signature tells
    assert call(monkeypatch, capfd, "cstr", "--check", "--pubkey", "ours.pub")[0] == 1
    code, out, _ = call(monkeypatch, capfd, "cstr", "--check", "--key", "ours", "--pubkey", "ours.pub", "--json")
    assert (code, json.loads(out)["signed"]) == (0, True)
    assert call(monkeypatch, capfd, "cstr", "--check", "--pubkey", "ours.pub")[0] == 0
    code, out, _ = call(monkeypatch, capfd, "cstr", "--check", "--pubkey", "other.pub")
    assert code == 1
    assert SIGNED[False].en in out
    assert SIGNED[False].ja in out
    spec = project / "envs" / "cstr" / "plant.yaml"
    spec.write_text(spec.read_text("utf-8").replace("half_width: 0.05", "half_width: 0.06"), "utf-8")
    code, out, _ = call(monkeypatch, capfd, "cstr", "--check")
    assert code == 1
    assert STATUS["stale"].en in out
    assert STATUS["stale"].ja in out
    assert "plant_spec" in out


def test_wrong_usage_exits_with_two(monkeypatch, capfd, project: Path) -> None:
    assert call(monkeypatch, capfd, "nothing_of_that_name")[0] == 2
    assert call(monkeypatch, capfd, "cstr", "--episodes", "1")[0] == 2
    code, _, err = call(monkeypatch, capfd, "cstr", "--pubkey", "ours.pub")
    assert code == 2
    assert "--pubkey: found no --check" in err
