"""The commands that compare, tune and look at samplers, as one types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from fpo_pilot import cli
from fpo_pilot.commands.comparison_summary import write_summary

TINY = "num_envs=4,rollout_steps=8,passes=1,minibatches=2,evaluation_every=2,evaluation_episodes=2"


@pytest.fixture
def call(monkeypatch, capfd):
    def typed(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["fpo-pilot", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capfd.readouterr()
        return left.value.code, captured.out, captured.err

    return typed


def test_compare_writes_tables_and_goes_on_where_it_was(call, tmp_path) -> None:
    names = [f"--algorithm={name}:{TINY}" for name in ("fpo", "gaussian_ppo")]
    folder = ["--out", str(tmp_path / "c"), "--steps", "64", "--episodes", "4", "--processes", "1"]
    code, out, err = call("compare", "grid_world", "gym:Pendulum-v1", *names, "--seeds", "1", *folder)
    assert code == 0, err
    runs = pd.read_parquet(tmp_path / "c" / "runs.parquet")
    assert len(runs) == 2 * (3 + 2)
    assert "comparison" in out
    code, out, _ = call("compare", "grid_world", "gym:Pendulum-v1", *names, "--seeds", "1", "--json", *folder)
    again = json.loads(out)
    assert code == 0
    assert [row["score"] for row in again["runs"]] == runs["score"].tolist()


def test_a_wrong_setting_is_told_before_anything_is_trained(call, tmp_path) -> None:
    code, _, err = call("compare", "grid_world", "--algorithm", "fpo:klip=3", "--out", str(tmp_path / "c"))
    assert code == 2
    assert "klip" in err
    assert not (tmp_path / "c").exists()


def test_tune_takes_up_a_search_and_names_the_best(call, tmp_path) -> None:
    pytest.importorskip("optuna")
    folder = ["--out", str(tmp_path / "t"), "--steps", "2000"]
    code, _, err = call("tune", "grid_world", "--algorithm", "gaussian_ppo", "--trials", "2", *folder)
    assert code == 0, err
    code, out, err = call("tune", "grid_world", "--algorithm", "gaussian_ppo", "--trials", "3", "--json", *folder)
    assert code == 0, err
    found = json.loads(out)
    assert len(found["trials"]) == 3
    assert found["trials"][0]["settings"] == "gaussian_ppo"
    assert found["best"]["score"] == max(row["score"] for row in found["trials"])


def test_a_run_on_a_published_task_can_be_looked_at_and_not_judged(call, tmp_path) -> None:
    run = tmp_path / "run"
    code, _, err = call(
        "train", "--gym", "Pendulum-v1", "--algorithm", f"fpo:{TINY}", "--steps", "64", "--out", str(run)
    )
    assert code == 0, err
    code, out, err = call("samplers", str(run), "--episodes", "2", "--json")
    assert code == 0, err
    assert {row["method"] for row in json.loads(out)} == {"euler", "midpoint", "heun", "rk4", "adaptive"}
    code, _, err = call("evaluate", str(run))
    assert code == 2
    assert "no incumbent" in err


def test_a_policy_is_evaluated_with_another_sampler(call, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("init", "mine", "--from", "cstr")[0] == 0
    monkeypatch.chdir(tmp_path / "mine")
    with (tmp_path / "mine/envs/cstr/evaluate.yaml").open("a") as spec:
        spec.write("oracle: false\n")  # which is most of the work, and no matter here
    run = tmp_path / "run"
    assert call("train", "cstr", "--algorithm", f"fpo:{TINY}", "--steps", "64", "--out", str(run))[0] == 0
    code, out, err = call("evaluate", str(run), "--sampler", "heun", "--steps", "4", "--episodes", "2", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["deployment"]["method"] == "heun"
    assert found["deployment"]["steps"] == 4
    assert any("heun 4" in row["mode"] for row in found["rows"])
    code, _, err = call("evaluate", str(run), "--sampler", "magic")
    assert code == 2
    assert "euler, midpoint" in err


def test_the_summary_is_of_deployed_scores_from_chance_to_the_best(tmp_path) -> None:
    tasks, names = ("cstr", "quad_tank"), ("fpo", "gaussian_ppo")
    scores = {
        ("cstr", "fpo"): -20.0,
        ("cstr", "gaussian_ppo"): -40.0,
        ("quad_tank", "fpo"): -3.0,
        ("quad_tank", "gaussian_ppo"): -1.0,
    }
    rows, curves = [], []
    for task in tasks:
        for name in names:
            for seed in range(3):
                base = {"task": task, "algorithm": name, "seed": seed}
                rows.append(base | {"score": scores[task, name], "deployed": True})
                rows.append(base | {"score": 1e9, "deployed": False})
                curves += [base | {"steps": s, "seconds": s / 100, "score": scores[task, name]} for s in (100, 200)]
    floors = {"cstr": -120.0, "quad_tank": -11.0}
    written = write_summary(pd.DataFrame(rows), pd.DataFrame(curves), floors, tmp_path)
    assert len(written) == 2 + 2 * 4
    assert all(path.stat().st_size > 0 for path in written)
    summary = pd.read_parquet(tmp_path / "summary.parquet").set_index("algorithm")["score"]
    # fpo: 1 and .8 three times each, the middle half of them (1, 1, .8, .8 after a trim of one) is .9; Gaussian: .8 and 1
    assert summary.to_dict() == pytest.approx({"fpo": 0.9, "gaussian_ppo": 0.9})
    assert write_summary(pd.DataFrame(rows), pd.DataFrame(curves), floors | {"cstr": -5.0}, tmp_path / "none") == []
    one = pd.DataFrame(rows)[lambda frame: frame["algorithm"] == "fpo"]
    assert write_summary(one, pd.DataFrame(curves), floors, tmp_path / "none") == []


_PARENT = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from fpo_pilot.commands.compare import end_with

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with, initargs=(os.getpid(),))
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 60)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc whether a process lives")
def test_a_worker_ends_with_the_command_that_started_it(tmp_path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT, "utf-8")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert _lives(worker)
        parent.kill()
    for _ in range(100):
        if not _lives(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("the worker outlived its command by ten seconds")


def _lives(process: int) -> bool:
    try:
        text = Path(f"/proc/{process}/stat").read_text("ascii")
    except FileNotFoundError:
        return False
    return text.rsplit(")", 1)[1].split()[0] != "Z"
