"""An offline evaluation is recomputed from its Parquet files; what was written otherwise is found, though the ledger knows it so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from fpo_pilot.evaluate import build_arms, evaluate
from fpo_pilot.evidence.recompute_evaluation import recompute_evaluation
from fpo_pilot.learn import build_policy
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.plants.load import load_plant
from fpo_pilot.specs.evaluation import EvaluationSpec, Scenario
from fpo_pilot.specs.plant import Uniform
from fpo_pilot.specs.training import FpoSpec, Network


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    plant = load_plant("cstr")
    varied = Scenario(name="varied", start={"T": Uniform(low=328.0, high=332.0)})
    spec = EvaluationSpec(
        episodes=6, log_episodes=2, oracle=False, noise_scales=(0.0, 1.0), scenarios=(Scenario(), varied)
    )
    policy = build_policy(FpoSpec(actor=Network(width=8, depth=1)), 7, 1, generator=torch.Generator().manual_seed(0))
    evaluate(plant, build_arms(plant, {"flow": policy}), spec, run, seed=3)
    return run


@pytest.fixture
def run(evaluated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(evaluated, tmp_path / "run"))


def edit(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((run / "evaluation.json").read_text())
    change(document)
    (run / "evaluation.json").write_text(json.dumps(document))


def set_value(path: Path, column: str, row: int, value: object) -> None:
    table = pq.read_table(path, partitioning=None)
    values = table[column].to_pylist()
    values[row] = value
    index = table.schema.get_field_index(column)
    field = table.schema.field(index)
    pq.write_table(table.set_column(index, field, pa.array(values, field.type)), path)


def found(run: Path) -> list[str]:
    return [f"{fault.where}: {fault.found}" for fault in recompute_evaluation(run)]


def test_what_an_evaluation_wrote_comes_out_again(run: Path) -> None:
    document = json.loads((run / "evaluation.json").read_text())
    assert document["verdict"]["result"] in {"pass", "fail"}
    assert [one["deterministic"] for one in document["verdict"]["by_scenario"]] == [True, False]
    assert found(run) == []


def test_a_run_without_an_evaluation_has_nothing_to_recompute(tmp_path: Path) -> None:
    assert recompute_evaluation(tmp_path) == []


def better(document: dict[str, Any]) -> None:
    document["verdict"]["result"] = "pass" if document["verdict"]["result"] == "fail" else "fail"


def closer(document: dict[str, Any]) -> None:
    document["verdict"]["by_scenario"][1]["difference"]["high"] += 1e-3


def fewer(document: dict[str, Any]) -> None:
    del document["verdict"]["by_scenario"][1]


def certain(document: dict[str, Any]) -> None:
    document["verdict"]["by_scenario"][1]["deterministic"] = True


def safer(document: dict[str, Any]) -> None:
    document["rows"][-1]["violations"]["upper95"] /= 2


def evident(document: dict[str, Any]) -> None:
    document["rows"][-1]["violations"]["independent"] = 1000


def gentle(document: dict[str, Any]) -> None:
    document["rows"][0]["interventions_per_100_steps"] += 0.5


def roomy(document: dict[str, Any]) -> None:
    limit = next(iter(document["rows"][0]["margins_min"]))
    document["rows"][0]["margins_min"][limit] = 99.0


def dear(document: dict[str, Any]) -> None:
    document["rows"][0]["return"]["mean"] -= 0.01


def sure(document: dict[str, Any]) -> None:
    document["rows"][-1]["return"].update(low=-1.0, high=0.0)


def lenient(document: dict[str, Any]) -> None:
    document["verdict"]["margin"] = 1000.0


def lenient_throughout(document: dict[str, Any]) -> None:
    document["verdict"]["margin"] = document["spec"]["margin"] = 1000.0


def unspoken(document: dict[str, Any]) -> None:
    del document["spec"]


def easy(document: dict[str, Any]) -> None:
    document["scenarios"] = ["nominal"]
    document["rows"] = [row for row in document["rows"] if row["scenario"] == "nominal"]
    document["verdict"]["by_scenario"] = document["verdict"]["by_scenario"][:1]
    document["verdict"].update(document["verdict"]["by_scenario"][0], scenario="nominal")
    del document["verdict"]["deterministic"]


def quiet(document: dict[str, Any]) -> None:
    document["rows"] = [row for row in document["rows"] if row["mode"] != "noise 1"]


def doubled(document: dict[str, Any]) -> None:
    document["rows"].append(document["rows"][0])


def replaced(document: dict[str, Any]) -> None:
    document["verdict"]["candidate"] = {"arm": "hold", "mode": "", "shield": True}


def dropped(document: dict[str, Any]) -> None:
    document["verdict"].update(candidate=None, incumbent=None, result="inconclusive", by_scenario=[])


def tried_less(document: dict[str, Any]) -> None:
    for chosen in (document["deployment"], document["deployments"]["flow"]):
        del chosen["chosen_from"][1]


def tried_better(document: dict[str, Any]) -> None:
    for chosen in (document["deployment"], document["deployments"]["flow"]):
        chosen["chosen_from"][1]["mean"] += 1.0


def tried_surer(document: dict[str, Any]) -> None:
    for chosen in (document["deployment"], document["deployments"]["flow"]):
        chosen["chosen_from"][1]["low"] = -1e-3


def chose_other(document: dict[str, Any]) -> None:
    for chosen in (document["deployment"], document["deployments"]["flow"]):
        other = next(one for one in chosen["chosen_from"] if one["label"] != chosen["label"])
        chosen.update(label=other["label"], noise_scale=other["noise_scale"])


def of_others(document: dict[str, Any]) -> None:
    document["hashes"]["flow"] = "0" * 64


def unlimited(document: dict[str, Any]) -> None:
    for row in document["rows"]:
        row["margins_min"].popitem()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sure, "mean return"),
        (lenient, "verdict.margin: 1000.0"),
        (lenient_throughout, "spec: a spec of another hash"),
        (unspoken, "no evaluation spec"),
        (easy, "rows: no row of flow noise 0, varied, shield on"),
        (quiet, "rows: no row of flow noise 1, nominal, shield on"),
        (doubled, "rows: two rows of hold"),
        (replaced, "verdict: a verdict on arm='hold'"),
        (dropped, "verdict: a verdict on None"),
        (tried_less, "deployments: flow chosen from noise 0"),
        (tried_better, "deployments: flow with noise 1: a return of"),
        (chose_other, "deployments: flow: noise "),
        (unlimited, "limits "),
        (of_others, "hashes.flow: steps flown by weights "),
        (better, "verdict: "),
        (closer, "verdict: varied: a difference of"),
        (fewer, "verdict: a verdict in nominal"),
        (certain, "verdict: episodes in varied that differ"),
        (safer, "an upper bound of"),
        (evident, "an upper bound of"),
        (gentle, "interventions in 100 steps"),
        (roomy, "a least margin"),
        (dear, "mean return"),
    ],
)
def test_a_document_that_says_something_else_is_found(
    run: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit(run, change)
    assert any(message in fault for fault in found(run)), found(run)


def test_of_a_deployment_the_recorded_interval_is_told_beside_the_recomputed_one(run: Path) -> None:
    edit(run, tried_surer)
    (fault,) = recompute_evaluation(run)
    assert " (-0.001 to " in fault.expected


def test_episodes_that_say_something_else_are_found(run: Path) -> None:
    table = pq.read_table(run / "episodes.parquet")
    set_value(run / "episodes.parquet", "return", 0, table["return"][0].as_py() + 1.0)
    faults = found(run)
    assert any("mean return" in fault for fault in faults)
    assert any("over its steps" in fault for fault in faults)


def test_an_episode_that_was_left_out_is_found(run: Path) -> None:
    table = pq.read_table(run / "episodes.parquet")
    pq.write_table(table.slice(1), run / "episodes.parquet")
    faults = found(run)
    assert any("5 episodes" in fault for fault in faults)
    assert any("steps of episode 0" in fault for fault in faults)


def test_steps_that_say_something_else_are_found(run: Path) -> None:
    (segment, *_) = sorted((run / "steps/stage=offline").glob("*.parquet"))
    set_value(segment, "reward.total", 3, 5.0)
    assert len(found(run)) == 1
    assert "over its steps" in found(run)[0]


def test_a_violation_that_nobody_told_is_found(run: Path) -> None:
    set_value(run / "episodes.parquet", "violations_hard", 0, 4)
    assert any("1 episodes beyond a hard limit" in fault for fault in found(run))


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_what_is_no_evaluation_is_told(run: Path, text: str) -> None:
    (run / "evaluation.json").write_text(text)
    assert "no evaluation that can be read" in found(run)[0]


def test_tables_of_the_choice_and_of_the_worst_episodes_are_missed_and_read(run: Path) -> None:
    for name in ("selection.parquet", "worst.json", "worst.parquet"):
        kept = (run / name).read_bytes()
        (run / name).unlink()
        assert len(found(run)) == 1, name
        (run / name).write_bytes(kept)
    document = json.loads((run / "worst.json").read_text())
    (run / "worst.json").write_text(json.dumps({"episodes": document["episodes"][1:]}))
    assert "by the episodes" in found(run)[0]
    (run / "worst.json").write_text("{")
    assert "no list of episodes" in found(run)[0]
    (run / "worst.json").write_text(json.dumps(document))
    steps = pq.read_table(run / "worst.parquet")
    pq.write_table(steps.slice(10), run / "worst.parquet")
    assert f"{steps.num_rows - 10} steps" in found(run)[0]
    pq.write_table(steps, run / "worst.parquet")
    episodes = pq.read_table(run / "selection.parquet")
    set_value(run / "selection.parquet", "return", 0, episodes["return"][0].as_py() - 5.0)
    assert any("deployments: flow with" in fault for fault in found(run))


def test_steps_of_the_candidate_that_were_taken_out_are_missed(run: Path) -> None:
    (segment, *_) = sorted((run / "steps/stage=offline").glob("*.parquet"))
    table = pq.read_table(segment, partitioning=None)
    kept = table.filter(pc.not_equal(pc.cast(table["arm"], pa.string()), "flow"))
    renumbered = kept.set_column(kept.schema.get_field_index("seq"), "seq", pa.array(range(kept.num_rows), pa.int64()))
    facts = {**table.schema.metadata, b"seq_last": str(kept.num_rows - 1).encode()}
    pq.write_table(renumbered.replace_schema_metadata(facts), segment)
    faults = found(run)
    assert len(faults) == 2 * 2 * 2 * 2  # episodes, scenarios, modes, shield on and off
    assert all("no steps of episode" in fault for fault in faults)


def test_weights_must_be_those_of_the_manifest(run: Path) -> None:
    plant = load_plant("cstr")
    facts = {"run_id": "run", "algorithm": "fpo", "command": "", "seed": 0, "device": "cpu", "plant_spec": plant.spec}
    Manifest.collect(**facts, model_hash="a" * 64).write(run)
    assert found(run) == ["evaluation.json: hashes.checkpoint: weights none…"]
    edit(run, lambda document: document["hashes"].update(checkpoint="a" * 64))
    assert found(run) == []


def test_episodes_without_their_evaluation_are_told(run: Path) -> None:
    (run / "evaluation.json").unlink()
    assert found(run) == ["evaluation.json: no file"]
