"""A safety case: every claim needs evidence, and what is stale, refused or unguarded makes it fail."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fpo_pilot import cli
from fpo_pilot.certification import validate as validation
from fpo_pilot.certification.case import SafetyCase, build_case
from fpo_pilot.certification.conditions import campaign_conditions
from fpo_pilot.certification.record import Acted, Record, write_record
from fpo_pilot.certification.validate import Plan, validate
from fpo_pilot.certification.words import CASE, GUARDS
from fpo_pilot.commands.safety_case import page
from fpo_pilot.plants.plant import Plant


def hazard(**changes: Any) -> dict[str, Any]:
    texts = {
        name: {"en": name, "ja": f"{name}（日本語）"}
        for name in ("title", "deviation", "cause", "consequence", "safeguard")
    }
    return texts | {"severity": 5, "likelihood": 3, "owner": "safety"} | changes


HAZARDS = {"H-1": hazard(), "H-2": hazard(), "H-3": hazard(severity=2)}
LIMITS = (
    {"id": "level.high", "signal": "level", "high": 3.0, "kind": "hard", "hazard": "H-1"},
    {"id": "level.low", "signal": "level", "low": 1.5, "kind": "soft", "hazard": "H-3"},
)


@pytest.fixture(scope="module")
def tank(make_tank: Callable[..., Plant]) -> Plant:
    return make_tank(safety={"hazards": HAZARDS, "limits": LIMITS, "sensors": {"level": {"hazard": "H-2"}}})


@pytest.fixture(scope="module")
def certified(tank: Plant, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plant, Record, Path]:
    """The tank with a certificate of the conditions that the claims need."""

    def few(plant: Plant, safety: Any, *, corners: int) -> Any:
        every = campaign_conditions(plant, safety, corners=corners)
        return tuple(one for one in every if one.name in ("nominal", "level nan", "level range", "level stuck"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "campaign_conditions", few)
        record = validate(tank, Plan(episodes=4)).record
    assert record.verdict == "certified"
    file = tmp_path_factory.mktemp("certificates") / "tank.json"
    write_record(file, record)
    return tank, record, file


def case(plant: Plant, status: Any, record: Record | None, file: Path) -> SafetyCase:
    assert plant.safety is not None
    return build_case(plant.spec, plant.safety, status=status, record=record, record_file=file)


def test_every_claim_has_its_evidence_by_the_hash_of_the_certificate(certified: tuple[Plant, Record, Path]) -> None:
    plant, record, file = certified
    found = case(plant, "valid", record, file)
    assert found.supported
    by_hazard = {claim.hazard: claim for claim in found.claims}
    (limit,) = by_hazard["H-1"].guards
    least = min(row.shielded.least_margin["level.high"] or 0.0 for row in record.covered())
    assert limit.evidence[0].text.en.startswith(f"least margin {least:.3g} over")
    assert limit.evidence[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    (sensor,) = by_hazard["H-2"].guards
    assert sensor.kind == "sensor_check"
    assert [seen.text.en for seen in sensor.evidence] == [
        "level nan is recognised; 0 of 24 episodes passed a hard limit",
        "level range is recognised; 0 of 24 episodes passed a hard limit",
    ]
    assert by_hazard["H-1"].risk == 15
    assert found.assumptions == record.assumptions


def test_an_alarm_is_enough_for_a_small_risk_only(
    make_tank: Callable[..., Plant], certified: tuple[Plant, Record, Path]
) -> None:
    _, record, file = certified
    low = [row.shielded.least_margin["level.low"] for row in record.covered()]
    assert min(value for value in low if value is not None) < 0.0  # the backup empties the tank
    grave = make_tank(safety={"hazards": HAZARDS | {"H-3": hazard()}, "limits": LIMITS})
    (claim,) = [one for one in case(grave, "valid", record, file).claims if one.hazard == "H-3"]
    assert claim.missing == (CASE["alarm_only"],)
    assert not claim.guards[0].counts
    assert claim.guards[0].evidence  # it is shown all the same
    # beside a limit that is kept, an alarm that rang breaks nothing
    beside = tuple(one | {"hazard": "H-1"} for one in LIMITS)
    both = make_tank(safety={"hazards": HAZARDS, "limits": beside})
    (claim,) = [one for one in case(both, "valid", record, file).claims if one.hazard == "H-1"]
    assert ([guard.counts for guard in claim.guards], claim.missing) == ([True, False], ())


@pytest.mark.parametrize("status", ["absent", "stale", "altered", "refused"])
def test_without_a_valid_certificate_nothing_is_supported(certified: tuple[Plant, Record, Path], status: Any) -> None:
    plant, record, file = certified
    found = case(plant, status, None if status == "absent" else record, file)
    assert found.gaps == (CASE[f"certificate_{status}"],)
    assert all(claim.missing for claim in found.claims)
    assert not any(guard.evidence for claim in found.claims for guard in claim.guards)
    assert found.assumptions == ()


def test_a_hazard_that_nothing_guards_is_named(
    make_tank: Callable[..., Plant], certified: tuple[Plant, Record, Path]
) -> None:
    _, record, file = certified
    bare = make_tank(safety={"hazards": HAZARDS, "limits": LIMITS})
    found = case(bare, "valid", record, file)
    assert not found.supported
    assert {claim.hazard: claim.missing for claim in found.claims if claim.missing} == {"H-2": (CASE["unguarded"],)}


def test_a_violation_supports_nothing(certified: tuple[Plant, Record, Path]) -> None:
    plant, record, file = certified
    passed = {"violations": 1, "least_margin": {"level.high": -0.1, "level.low": 0.0}}
    rows = tuple(row.model_copy(update={"shielded": row.shielded.model_copy(update=passed)}) for row in record.rows)
    found = case(plant, "valid", record.model_copy(update={"rows": rows}), file)
    assert {claim.hazard for claim in found.claims if claim.missing} == {"H-1", "H-2"}


def test_a_limit_whose_margin_is_no_number_in_one_row_is_not_shown_to_be_kept(
    certified: tuple[Plant, Record, Path],
) -> None:
    plant, record, file = certified
    first = record.rows[0]
    gone = first.model_copy(
        update={"shielded": first.shielded.model_copy(update={"least_margin": {"level.high": None}})}
    )
    found = case(plant, "valid", record.model_copy(update={"rows": (gone, *record.rows[1:])}), file)
    assert {claim.hazard for claim in found.claims if claim.missing} == {"H-1"}


RULE = {
    "id": "I-level",
    "trip_when": "level >= 2.5 m",
    "reset_when": "level < 2.0 m",
    "set": {"inflow": 0.0},
    "hazard": "H-1",
}


def with_acts(record: Record, reason: str, *, episodes: int, violations: int) -> Record:
    acted = {reason: {"episodes": episodes, "violations": violations}}
    rows = [row.model_dump() for row in record.rows]
    rows[0]["shielded"]["acted"] |= acted
    return Record.model_validate(record.model_dump() | {"rows": rows})


def test_each_guard_needs_its_own_evidence_and_the_one_without_is_named(
    make_tank: Callable[..., Plant], certified: tuple[Plant, Record, Path]
) -> None:
    _, record, file = certified
    both = make_tank(safety={"hazards": {"H-1": hazard()}, "limits": LIMITS[:1], "interlocks": [RULE]})
    (claim,) = case(both, "valid", record, file).claims
    assert [guard.supported for guard in claim.guards] == [
        True,
        False,
    ]  # the limit was kept, the interlock never tripped
    assert [text.en for text in claim.missing] == ["No valid evidence speaks for the interlock `I-level`."]
    assert claim.guards[1].evidence[0].text == CASE["never_acted"]
    tripped = with_acts(record, "interlock:I-level", episodes=3, violations=0)
    (claim,) = case(both, "valid", tripped, file).claims
    assert claim.missing == ()
    assert claim.guards[1].evidence[0].text.en.startswith("acted in 3 episodes")
    passed = with_acts(record, "interlock:I-level", episodes=3, violations=1)
    (claim,) = case(both, "valid", passed, file).claims
    assert [guard.supported for guard in claim.guards] == [True, False]


def test_a_sequence_that_held_nothing_supports_nothing(
    make_tank: Callable[..., Plant], certified: tuple[Plant, Record, Path]
) -> None:
    _, record, file = certified
    order = {"id": "S-fill", "hazard": "H-1", "start": "a", "phases": {"a": {"hold": {"inflow": 0.0}}}}
    plant = make_tank(safety={"hazards": {"H-1": hazard()}, "limits": LIMITS[:1], "sequences": [order]})
    assert case(plant, "valid", record, file).claims[0].missing
    held = with_acts(record, "sequence:S-fill", episodes=1, violations=0)
    assert not case(plant, "valid", held, file).claims[0].missing


@pytest.mark.parametrize(
    ("sensor", "faults"), [({"hazard": "H-2", "frozen_after": 2}, ()), ({"hazard": "H-2"}, ("stuck",))]
)
def test_a_hazard_of_a_frozen_transmitter_needs_the_row_of_that_fault(
    make_tank: Callable[..., Plant],
    certified: tuple[Plant, Record, Path],
    sensor: dict[str, Any],
    faults: tuple[str, ...],
) -> None:
    _, record, file = certified
    log = {"H-2": hazard(faults=faults)}
    plant = make_tank(safety={"hazards": log, "limits": LIMITS[:1], "sensors": {"level": sensor}})
    (claim,) = case(plant, "valid", record, file).claims
    assert [text.en for text in claim.missing] == ["No valid evidence speaks for the sensor check `level`."]
    assert claim.guards[0].evidence[-1].text.en.startswith("level stuck is not recognised in every row")
    frozen = {"integrity.frozen:level": Acted(episodes=4, violations=0)}
    rows = tuple(
        row.model_copy(update={"shielded": row.shielded.model_copy(update={"acted": frozen, "violations": 0})})
        if row.condition == "level stuck"
        else row
        for row in record.rows
    )
    assert not case(plant, "valid", record.model_copy(update={"rows": rows}), file).claims[0].missing
    less = tuple(row for row in record.rows if row.condition != "level stuck")
    (claim,) = case(plant, "valid", record.model_copy(update={"rows": less}), file).claims
    assert claim.guards[0].evidence[-1].text.en == "no row of level stuck"
    assert claim.missing


def test_a_hazard_about_a_sensor_that_no_sensor_check_guards_is_named(
    make_tank: Callable[..., Plant], certified: tuple[Plant, Record, Path]
) -> None:
    _, record, file = certified
    plant = make_tank(safety={"hazards": {"H-1": hazard(faults=("nan", "stuck"))}, "limits": LIMITS[:1]})
    (claim,) = case(plant, "valid", record, file).claims
    assert [text.en for text in claim.missing] == [
        "No sensor check names this hazard, which is about faults of a sensor (nan, stuck)."
    ]


def test_both_languages_say_the_same(certified: tuple[Plant, Record, Path]) -> None:
    found = case(*certified[:1], "valid", *certified[1:])
    english, japanese = page(found, "en"), page(found, "ja")
    assert re.findall(r"[0-9a-f]{12}|H-\d|`[^`]+`", english) == re.findall(r"[0-9a-f]{12}|H-\d|`[^`]+`", japanese)
    assert len(english.splitlines()) == len(japanese.splitlines())
    assert "no safety instrumented function" in english
    assert "安全計装機能（SIF）の根拠ではなく" in japanese
    assert all(text.ja != text.en for text in (*CASE.values(), *GUARDS.values()))
    assert "hard limit `level.high`" in english
    assert "絶対制限 `level.high`" in japanese


def test_the_command_fails_a_plant_without_a_certificate_and_writes_both_pages(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fpo-pilot", "safety-case", "quad_tank", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert isinstance(left.value.code, int)
        return left.value.code, capfd.readouterr().out

    code, out = call()
    assert code == 1
    assert "There is no certificate" in out
    code, out = call("--json", "--output", str(tmp_path))
    assert code == 1
    document = json.loads(out)
    assert document["supported"] is False
    assert document["claims"][0]["guards"][0]["id"] == "h1.high"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["safety-case.en.md", "safety-case.ja.md"]
