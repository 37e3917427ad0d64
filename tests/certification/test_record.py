"""A record speaks for the specs that it names by hash, in both languages, and for nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fpo_pilot.certification import words
from fpo_pilot.certification.record import read_record, status_of, write_record
from fpo_pilot.certification.validate import Plan, Validation, binding_of, validate
from fpo_pilot.errors import CertificateError
from fpo_pilot.plants.plant import Plant

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


def test_a_changed_spec_makes_a_record_stale(make_tank: MakeTank, refused: Validation, tmp_path: Path) -> None:
    path, plant = tmp_path / "tank.json", make_tank(predictive=None)
    assert status_of(path, binding_of(plant)) == ("absent", ())
    certificate = refused.record.model_copy(update={"verdict": "certified", "reasons": ()})
    write_record(path, certificate)
    assert status_of(path, binding_of(plant)) == ("valid", ())
    wider = make_tank(predictive=None, half_width=0.2)
    assert status_of(path, binding_of(wider)) == ("stale", ("plant_spec",))
    higher = {"limits": ({"id": "level.high", "signal": "level", "high": 3.5, "kind": "hard"},)}
    assert status_of(path, binding_of(make_tank(predictive=None, safety=higher))) == ("stale", ("safety_spec",))
    file = tmp_path / "tank.py"
    file.write_text("another")
    assert status_of(path, binding_of(replace(plant, dynamics_file=file))) == ("stale", ("dynamics",))
    write_record(path, refused.record)
    assert status_of(path, binding_of(plant)) == ("refused", ())


def test_what_is_no_record_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="found no file"):
        read_record(tmp_path / "none.json")
    file = tmp_path / "cut.json"
    file.write_text("{")
    with pytest.raises(CertificateError, match=r"cut\.json: the document: found Invalid JSON"):
        read_record(file)


def test_every_sentence_is_there_in_both_languages_with_the_same_numbers() -> None:
    texts = [*words.REASONS.values(), *words.ASSUMPTIONS, *words.WHY.values(), *words.STATUS.values()]
    for text in texts:
        assert text.en.isascii()
        assert re.search(r"[぀-ヿ一-鿿]", text.ja), text.en
        assert set(re.findall(r"\d+", text.en)) <= set(re.findall(r"\d+", text.ja)), text.en
