from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.reporting.risks import main_risks
from fpo_pilot.reporting.run_folder import read_run

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
Make = Callable[..., Path]


def names(folder: Path) -> list[str]:
    risks = main_risks(read_run(folder))
    assert len(risks) == 3
    return [risk.title.key.removeprefix("risk.") for risk in risks]  # type: ignore[union-attr]


def test_a_clean_run_still_names_what_is_not_covered_and_not_tested(make_run: Make) -> None:
    assert names(make_run()) == ["uncovered_hazard", "faults_not_tested", "one_scenario"]


def test_a_fault_that_no_quality_shows_counts_as_tested(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()
    edit_json(folder / "evaluation.json", lambda document: document.update(faulty_scenarios=["blind"]))
    assert "faults_not_tested" not in names(folder)


def test_a_run_that_was_only_trained_names_what_is_missing(make_run: Make, edit_json: Edit) -> None:
    folder = make_run(evaluated=False)
    edit_json(folder / "manifest.json", lambda document: document["safety_spec"]["hazards"].pop("H-002"))
    assert names(folder) == ["not_evaluated", "not_rolled_out", "simulator"]


def test_a_plant_without_a_safety_spec_is_the_first_risk(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()
    edit_json(folder / "manifest.json", lambda document: document.update(safety_spec=None))
    assert names(folder)[0] == "no_safety_spec"


def worst(document: dict[str, Any], shield: bool) -> dict[str, Any]:
    keys = ("flow", "noise 0", shield)
    return next(row for row in document["rows"] if (row["arm"], row["mode"], row["shield"]) == keys)


def violate(document: dict[str, Any]) -> None:
    worst(document, True)["violations"].update(episodes_with=2)


def violate_bare(document: dict[str, Any]) -> None:
    worst(document, False)["violations"].update(episodes_with=9)


def lean(document: dict[str, Any]) -> None:
    worst(document, True).update(interventions_per_100_steps=22.0)


def squeeze(document: dict[str, Any]) -> None:
    worst(document, True).update(margins_min={"T_trip": 1.5, "T_high": -3.0})


def fail(document: dict[str, Any]) -> None:
    document["verdict"].update(result="fail")


def leave_open(document: dict[str, Any]) -> None:
    document["verdict"].update(result="inconclusive")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (violate, "violations"),
        (violate_bare, "needs_shield"),
        (lean, "interventions"),
        (squeeze, "margin"),
        (fail, "not_as_good"),
        (leave_open, "verdict_open"),
    ],
)
def test_what_the_evaluation_shows_comes_first(
    make_run: Make, edit_json: Edit, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    folder = make_run()
    edit_json(folder / "evaluation.json", change)
    assert names(folder)[0] == expected


@pytest.mark.parametrize(("verdict", "expected"), [("fail", "gate_failed"), ("inconclusive", "gates_open")])
def test_gates_that_did_not_pass_are_risks(make_run: Make, edit_json: Edit, verdict: str, expected: str) -> None:
    folder = make_run()
    edit_json(folder / "rollout.json", lambda document: document["gates"][0].update(verdict=verdict))
    assert names(folder)[0] == expected


def test_guards_that_fired_are_a_risk(make_run: Make) -> None:
    folder = make_run()
    events = pq.read_table(folder / "events.parquet")
    row = {**events.to_pylist()[-1], "seq": 15000, "kind": "guard", "reason": "integrity.nan:T"}
    pq.write_table(pa.Table.from_pylist([*events.to_pylist(), row]), folder / "events.parquet")
    assert names(folder)[0] == "guards"


def test_equal_results_in_every_episode_are_a_risk(make_run: Make) -> None:
    folder = make_run()
    episodes = pq.read_table(folder / "episodes.parquet")
    place = episodes.schema.get_field_index("return")
    constant = pa.array([-20.0] * episodes.num_rows)
    pq.write_table(episodes.set_column(place, "return", constant), folder / "episodes.parquet")
    assert names(folder)[0] == "degenerate"


def test_few_episodes_are_a_risk(make_run: Make) -> None:
    assert names(make_run(seeds=8))[0] == "few_episodes"
