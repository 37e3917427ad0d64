"""An offline evaluation is recomputed from its Parquet files; what was written otherwise is found, though the ledger knows it so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fpo_pilot.evaluate import build_arms, evaluate
from fpo_pilot.evidence.recompute_evaluation import recompute_evaluation
from fpo_pilot.learn import build_policy
from fpo_pilot.plants.load import load_plant
from fpo_pilot.specs.evaluation import EvaluationSpec, Scenario
from fpo_pilot.specs.plant import Uniform
from fpo_pilot.specs.training import FpoSpec, Network


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    plant = load_plant("cstr")
    varied = Scenario(name="varied", start={"T": Uniform(low=328.0, high=332.0)})
    spec = EvaluationSpec(episodes=6, log_episodes=2, oracle=False, noise_scales=(0.0,), scenarios=(Scenario(), varied))
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
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


def test_what_is_no_evaluation_is_told(run: Path) -> None:
    (run / "evaluation.json").write_text("{}")
    assert "fields that do not fit" in found(run)[0]
