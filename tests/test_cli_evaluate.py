"""An evaluation in several processes or on Ray leaves the files of one process, and its worst episodes fly again."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.commands.evaluate import evaluate_run
from fpo_pilot.evaluate.worst import trace
from fpo_pilot.evidence.worst import read_worst
from fpo_pilot.learn import train
from fpo_pilot.logs.writing import TRAINING, writing
from fpo_pilot.plants.load import load_plant
from fpo_pilot.specs import load_training_spec
from tests.test_cli import call

FILES = ("episodes.parquet", "selection.parquet", "worst.parquet", "worst.json")
NOMINAL = ("nominal",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    spec = load_training_spec("cstr_safety", "fpo").model_copy(
        update={"num_envs": 4, "rollout_steps": 5, "evaluation_episodes": 1}
    )
    with writing(folder, "train", TRAINING):
        train(load_plant("cstr_safety"), spec, folder, seed=0, total_steps=40)
    return folder


@pytest.fixture(scope="module")
def alone(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    shutil.copytree(trained, folder)
    evaluate_run(folder, (), episodes=12, seed=5, scenarios=NOMINAL, quiet=True)
    return folder


def written(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of everything but the record of the command."""
    steps = sorted((folder / "steps" / "stage=offline").glob("*.parquet"))
    paths = [*(folder / name for name in FILES), *steps]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("where", [{"processes": 2}, {"cluster": "local", "processes": 1}], ids=["processes", "ray"])
def test_the_files_are_those_of_one_process(trained, alone, tmp_path, where) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    evaluate_run(folder, (), episodes=12, seed=5, scenarios=NOMINAL, quiet=True, **where)
    assert written(folder) == written(alone)
    ours, theirs = (json.loads((run / "evaluation.json").read_text()) for run in (folder, alone))
    for facts in (ours, theirs):
        del facts["command"]
    assert ours == theirs


def test_the_worst_come_first_with_every_step_of_them(alone) -> None:
    kept = read_worst(alone).episodes
    assert len(kept) == 10
    order = [(-one.violations_hard, one.returned) for one in kept]
    assert order == sorted(order)
    episodes = pq.read_table(alone / "episodes.parquet").to_pylist()
    own = [row for row in episodes if (row["arm"], row["mode"], row["shield"]) == (kept[0].arm, kept[0].mode, True)]
    assert kept[0].violations_hard == max(row["violations_hard"] for row in own)
    assert [trace(alone, one).num_rows for one in kept] == [one.steps for one in kept]
    assert sum(one.episode >= 4 for one in kept) > 0  # beyond those whose steps are logged anyway


def test_an_episode_flies_again_to_the_bit_and_an_edited_trace_is_told(alone, tmp_path, monkeypatch, capfd) -> None:
    folder = tmp_path / "run"
    shutil.copytree(alone, folder)
    worst = read_worst(folder).episodes[-1]
    code, out, err = call(monkeypatch, capfd, "evaluate", str(folder), "--replay", worst.id)
    assert (code, err) == (0, "")
    assert "identical to what was written" in out
    table = pq.read_table(folder / "worst.parquet")
    column = table.schema.get_field_index("reward.total")
    zeros = pa.array([0.0] * table.num_rows, table.schema.field(column).type)
    changed = table.set_column(column, table.schema.field(column), zeros)
    pq.write_table(changed, folder / "worst.parquet", write_page_checksum=True)
    assert call(monkeypatch, capfd, "evaluate", str(folder), "--replay", worst.id)[0] == 1
    code, _, err = call(monkeypatch, capfd, "evaluate", str(folder), "--replay", "nothing-1")
    assert code == 2
    assert worst.id in err
    for name in ("evaluation.json", "worst.json"):
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
        code, _, err = call(monkeypatch, capfd, "evaluate", str(folder), "--replay", worst.id)
        assert (code, f"{folder / name}: found no " in err) == (2, True)


def test_without_ray_the_extra_is_named(trained, monkeypatch, capfd) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    code, _, err = call(monkeypatch, capfd, "evaluate", str(trained), "--cluster", "local")
    assert code == 2
    assert "fpo-pilot[cluster]" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"flow": "', '"flow": "0'), "an evaluation of other weights"),
        (lambda text: text[:100], "no evaluation that can be read"),
    ],
    ids=["other weights", "damaged"],
)
def test_a_policy_is_rolled_out_on_the_evaluation_of_its_own_weights_only(
    alone, tmp_path, monkeypatch, capfd, change, message
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(alone, folder)
    path = folder / "evaluation.json"
    text = path.read_text("utf-8")
    assert change(text) != text
    path.write_text(change(text), "utf-8")
    code, _, err = call(monkeypatch, capfd, "rollout", str(folder))
    assert code == 2
    assert message in err
