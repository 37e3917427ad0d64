"""A roll-out is recomputed from its Parquet files; what was written otherwise is found, though the ledger knows it so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.evidence.recompute import recompute_rollouts, recompute_weights
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.plants.load import load_plant
from fpo_pilot.rollout import run_rollout
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.safety import DifferenceGate, RateGate, SafetySpec, Stage


def quick(safety: SafetySpec) -> SafetySpec:
    """The same limits and shields, with gates that a few blocks decide."""
    band = RateGate(id="band", event="outside_band", limit_rate=0.5, confidence=0.8)
    watched = RateGate(id="watched", event="intervention", limit_rate=0.5, confidence=0.8, mode="observe")
    hard = RateGate(id="hard", event="hard_violation", limit_rate=0.5, confidence=0.8)
    difference = DifferenceGate(id="return", margin=150.0, range=(-230.0, 230.0), confidence=0.6)
    stages = (
        Stage(name="shadow", min_blocks=2, max_blocks=12, gates=(band, watched), agreement_band=0.5),
        Stage(name="bounded", authority=(0.1,), min_blocks=4, max_blocks=40, gates=(hard, difference)),
        Stage(name="full", min_blocks=2, max_blocks=12, gates=(hard,)),
    )
    return safety.model_copy(update={"stages": stages})


@pytest.fixture(scope="module")
def rolled(tmp_path_factory) -> Path:
    """A roll-out from shadow to full."""
    run = tmp_path_factory.mktemp("run")
    plant = load_plant("cstr_safety")
    assert plant.safety is not None
    plant = replace(plant, safety=quick(plant.safety))
    middle = (plant.action_high[0] + plant.action_low[0]) / 2
    half = (plant.action_high[0] - plant.action_low[0]) / 2

    def act(obs, generator):  # the incumbent's law with a little more gain
        return (300.25 + 10.0 * obs[:, 2:3] - middle) / half, {}

    run_rollout(plant, plant.safety, act, run, seed=7, model_hash="m")
    Manifest.collect(
        run_id="run",
        algorithm="fpo",
        command="",
        seed=0,
        device="cpu",
        plant_spec=plant.spec,
        safety_spec=plant.safety,
        model_hash="m",
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


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


def forget_gates(document: dict[str, Any]) -> None:
    document["gates"] = []


def forget_one(document: dict[str, Any]) -> None:
    del document["gates"][-1]


def invent_a_gate(document: dict[str, Any]) -> None:
    document["gates"].append({**document["gates"][0], "name": "calm"})


def fail_shadow(document: dict[str, Any]) -> None:
    document["gates"][0]["verdict"] = "fail"


def unbind(document: dict[str, Any]) -> None:
    document["gates"][0]["mode"] = "observe"


def stay_low(document: dict[str, Any]) -> None:
    document.update(final_stage="bounded", final_authority=0.1)


def skip_bounded(document: dict[str, Any]) -> None:
    first, second = document["transitions"]
    document["transitions"] = [{**first, "to_stage": second["to_stage"], "authority": 1.0}]


def gain(document: dict[str, Any]) -> None:
    document["kpi"]["bounded"]["difference"]["mean"] += 1.0


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (forget_gates, "rollout.json: gates: band (shadow 0)"),
        (forget_one, "rollout.json: gates: hard (full 1)"),
        (invent_a_gate, "rollout.json: gates: calm (shadow 0)"),
        (fail_shadow, "rollout.json: gates: band (shadow 0)"),
        (unbind, "rollout.json: gates: band (shadow 0)"),
        (stay_low, "rollout.json: final_stage"),
        (skip_bounded, "rollout.json: transitions"),
        (gain, "rollout.json: kpi: bounded: difference"),
    ],
)
def test_what_the_blocks_do_not_bear_is_found(run, change, place) -> None:
    edit(run / "rollout.json", change)
    assert place in places(run)


def test_gates_of_another_spec_are_not_passed_over(run) -> None:
    edit(run / "rollout.json", lambda document: document["hashes"].update(safety="0" * 64))
    found = [str(fault) for fault in recompute_rollouts(run)]
    assert any("found a roll-out with safety 0000000000000000…" in fault for fault in found)
    assert any("gates of a safety spec that is not here" in fault for fault in found)


def test_an_earlier_roll_out_is_judged_by_the_spec_that_it_had(run) -> None:
    (run / "earlier").mkdir()
    earlier = run / "earlier" / "rollout-000"
    earlier.mkdir()
    for name in ("rollout.json", "blocks.parquet", "events.parquet", "steps"):
        (run / name).rename(earlier / name)
    manifest = Manifest.read(run)
    now = load_plant("cstr_safety").safety
    hashes = {**manifest.hashes, "safety": spec_hash(now), "model": "n"}
    manifest.updated(safety_spec=now.model_dump(mode="json", by_alias=True), hashes=hashes).write(run)
    assert places(run) == []
    edit(earlier / "rollout.json", fail_shadow)
    assert places(run)[0] == "earlier/rollout-000/rollout.json: gates: band (shadow 0)"


@pytest.mark.parametrize("name", ["blocks.parquet", "events.parquet"])
def test_a_roll_out_without_its_tables_is_told(run, name) -> None:
    (run / name).unlink()
    assert len(places(run)) == 1


def test_events_must_say_what_rollout_json_says(run) -> None:
    path = run / "events.parquet"
    kinds = pq.read_table(path)["kind"].to_pylist()
    changed(path, "to_stage", kinds.index("transition"), "full")
    assert places(run) == ["events.parquet"]


def test_blocks_that_were_left_out_at_the_end_are_missed(run) -> None:
    table = pq.read_table(run / "blocks.parquet")
    pq.write_table(table.slice(0, table.num_rows - 1), run / "blocks.parquet")
    assert "steps/stage=full" in places(run)


def test_more_authority_than_the_rung_gives_is_found(run) -> None:
    path = run / "steps" / "stage=bounded" / "seg-00000.parquet"
    table = pq.read_table(path, partitioning=None)
    row = table["arm"].to_pylist().index("policy")
    changed(path, "authority", row, 0.5)
    (fault,) = recompute_rollouts(run)
    assert (fault.found, fault.expected) == ("authority 0.5 in a step", "at most 0.1")


def test_proposals_nearer_to_the_incumbent_than_the_steps_say_are_found(run) -> None:
    changed(run / "blocks.parquet", "distance", 1, 0.0)
    assert places(run) == ["blocks.parquet: block 1"]


def test_a_violation_without_a_guard_is_found(run) -> None:
    blocks = pq.read_table(run / "blocks.parquet")
    row = blocks["arm"].to_pylist().index("policy")
    changed(run / "blocks.parquet", "violations_hard", row, 3)
    found = [str(fault) for fault in recompute_rollouts(run)]
    assert f"blocks.parquet: block {row}: found a violation or no safe action, and no guard" in "".join(found)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"gates": 1}'])
def test_what_is_no_roll_out_is_told_and_raises_nothing(run, text) -> None:
    (run / "rollout.json").write_text(text, "utf-8")
    (fault,) = recompute_rollouts(run)
    assert "no roll-out of this release" in fault.found


@pytest.mark.parametrize("text", ["{", "{}"])
def test_what_is_no_manifest_is_told_and_raises_nothing(run, text) -> None:
    (run / "manifest.json").write_text(text, "utf-8")
    assert places(run) == ["manifest.json"]
    assert [fault.where for fault in recompute_weights(run)] == ["manifest.json"]


def test_weights_must_be_those_of_the_manifest(tmp_path) -> None:
    assert recompute_weights(tmp_path) == []
    plant = load_plant("cstr")
    path = tmp_path / "checkpoints" / "best.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-2
    facts = {"run_id": "run", "algorithm": "fpo", "command": "", "seed": 0, "device": "cpu", "plant_spec": plant.spec}
    Manifest.collect(**facts, model_hash=digest).write(tmp_path)
    assert recompute_weights(tmp_path) == []
    path.write_bytes(b"abd")
    assert [fault.where for fault in recompute_weights(tmp_path)] == ["checkpoints/best.safetensors"]
    path.unlink()
    assert [fault.found for fault in recompute_weights(tmp_path)] == ["no file"]
    path.write_bytes(b"abc")
    Manifest.collect(**facts).write(tmp_path)
    assert len(recompute_weights(tmp_path)) == 1


def test_blocks_made_to_look_better_are_found_twice(run) -> None:
    changed(run / "blocks.parquet", "interventions", 1, 10_000)
    changed(run / "blocks.parquet", "outside_band", 1, 1)
    found = places(run)
    assert "blocks.parquet: block 1" in found
    assert any(place.startswith("rollout.json: gates") for place in found)


def test_a_return_that_is_no_number_is_the_same_in_all_files(run) -> None:
    path = run / "steps" / "stage=shadow" / "seg-00000.parquet"
    changed(path, "reward.total", row_of(path, block=1, step=3), float("nan"))
    changed(run / "blocks.parquet", "return", 1, float("nan"))
    assert places(run) == ["rollout.json: kpi: shadow: incumbent"]
    nothing = {"mean": None, "low": None, "high": None}
    edit(run / "rollout.json", lambda document: document["kpi"]["shadow"]["incumbent"].update(nothing))
    assert places(run) == []


def test_another_safety_spec_in_the_manifest_is_told(run) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    manifest["safety_spec"]["limits"][0]["high"] = 400.0
    (run / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert places(run)[0] == "manifest.json"


def test_a_run_without_a_roll_out_has_nothing_to_recompute(tmp_path) -> None:
    assert recompute_rollouts(tmp_path) == []
