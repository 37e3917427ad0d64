"""A record speaks for the specs that it names by hash, in both languages, and for nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import fpo_pilot
from fpo_pilot.certification import validate as validation
from fpo_pilot.certification import words
from fpo_pilot.certification.code import shields_hash
from fpo_pilot.certification.conditions import CampaignCondition, campaign_conditions
from fpo_pilot.certification.record import Status, read_record, status_of, write_record
from fpo_pilot.certification.validate import Plan, Validation, binding_of, planned, validate
from fpo_pilot.errors import CertificateError
from fpo_pilot.logs import code_hash
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.safety import SafetySpec

MakeTank = Callable[..., Plant]


@pytest.fixture(scope="module")
def refused(make_tank: MakeTank) -> Validation:
    return validate(make_tank(predictive=None), Plan(episodes=4, command="fpo-pilot validate-safety tank"))


def test_a_record_is_read_back_as_it_was_written(refused: Validation, tmp_path: Path) -> None:
    path = tmp_path / "safety" / "certificates" / "tank.json"
    write_record(path, refused.record)
    assert read_record(path) == refused.record
    first = path.read_bytes()
    write_record(path, read_record(path))
    assert path.read_bytes() == first


@pytest.fixture(scope="module")
def certified(make_tank: MakeTank) -> Validation:
    """A certificate of the nominal plant and one corner."""

    def few(plant: Plant, safety: SafetySpec, *, corners: int) -> tuple[CampaignCondition, ...]:
        every = campaign_conditions(plant, safety, corners=corners)
        return tuple(one for one in every if one.name in ("nominal", "corner -"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "campaign_conditions", few)
        found = validate(make_tank(), Plan(episodes=4))
    assert found.record.verdict == "certified"
    return found


def status(path: Path, plant: Plant, name: str = "tank") -> tuple[Status, tuple[str, ...]]:
    return status_of(path, binding_of(plant), plant=name)


def test_the_word_certified_beside_reasons_or_violations_is_an_edit(
    make_tank: MakeTank, refused: Validation, tmp_path: Path
) -> None:
    path, plant = tmp_path / "tank.json", make_tank(predictive=None)
    write_record(path, refused.record)
    assert status(path, plant) == ("refused", ())
    told = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(told | {"verdict": "certified"}), "utf-8")
    assert status(path, plant) == ("altered", ("digest", "verdict"))
    with pytest.raises(CertificateError, match="found a record that was edited since it was written"):
        read_record(path)
    # whoever computes the digest anew is still told by reasons and rows
    forged = refused.record.model_copy(update={"verdict": "certified"})
    write_record(path, forged)
    assert status(path, plant) == ("altered", ("verdict",))
    assert sum(row.shielded.violations for row in forged.covered()) > 0
    write_record(path, forged.model_copy(update={"reasons": ()}))
    assert status(path, plant) == ("altered", ("verdict",))


@pytest.mark.parametrize(
    "change",
    [
        {"rows": ()},
        {"rows": (), "conditions": ()},
        {"shield": "given"},
    ],
)
def test_a_certificate_needs_rows_of_every_condition_that_decides_and_the_declared_shield(
    certified: Validation, make_tank: MakeTank, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "tank.json"
    write_record(path, certified.record)
    assert status(path, make_tank()) == ("valid", ())
    write_record(path, certified.record.model_copy(update=change))
    assert status(path, make_tank()) == ("altered", ("verdict",))


def test_a_condition_without_its_rows_is_missed(certified: Validation, make_tank: MakeTank, tmp_path: Path) -> None:
    path = tmp_path / "tank.json"
    rows = tuple(row for row in certified.record.rows if row.condition != "corner -")
    assert rows
    write_record(path, certified.record.model_copy(update={"rows": rows}))
    assert status(path, make_tank()) == ("altered", ("verdict",))


def test_any_edit_by_hand_is_noticed(certified: Validation, make_tank: MakeTank, tmp_path: Path) -> None:
    path = tmp_path / "tank.json"
    write_record(path, certified.record)
    text = path.read_text("utf-8")
    path.write_text(text.replace('"episodes":4', '"episodes":400', 1), "utf-8")
    assert status(path, make_tank()) == ("altered", ("digest",))
    told = json.loads(text)
    del told["digest"]
    path.write_text(json.dumps(told), "utf-8")
    assert status(path, make_tank()) == ("altered", ("digest",))


def test_a_record_of_another_plant_shield_code_or_release_is_stale(
    certified: Validation, make_tank: MakeTank, tmp_path: Path
) -> None:
    path, record = tmp_path / "tank.json", certified.record
    write_record(path, record)
    assert status(path, make_tank(), name="crane") == ("stale", ("plant",))
    write_record(path, record.model_copy(update={"fpo_pilot_version": "0.0.1"}))
    assert status(path, make_tank()) == ("stale", ("fpo_pilot_version",))
    other = record.binding.model_copy(update={"shields": "0" * 64})
    write_record(path, record.model_copy(update={"binding": other}))
    assert status(path, make_tank()) == ("stale", ("shields",))


def test_a_record_from_before_digests_is_read_and_speaks_for_nothing(
    certified: Validation, make_tank: MakeTank, tmp_path: Path
) -> None:
    path = tmp_path / "tank.json"
    told = certified.record.model_dump(mode="json", exclude={"digest", "signature", "shield"})
    del told["binding"]["shields"]
    path.write_text(json.dumps(told), "utf-8")
    assert read_record(path).verdict == "certified"
    assert status(path, make_tank()) == ("stale", ("shields",))


def test_dynamics_in_no_file_are_never_certified(make_tank: MakeTank, certified: Validation, tmp_path: Path) -> None:
    unbound = replace(make_tank(), dynamics_file=None)
    assert [reason.code for reason in planned(unbound, Plan())[1]] == ["dynamics_unbound"]
    path = tmp_path / "tank.json"
    nothing = certified.record.binding.model_copy(update={"dynamics": None})
    write_record(path, certified.record.model_copy(update={"binding": nothing}))
    assert status(path, unbound) == ("altered", ("verdict",))


def test_the_hash_of_code_is_over_names_and_bytes_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "stack.py").write_text("a = 1")
    (tmp_path / "model" / "terminal.py").write_text("b = 2")
    first = code_hash(tmp_path)
    (tmp_path / "model" / "terminal.py").write_text("b = 3")
    assert code_hash(tmp_path) != first
    (tmp_path / "model" / "terminal.py").write_text("b = 2")
    assert code_hash(tmp_path) == first
    (tmp_path / "stack.py").rename(tmp_path / "pile.py")
    assert code_hash(tmp_path) != first
    assert shields_hash() == code_hash(Path(fpo_pilot.__file__).parent / "shields")


def test_a_changed_spec_makes_a_record_stale(
    make_tank: MakeTank, certified: Validation, refused: Validation, tmp_path: Path
) -> None:
    path, plant = tmp_path / "tank.json", make_tank()
    assert status(path, plant) == ("absent", ())
    write_record(path, certified.record)
    assert status(path, plant) == ("valid", ())
    assert status(path, make_tank(half_width=0.2)) == ("stale", ("plant_spec",))
    higher = {"limits": ({"id": "level.high", "signal": "level", "high": 3.5, "kind": "hard"},)}
    assert status(path, make_tank(safety=higher)) == ("stale", ("safety_spec",))
    file = tmp_path / "tank.py"
    file.write_text("another")
    assert status(path, replace(plant, dynamics_file=file)) == ("stale", ("dynamics",))
    write_record(path, refused.record)
    assert status(path, make_tank(predictive=None)) == ("refused", ())


def test_what_is_no_record_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="found no file"):
        read_record(tmp_path / "none.json")
    file = tmp_path / "cut.json"
    file.write_text("{")
    with pytest.raises(CertificateError, match=r"cut\.json: the document: found Invalid JSON"):
        read_record(file)


def test_every_sentence_is_there_in_both_languages_with_the_same_numbers() -> None:
    texts = [*words.REASONS.values(), *words.ASSUMPTIONS, *words.WHY.values(), *words.STATUS.values()]
    texts += words.SIGNED.values()
    for text in texts:
        assert text.en.isascii()
        assert re.search(r"[぀-ヿ一-鿿]", text.ja), text.en
        assert set(re.findall(r"\d+", text.en)) <= set(re.findall(r"\d+", text.ja)), text.en
