"""Ledger, keys and verification as one types them, around a tiny run."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fpo_pilot import cli
from fpo_pilot.errors import LogError
from fpo_pilot.logs.ledger import FILE, Ledger, files_of, read_ledger, root_of, settled
from fpo_pilot.logs.writing import writing

TINY = "fpo:num_envs=4,rollout_steps=15,passes=1,minibatches=2,evaluation_every=2,evaluation_episodes=2"


@pytest.fixture
def call(monkeypatch, capfd):
    def typed(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["fpo-pilot", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capfd.readouterr()
        return left.value.code, captured.out, captured.err

    return typed


def trained(call, folder: Path) -> Path:
    run = folder / "run"
    assert call("train", "jam_clear", "--algorithm", TINY, "--steps", "240", "--out", str(run), "--json")[0] == 0
    return run


def test_every_command_that_writes_leaves_a_run_that_verifies(call, tmp_path) -> None:
    run = trained(call, tmp_path)
    for words in (("evaluate", "--episodes", "4"), ("rollout", "--max-episodes", "3"), ("samplers", "--episodes", "2")):
        assert call(words[0], str(run), *words[1:], "--json")[0] in (0, 1)  # a roll-out may end on a hold
        code, out, _ = call("verify", str(run), "--deep", "--json")
        assert (code, json.loads(out)["faults"]) == (0, [])
    assert call("evaluate", str(run), "--episodes", "2", "--json")[0] == 0
    assert (run / "earlier" / "evaluation-000" / "episodes.parquet").exists()
    call("rollout", str(run), "--max-episodes", "2", "--json")  # moves the first to earlier/
    assert (run / "earlier" / "rollout-000" / "blocks.parquet").exists()
    told = json.loads(call("verify", str(run), "--json")[1])
    assert (told["faults"], told["recovered"], told["decided_before"]) == ([], 0, [])
    assert told["decisions"]["gate"] > 0
    assert call("report", str(run), "--json")[0] == 0
    code, out, _ = call("verify", str(run), "--deep")
    assert code == 0
    assert out.startswith("intact: ")
    page = (run / "report.en.html").read_bytes()
    assert root_of(settled(read_ledger(run)[0])) in page.decode()  # an anchor outside of the folder
    assert call("report", str(run), "--json")[0] == 0
    assert (run / "report.en.html").read_bytes() == page  # though the ledger has grown by the first report
    audited_without_torch(run)


def audited_without_torch(run: Path) -> None:
    """Verdicts are recomputed where torch, gymnasium and mujoco cannot be imported; a false one is found there."""
    blocked = textwrap.dedent(
        """
        import sys
        from importlib.machinery import PathFinder

        class Audit:  # finds what is installed, but for what an audit does without
            @staticmethod
            def find_spec(name, path=None, target=None):
                hidden = name.partition(".")[0] in ("torch", "gymnasium", "mujoco", "safetensors")
                return None if hidden else PathFinder.find_spec(name, path, target)

        sys.meta_path = [Audit if finder is PathFinder else finder for finder in sys.meta_path]
        from fpo_pilot import cli
        cli.main()
        """
    )

    def audit(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", blocked, *words], capture_output=True, text=True, check=False)

    assert audit("verify", str(run), "--deep").stdout.startswith("intact: ")
    path = run / "evaluation.json"
    document = json.loads(path.read_text("utf-8"))
    document["rows"][0]["return"]["mean"] += 1.0
    path.write_text(json.dumps(document), "utf-8")
    Ledger(run).enter([path])  # whoever can write the folder can enter it, too
    done = audit("verify", str(run), "--deep", "--json")
    assert done.returncode == 1
    assert any("evaluation.json" in fault["where"] for fault in json.loads(done.stdout)["faults"])
    done = audit("train", "jam_clear")
    assert (done.returncode, "found no torch, expected the whole install" in done.stderr) == (2, True)


def test_a_change_by_hand_is_told_and_never_entered_as_the_work_of_a_command(call, tmp_path) -> None:
    run = trained(call, tmp_path)
    manifest = run / "manifest.json"
    before = manifest.read_bytes()
    manifest.write_bytes(before.replace(b'"seed": 0', b'"seed": 1'))
    code, out, _ = call("verify", str(run), "--json")
    assert (code, [fault["where"] for fault in json.loads(out)["faults"]]) == (1, ["manifest.json"])
    lines = len(read_ledger(run)[0])
    code, _, told = call("evaluate", str(run), "--episodes", "2", "--json")
    assert code == 2
    assert "manifest.json: found a file that is not as the ledger of the run says" in told
    assert len(read_ledger(run)[0]) == lines
    assert not (run / "evaluation.json").exists()
    manifest.write_bytes(before)
    assert call("verify", str(run), "--json")[0] == 0


def test_a_signed_run_verifies_by_its_key_and_by_no_other(call, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FPO_PILOT_PASSPHRASE", "correct horse battery")
    run = trained(call, tmp_path)
    for name in ("ours", "theirs"):
        code, out, _ = call("keys", "new", str(tmp_path / name), "--json")
        assert code == 0
        code, shown, _ = call("keys", "show", str(tmp_path / f"{name}.pub"))
        assert shown.strip() == json.loads(out)["fingerprint"]
    assert call("verify", str(run), "--pubkey", str(tmp_path / "ours.pub"), "--json")[0] == 1  # nobody has signed
    assert call("sign", str(run), "--key", str(tmp_path / "ours"), "--json")[0] == 0
    kept = tmp_path / "kept.json"
    kept.write_bytes((run / "attestations" / "0000.json").read_bytes())
    own = ("--pubkey", str(tmp_path / "ours.pub"))
    assert call("verify", str(run), *own, "--checkpoint", str(kept), "--json")[0] == 0
    assert call("verify", str(run), "--pubkey", str(tmp_path / "theirs.pub"), "--json")[0] == 1
    code, proof, _ = call("verify", str(run), "--prove", "manifest.json", "--checkpoint", str(kept))
    assert code == 0
    (tmp_path / "proof.json").write_text(proof, "utf-8")
    apart = tmp_path / "apart.json"
    apart.write_bytes((run / "manifest.json").read_bytes())
    by_proof = ("--proof", str(tmp_path / "proof.json"), "--checkpoint", str(kept), *own)
    code, out, _ = call("verify", str(apart), *by_proof)
    assert (code, out.startswith("proved: manifest.json is line ")) == (0, True)
    apart.write_bytes(b"{}")
    code, out, _ = call("verify", str(apart), *by_proof, "--json")
    assert (code, json.loads(out)["proved"]) == (1, False)
    (run / "evaluation.json").write_text("{}", "utf-8")  # anyone who can write the folder can enter it, too
    Ledger(run).enter(files_of(run))
    for options in (own, ("--checkpoint", str(kept))):
        code, out, _ = call("verify", str(run), *options, "--json")
        told = json.loads(out)
        assert (code, told["faults"], told["unsigned"]) == (1, [], ["evaluation.json"])
        assert told["signed"] == told["records"] - 1
        assert call("verify", str(run), *options, "--allow-unsigned-tail", "--json")[0] == 0
    code, out, _ = call("verify", str(run), *own)
    assert f"signed: first {told['signed']} of {told['records']} lines\nnot signed: evaluation.json" in out
    (run / FILE).unlink()
    Ledger(run).enter(files_of(run))  # a history made anew
    assert call("verify", str(run), *own, "--checkpoint", str(kept), "--json")[0] == 1
    (run / "manifest.json").write_text("{}", "utf-8")
    code, _, told = call("sign", str(run), "--key", str(tmp_path / "ours"))
    assert code == 2
    assert "what is not intact is not signed" in told


def test_a_command_that_was_killed_leaves_a_begin_that_the_next_one_closes(tmp_path) -> None:
    run = tmp_path / "run"
    half = writing(run, "train", ("metrics.parquet",))
    half.__enter__()
    (run / "metrics.parquet").write_bytes(b"half a training")
    assert not half.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [record.kind for record in read_ledger(run)[0]] == ["begin"]
    with writing(run, "train", ("metrics.parquet",)):
        (run / "metrics.parquet").write_bytes(b"a whole one")
    records = read_ledger(run)[0]
    assert [record.kind for record in records] == ["begin", "metrics", "end", "begin", "metrics", "end"]
    assert [record.recovered for record in records if record.kind == "metrics"] == [True, False]


def test_two_commands_never_write_into_one_run(tmp_path) -> None:
    with writing(tmp_path, "train", ()):
        second = writing(tmp_path, "evaluate", ())
        with pytest.raises(LogError, match="another command that writes there now"):
            second.__enter__()
    with writing(tmp_path, "evaluate", ()):
        pass  # the lock went with the first


def test_what_a_command_took_away_is_on_record(tmp_path) -> None:
    with writing(tmp_path, "evaluate", ("steps/*", "a.json")):
        (tmp_path / "a.json").write_text("{}", "utf-8")
    with writing(tmp_path, "evaluate", ("steps/*", "a.json")):
        (tmp_path / "a.json").unlink()
    assert [record.kind for record in read_ledger(tmp_path)[0]] == ["begin", "document", "end", "begin", "gone", "end"]
