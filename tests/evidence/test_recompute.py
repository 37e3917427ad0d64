"""A roll-out is recomputed from its Parquet files; what was written otherwise is found, though the ledger knows it so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fpo_pilot.evidence.recompute import recompute_rollouts
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.plants.load import load_plant
from fpo_pilot.rollout import run_rollout


@pytest.fixture(scope="module")
def rolled(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("run")
    plant = load_plant("cstr_safety")
    assert plant.safety is not None

    def act(obs, generator):
        return torch.zeros(1, 1), {}

    run_rollout(plant, plant.safety, act, run, seed=1, max_episodes=12, model_hash="m")
    Manifest.collect(
        run_id="run",
        algorithm="fpo",
        command="",
        seed=0,
        device="cpu",
        plant_spec=plant.spec,
        safety_spec=plant.safety,
    ).write(run)
    return run


@pytest.fixture
def run(rolled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rolled, tmp_path / "run"))


def changed(path: Path, column: str, row: int, value: object) -> None:
    table = pq.read_table(path, partitioning=None)
    values = table[column].to_pylist()
    values[row] = value
    index = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type)), path
    )


def row_of(path: Path, *, block: int, step: int) -> int:
    table = pq.read_table(path, columns=["block_id", "step"], partitioning=None).to_pylist()
    return table.index({"block_id": block, "step": step})


def places(run: Path) -> list[str]:
    return [fault.where for fault in recompute_rollouts(run)]


def test_what_a_roll_out_wrote_comes_out_again(run) -> None:
    assert json.loads((run / "rollout.json").read_text("utf-8"))["gates"]
    assert places(run) == []


def test_a_reward_changed_in_a_step_shows_in_its_block(run) -> None:
    path = run / "steps" / "stage=shadow" / "seg-00000.parquet"
    changed(path, "reward.total", row_of(path, block=2, step=5), 40.0)
    assert places(run) == ["blocks.parquet: block 2"]


def test_a_hard_violation_left_out_of_a_block_is_found(run) -> None:
    path = run / "steps" / "stage=shadow" / "seg-00000.parquet"
    changed(path, "margin.T.high", row_of(path, block=1, step=3), -1.0)
    (fault,) = recompute_rollouts(run)
    assert "1 steps beyond a hard limit" in fault.found


def test_a_verdict_that_the_blocks_do_not_bear_is_found(run) -> None:
    path = run / "rollout.json"
    document = json.loads(path.read_text("utf-8"))
    document["gates"][0]["verdict"] = "pass" if document["gates"][0]["verdict"] != "pass" else "fail"
    path.write_text(json.dumps(document), "utf-8")
    assert len(places(run)) == 1
    assert places(run)[0].startswith(f"rollout.json: gates: {document['gates'][0]['name']}")


def test_blocks_made_to_look_better_are_found_twice(run) -> None:
    changed(run / "blocks.parquet", "interventions", 4, 10_000)
    changed(run / "blocks.parquet", "outside_band", 4, 1)
    found = places(run)
    assert "blocks.parquet: block 4" in found
    assert any(place.startswith("rollout.json: gates") for place in found)


def test_another_safety_spec_in_the_manifest_is_told(run) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    manifest["safety_spec"]["limits"][0]["high"] = 400.0
    (run / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert places(run)[0] == "manifest.json"


def test_a_run_without_a_roll_out_has_nothing_to_recompute(tmp_path) -> None:
    assert recompute_rollouts(tmp_path) == []
