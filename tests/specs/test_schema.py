"""JSON Schema for editors: the short forms that the loader takes are in it."""

from __future__ import annotations

import json
import re

import pytest

from fpo_pilot.errors import SpecError
from fpo_pilot.specs.schema import FILES, json_schema


@pytest.mark.parametrize("file", FILES)
def test_every_file_has_a_schema_that_is_json(file: str) -> None:
    schema = json.loads(json.dumps(json_schema(file)))
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_a_number_may_be_a_text_with_a_unit() -> None:
    period = json_schema("plant")["$defs"]["Timing"]["properties"]["period"]
    assert period["type"] == ["number", "string"]
    for text in ("26 s", "-3.5e-2 K/step", "10%", "5"):
        assert re.search(period["pattern"], text)
    assert not re.search(period["pattern"], "soon")


def test_a_start_may_be_a_bare_number() -> None:
    start = json.dumps(json_schema("plant")["$defs"]["Episode"]["properties"]["start"])
    assert '"anyOf"' in start
    assert '"pattern"' in start


def test_fields_are_described() -> None:
    signal = json_schema("plant")["$defs"]["Signal"]["properties"]
    assert "Physical range" in signal["range"]["description"]


def test_the_dynamics_class_has_the_name_it_has_in_the_file() -> None:
    assert "class" in json_schema("plant")["$defs"]["Dynamics"]["properties"]


def test_an_unknown_file_is_told() -> None:
    with pytest.raises(SpecError, match="Did you mean `plant`"):
        json_schema("plnt")
