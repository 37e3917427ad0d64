"""A field that came later and says nothing new does not change the identity of a spec."""

from __future__ import annotations

from pydantic import Field

from fpo_pilot.specs.base import Spec
from fpo_pilot.specs.identity import canonical_json, spec_hash


class Old(Spec):
    size: float = 1.0


class New(Spec):
    added = frozenset({"colour"})

    size: float = 1.0
    colour: str = "grey"


class Outer(Spec):
    parts: tuple[New, ...] = ()
    named: dict[str, New] = Field(default_factory=dict)


def test_a_later_field_counts_once_it_says_something() -> None:
    assert spec_hash(New()) == spec_hash(Old())
    assert spec_hash(New(colour="red")) != spec_hash(Old())
    assert spec_hash(New(size=2.0)) != spec_hash(New())


def test_it_holds_within_other_specs() -> None:
    outer = Outer(parts=(New(), New(colour="red")), named={"a": New()})
    assert canonical_json(outer) == '{"named":{"a":{"size":1.0}},"parts":[{"size":1.0},{"colour":"red","size":1.0}]}'


def test_what_is_written_for_people_and_logs_is_whole() -> None:
    assert New().model_dump() == {"size": 1.0, "colour": "grey"}
    assert New.model_validate(New().model_dump(mode="json")) == New()
