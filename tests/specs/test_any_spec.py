"""Whatever is done to a spec, loading it either works or says what is wrong: no other exception comes out."""

from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from fpo_pilot.errors import SpecError, SpecErrors
from fpo_pilot.specs import load_evaluation_spec, load_plant_spec, load_safety_spec, load_training_spec

VALUES = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1e308,
        2.5,
        "",
        "x",
        "T",
        "5 K",
        "-3 m",
        "1 1/",
        "nan K",
        [],
        [1],
        [[]],
        {},
        {"a": 1},
        {"kind": "fixed"},
        "T > 3",
        "9**9",
    ]
)
EXAMPLES = 30
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def places(data: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List the paths of everything in a file."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(found for key, value in pairs for found in places(value, (*path, key)))]


def check(kind: str, project) -> None:
    """Load the damaged file; whatever is raised must be sound advice."""
    plant = project.sound_plant()
    load = {
        "plant": lambda: load_plant_spec("boiler"),
        "safety": lambda: load_safety_spec("boiler", plant),
        "training": lambda: load_training_spec("boiler"),
        "evaluation": lambda: load_evaluation_spec(plant),
    }[kind]
    told: tuple[SpecError, ...] = ()
    try:
        load()
    except SpecErrors as errors:
        told = errors.errors
        assert told
    for error in told:
        assert error.where
        assert error.file == project.path(kind)
        assert error.line is not None
        assert error.line >= 1
        assert error.fix


@pytest.mark.parametrize("kind", ["plant", "safety", "training", "evaluation"])
@SETTINGS
@given(data=st.data())
def test_any_value_anywhere_is_loaded_or_told(project, kind: str, data: st.DataObject) -> None:
    reader = YAML(typ="safe", pure=True)
    content = reader.load(project.texts[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(content)[1:]))
        holder = content
        for part in path[:-1]:
            holder = holder[part]
        if data.draw(st.booleans()):
            holder[path[-1]] = copy.deepcopy(data.draw(VALUES))
        else:
            del holder[path[-1]]
        if not places(content)[1:]:
            break
    with project.path(kind).open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
    check(kind, project)


@pytest.mark.parametrize("kind", ["plant", "safety"])
@SETTINGS
@given(
    start=st.integers(0, 3000),
    length=st.integers(0, 40),
    instead=st.text(alphabet="{}[]:,-'\"#&*!|>%@ \t\n0aé\x00", max_size=4),
)
def test_any_damage_to_the_text_is_loaded_or_told(project, kind: str, start: int, length: int, instead: str) -> None:
    text = project.texts[kind]
    start %= len(text)
    project.write(kind, text[:start] + instead + text[start + length :])
    check(kind, project)


def test_a_list_where_a_term_of_an_observation_belongs_is_told(project) -> None:
    content = YAML(typ="safe", pure=True).load(project.texts["plant"])
    content["observations"] = [{"term": []}, {"term": {"a": 1}, "scale": 2.0}]
    with project.path("plant").open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
    with pytest.raises(SpecErrors):
        load_plant_spec("boiler")
    check("plant", project)
