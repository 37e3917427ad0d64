"""The command line as a user meets it: exit codes, messages, and one pilot from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fpo_pilot import cli

COMMANDS = (
    "demo",
    "init",
    "check",
    "plants",
    "train",
    "evaluate",
    "rollout",
    "report",
    "samplers",
    "compare",
    "tune",
    "identify",
    "ingest",
    "ope",
    "verify",
    "logs",
    "export",
)


def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fpo-pilot", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capfd.readouterr()
    code = left.value.code
    assert isinstance(code, int)
    return code, captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, monkeypatch, capfd) -> None:
    code, out, _ = call(monkeypatch, capfd, command, "--help")
    assert code == 0
    assert "Usage" in out
    assert len(out.splitlines()) > 4


def test_version_is_shown(monkeypatch, capfd) -> None:
    code, out, _ = call(monkeypatch, capfd, "--version")
    assert code == 0
    assert out.startswith("fpo-pilot ")


def test_importing_the_package_loads_neither_torch_nor_mujoco() -> None:
    code = "import sys, fpo_pilot; sys.exit(any(name in sys.modules for name in ('torch', 'mujoco', 'pandas')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_works_where_gymnasium_is_not_installed() -> None:
    code = (
        "import sys, importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'gymnasium' else found(name, *a)\n"
        "sys.modules['gymnasium'] = None\n"
        "import fpo_pilot, fpo_pilot.specs, fpo_pilot.logs, fpo_pilot.evidence, fpo_pilot.reporting"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "csrt"), "cstr"),
        (("train",), "plant"),
        (("train", "cstr", "--algorithm", "sac"), "gaussian_ppo"),
        (("evaluate", "runs/nowhere"), "runs/nowhere"),
        (("rollout", "runs/nowhere"), "runs/nowhere"),
        (("report", "runs/nowhere"), "runs/nowhere"),
        (("report", "runs/nowhere", "--lang", "fr"), "en, ja"),
        (("train", "--resume", "runs/nowhere"), "runs/nowhere"),
        (("train", "--resume", "runs/nowhere", "--device", "cpu"), "runs/nowhere"),
        (
            ("train", "--resume", "a", "--warm-start", "b", "--seed", "0"),
            "--resume: found --warm-start, --seed beside it",
        ),
        (("train", "cstr", "--resume", "a", "--steps", "9"), "--resume: found PLANT, --steps beside it"),
        (("check", "--schema", "plants"), "plant"),
        (("check", "no_such_plant"), "no_such_plant"),
        (("frobnicate",), "frobnicate"),
        (("train", "cstr", "--steps", "many"), "--steps"),
        (("train", "cstr", "--device", "abacus"), "abacus"),
    ],
)
def test_bad_input_is_refused_with_code_2_and_a_reason(words, told, monkeypatch, capfd, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(monkeypatch, capfd, *words)
    assert code == 2, err
    assert told in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_init_refuses_a_folder_that_is_not_empty(monkeypatch, capfd, tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("keep me", "utf-8")
    code, _, err = call(monkeypatch, capfd, "init", str(tmp_path))
    assert code == 2
    assert str(tmp_path) in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("plant", ["cstr", "cstr_safety", "quad_tank_minus"])
def test_a_new_project_checks_without_a_further_step(plant, monkeypatch, capfd, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, capfd, "init", "mine", "--from", plant)[0] == 0
    monkeypatch.chdir(tmp_path / "mine")
    code, out, err = call(monkeypatch, capfd, "check")
    assert code == 0, err
    assert plant in out
    assert sorted(path.name for path in (tmp_path / "mine" / "envs").iterdir()) == [plant]


def test_schemas_are_json(monkeypatch, capfd) -> None:
    for kind in ("plant", "safety", "training", "evaluation"):
        code, out, _ = call(monkeypatch, capfd, "check", "--schema", kind)
        assert code == 0
        assert "properties" in out
        json.loads(out)


def test_a_pilot_runs_from_an_empty_folder_to_its_reports(monkeypatch, capfd, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, capfd, "init", "mine", "--from", "cstr")[0] == 0
    monkeypatch.chdir(tmp_path / "mine")
    conditions = tmp_path / "mine/envs/cstr/evaluate.yaml"
    first, _, _ = conditions.read_text(encoding="utf-8").partition("  - name: varied_start")
    conditions.write_text(first, encoding="utf-8")  # one condition: each has an oracle to be found
    run = "runs/cstr-fpo-3"
    code, out, err = call(monkeypatch, capfd, "train", "cstr", "--steps", "4000", "--seed", "3", "--json")
    assert code == 0, err
    assert json.loads(out)["run"] == run
    again, _, told = call(monkeypatch, capfd, "train", "cstr", "--seed", "3")
    assert again == 2
    assert "--resume" in told
    code, _, told = call(monkeypatch, capfd, "evaluate", run, "--grid", "corner")
    assert code == 2
    assert "--grid: found 'corner', expected some of corners" in told
    few = ("--episodes", "3", "--grid", "noise", "--json")  # the benchmark has no noise to make scenarios of
    code, out, err = call(monkeypatch, capfd, "evaluate", run, *few)
    assert code in (0, 1), err
    assert "3 episodes are no evidence where chance has a part: below 20" in err
    assert "--grid noise: cstr declares nothing" in err
    evaluation = json.loads(out)
    assert (evaluation["grid"], evaluation["scenarios"]) == (["noise"], ["nominal"])
    assert "--grid noise" in evaluation["command"]
    arms = {row["arm"] for row in evaluation["rows"]}
    assert {"hold", "incumbent", "flow"} <= arms
    code, out, err = call(monkeypatch, capfd, "rollout", run, "--max-episodes", "2", "--json")
    assert code == 1, err  # two episodes are evidence of nothing, so full authority is not reached
    assert json.loads(out)["final_stage"] == "shadow"
    assert json.loads(out)["certificate"] in ("absent", "refused")  # nothing looks ahead on this plant
    code, out, err = call(monkeypatch, capfd, "report", run, "--json")
    assert code == 0, err
    for path in json.loads(out)["reports"]:
        assert Path(path).stat().st_size > 10_000
