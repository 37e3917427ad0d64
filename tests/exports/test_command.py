"""``fpo-pilot export`` of a step log as a user meets it: what is refused, with what words, and that nothing is left then."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest

from fpo_pilot.errors import ExportError
from fpo_pilot.exports import views
from fpo_pilot.exports.target import check_target, write_whole
from fpo_pilot.logs.reader import segments
from fpo_pilot.logs.schema import step_schema
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import writing
from tests.exports.conftest import Make, columns, plant
from tests.ingestion.conftest import frame, logged, write  # noqa: F401  # fixtures
from tests.test_cli import call


@pytest.fixture
def export(monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: call(monkeypatch, capfd, "export", *map(str, words))


@pytest.mark.parametrize(("option", "name"), [("--minari", "cstr"), ("--lerobot", "cstr"), ("--d3rlpy", "cstr.h5")])
def test_each_format_is_written_and_told(option: str, name: str, run, export, tmp_path) -> None:
    target = tmp_path / "sub" / name
    code, out, err = export(run, option, target, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["format"] == option.removeprefix("--")
    assert told["metadata"]["arms"] == ["flow", "incumbent"]
    assert (told["metadata"]["episodes"], told["metadata"]["rows"], told["metadata"]["transitions"]) == (3, 10, 8)
    assert [path.name for path in target.parent.iterdir()] == [name]
    code, _, err = export(run, option, target)
    assert code == 2
    assert "--force" in err
    code, out, err = export(run, option, target, "--force", "--arm", "incumbent")
    assert code == 0, err
    assert "2 episodes of incumbent, 7 rows" in out
    assert [path.name for path in target.parent.iterdir()] == [name]


def counted(export, run: Path, target: Path, *words: str) -> tuple[int, list[str]]:
    code, out, err = export(run, "--d3rlpy", target, "--json", "--force", *words)
    assert code == 0, err
    facts = json.loads(out)["metadata"]
    return facts["episodes"], facts["arms"]


def test_rows_are_chosen_by_arm_stage_scenario_and_shield(run, export, tmp_path) -> None:
    file = tmp_path / "a.h5"
    assert counted(export, run, file, "--arm", "flow") == (1, ["flow"])
    assert counted(export, run, file, "--arm", "flow", "--arm", "incumbent") == (3, ["flow", "incumbent"])
    assert counted(export, run, file, "--shielded") == (2, ["incumbent"])
    assert counted(export, run, file, "--stage", "offline", "--observations", "signals") == (3, ["flow", "incumbent"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--arm", "hold"), "--arm hold: found none in the log"),
        (("--arm", "hold"), "expected one of flow, incumbent"),
        (("--stage", "full"), "expected one of offline"),
        (("--scenario", "drift"), "expected one of dead_thermometer, nominal"),
        (("--arm", "flow", "--shielded"), "found no row of this stage, arm, scenario and shield together"),
        (("--scenario", "all"), "column obs.T: found nan"),
        (("--scenario", "all"), "choose other rows by --arm, --stage or --scenario"),
    ],
)
def test_rows_that_cannot_be_had_are_refused_with_the_reason(words, told, run, export, tmp_path) -> None:
    code, _, err = export(run, "--lerobot", tmp_path / "out", *words)
    assert code == 2
    assert told in err
    assert list(tmp_path.iterdir()) == []


def measured(rows: dict[str, Any]) -> None:
    rows["obs.T"][11] = 331.0


def moved_set_point(rows: dict[str, Any]) -> None:
    rows["ref.Ca_sp"][8] = 0.7


def backwards(rows: dict[str, Any]) -> None:
    rows["step"][:3] = [0, 2, 1]


def unrewarded(rows: dict[str, Any]) -> None:
    rows["reward.total"][4] = np.nan


def of_two_plants(rows: dict[str, Any]) -> None:
    rows["plant_hash"] = [rows["plant_hash"]] * 11 + ["0" * 64]


def single(rows: dict[str, Any]) -> None:
    rows["terminated"][:] = False
    rows["step"] = np.arange(12) * 2


@pytest.mark.parametrize(
    ("change", "words", "told"),
    [
        (measured, ("--scenario", "all", "--action", "proposed"), "take --action applied"),
        (moved_set_point, (), "--observations signals"),
        (backwards, (), "expected steps that grow"),
        (unrewarded, (), "column reward.total: found nan"),
        (of_two_plants, (), "another version of plant.yaml (000000000000)"),
        (single, (), "found no two rows in sequence"),
    ],
)
def test_a_log_that_does_not_tell_what_is_asked_is_refused(change, words, told, make: Make, export, tmp_path) -> None:
    code, _, err = export(make(change=change), "--lerobot", tmp_path / "out", *words)
    assert code == 2
    assert told in err
    assert not (tmp_path / "out").exists()


def no_hash(rows: dict[str, Any]) -> None:
    rows["plant_hash"] = None


@pytest.mark.parametrize(
    ("instead", "told"),
    [
        ({"hashes": {"plant": "0" * 64, "safety": None}}, "a plant spec that is not the one of its hash"),
        ({"plant_spec": {}, "plant": "gym:Pendulum-v1"}, "found a run of gym:Pendulum-v1"),
    ],
)
def test_a_manifest_that_does_not_name_the_plant_of_the_log_is_refused(instead, told, make, export, tmp_path) -> None:
    code, _, err = export(make(change=no_hash, **instead), "--lerobot", tmp_path / "out")
    assert code == 2
    assert told in err
    assert not (tmp_path / "out").exists()


def test_other_set_points_are_exported_as_signals(make: Make, export, tmp_path) -> None:
    assert export(make(change=moved_set_point), "--d3rlpy", tmp_path / "a.h5", "--observations", "signals")[0] == 0
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["observations_2"][1, 2] == np.float32(0.7)


def test_a_plant_that_has_changed_is_refused_where_a_policy_looks_and_not_where_signals_are(
    run, export, monkeypatch, tmp_path
) -> None:
    limits = {name: one.model_copy(update={"low": 295.0}) for name, one in plant().safety.actions.items()}
    other = plant().safety.model_copy(update={"actions": limits})
    changed = type(plant())(**{**vars_of(plant()), "safety": other, "_constants": {}})
    monkeypatch.setattr(views, "load_plant", lambda name: changed)
    code, _, err = export(run, "--lerobot", tmp_path / "out")
    assert code == 2
    assert "another safety spec" in err
    assert export(run, "--lerobot", tmp_path / "out", "--observations", "signals")[0] == 0


def vars_of(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def change_segment(run: Path) -> None:
    path = segments(run, "offline")[0]
    path.write_bytes(path.read_bytes() + b" ")


def take_segment(run: Path) -> None:
    segments(run, "offline")[0].unlink()


def add_segment(run: Path) -> None:
    path = segments(run, "offline")[0]
    shutil.copy(path, path.with_name("seg-00001.parquet"))


def change_manifest(run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"fpo"', '"dppo"'), "utf-8")


def change_ledger(run: Path) -> None:
    path = run / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"rows":12', b'"rows":13'))


def take_ledger(run: Path) -> None:
    (run / "ledger.jsonl").unlink()


def tear(run: Path) -> None:
    """Leave the run as a process that was killed between two rows leaves it."""
    torn = run.with_name("torn")
    with (
        writing(run, "rollout", ("steps/*", "wal/*")),
        StepLog(run, "shadow", step_schema(plant().spec, plant().safety)) as log,
    ):
        log.append(columns())
        shutil.copytree(run, torn)
    shutil.rmtree(run)
    torn.rename(run)


def end_early(run: Path) -> None:
    path = run / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("harm", "option", "told"),
    [
        (change_segment, "--minari", "seg-00000.parquet: found"),
        (change_segment, "--d3rlpy", "seg-00000.parquet: found"),
        (change_segment, "--lerobot", "seg-00000.parquet: found"),
        (take_segment, "--lerobot", "seg-00000.parquet: found no file"),
        (add_segment, "--lerobot", "seg-00001.parquet: found a file without a line in the ledger"),
        (change_manifest, "--lerobot", "manifest.json: found"),
        (change_ledger, "--lerobot", "ledger.jsonl"),
        (take_ledger, "--lerobot", "found no ledger.jsonl"),
        (tear, "--lerobot", "logs RUN --recover"),
        (end_early, "--lerobot", "no end of `log`"),
    ],
)
def test_a_log_that_is_torn_or_not_as_its_ledger_says_leaves_nothing(
    option, harm, told, make, export, tmp_path
) -> None:
    run = make()
    harm(run)
    code, _, err = export(run, option, tmp_path / "out")
    assert code == 2
    assert told in err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_report_that_was_changed_is_no_reason_against_an_export(make: Make, export, tmp_path) -> None:
    run = make()
    (run / "report.en.html").write_text("mine", "utf-8")
    assert export(run, "--lerobot", tmp_path / "out")[0] == 0


def test_a_folder_without_a_log_is_refused(export, tmp_path) -> None:
    code, _, err = export(tmp_path / "none", "--lerobot", tmp_path / "out")
    assert code == 2
    assert "manifest.json" in err


def test_a_place_that_is_not_free_or_not_fit_is_refused(run, monkeypatch, tmp_path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear", "utf-8")
    for target, told in (
        (run / "out", "in its ledger"),
        (run, "in its ledger"),
        (run.parent, "holds the run"),
        (Path(), "you stand in"),
        (mine, "without fpo_pilot.json"),
        (mine / "diary.txt", "a file there"),
    ):
        with pytest.raises(ExportError, match=told):
            check_target("--minari", run, target, force=True, folder=True)
    with pytest.raises(ExportError, match="a folder there"):
        check_target("--d3rlpy", run, mine, force=True)
    check_target("--minari", run, tmp_path / "free", force=False, folder=True)
    assert (mine / "diary.txt").read_text("utf-8") == "dear"


def test_an_export_that_fails_leaves_the_earlier_one(monkeypatch, tmp_path) -> None:
    target = tmp_path / "out"

    def make_new(path: Path) -> None:
        path.mkdir()
        (path / "new").write_text("new", "utf-8")

    def fail(path: Path) -> None:
        make_new(path)
        raise OSError(28, "No space left on device")

    def make_nothing(path: Path) -> None:
        del path

    write_whole(target, make_new)
    for failing, told in ((fail, "No space left"), (make_nothing, "No such file")):
        with pytest.raises(ExportError, match=told):
            write_whole(target, failing)
    replace = os.replace

    def refuse(source: Path, place: Path) -> None:
        if place == target and source.name != "old":
            raise OSError(5, "Input/output error")
        replace(source, place)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ExportError, match="Input/output error"):
        write_whole(target, make_new)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/new"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name one of --onnx FILE"),
        (("--minari", "a", "--lerobot", "b"), "name one of --onnx FILE"),
        (("--onnx", "a", "--arm", "flow"), "--arm is of a step log"),
        (("--onnx", "a", "--action", "applied"), "--action is of a step log"),
        (("--minari", "a", "--noise-input"), "--noise-input is of a policy"),
        (("--minari", "a", "--action", "asked"), "applied"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, told, run, export) -> None:
    code, _, err = export(run, *words)
    assert code == 2
    assert told in " ".join(err.split())


@pytest.mark.parametrize(
    ("option", "module", "extra"),
    [("--minari", "minari", "minari"), ("--minari", "h5py", "minari"), ("--d3rlpy", "h5py", "d3rlpy")],
)
def test_without_its_library_the_extra_is_named_before_a_log_is_read(
    option, module, extra, export, monkeypatch, tmp_path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, _, err = export(tmp_path / "run", option, tmp_path / "out")
    assert code == 2
    assert f"found no {module}, expected the extra `{extra}`" in err
    assert list(tmp_path.iterdir()) == []


def test_minari_opens_what_was_written_by_a_path_that_is_not_absolute(run, export, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = export(run, "--minari", "cstr-v1")
    assert code == 0, err
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert minari.load_dataset("cstr-v1").total_episodes == 3


def test_ingested_history_is_exported_as_a_roll_out_is(export, frame, write, monkeypatch, capfd, tmp_path) -> None:  # noqa: F811
    path, mapped = write(frame)
    words = ("ingest", str(path), "--plant", "cstr", "--map", str(mapped), "--out", str(tmp_path / "history"))
    assert call(monkeypatch, capfd, *words)[0] == 0
    code, out, err = export(tmp_path / "history", "--d3rlpy", tmp_path / "a.h5", "--json")
    assert code == 0, err
    facts = json.loads(out)["metadata"]
    assert (facts["stages"], facts["arms"], facts["rows"]) == (["history"], ["incumbent"], 60)
