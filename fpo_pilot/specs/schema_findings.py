"""Validate data against a spec model, and tell every fault in words that a process engineer uses."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import BaseModel, ValidationError

from fpo_pilot.errors import Words
from fpo_pilot.specs.findings import Finding, Path, did_you_mean

if typing.TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)
_NOTHING = Words("nothing")
_DISCRIMINATORS = ("kind", "algorithm")


def validate(model: type[Model], data: Any) -> tuple[Model | None, tuple[Finding, ...]]:
    """Build ``model`` from plain data; None and all faults if it does not fit."""
    try:
        built = model.model_validate(data)
    except ValidationError as error:
        return None, tuple(_finding(model, data, detail) for detail in error.errors(include_url=False))
    mistaken = tuple(_booleans_taken_for_numbers(data, built, ()))
    return (None if mistaken else built), mistaken


def _booleans_taken_for_numbers(data: Any, built: Any, path: Path) -> Iterator[Finding]:
    """Find ``true`` where the model made 1 of it."""
    if isinstance(data, bool) and not isinstance(built, bool):
        yield Finding(path, data, "a number", "Write a number; true and false are for yes-or-no fields.")
    elif isinstance(data, dict):
        for key, value in data.items():
            inner = built.get(key) if isinstance(built, dict) else getattr(built, _attribute(built, key), None)
            if inner is not None:
                yield from _booleans_taken_for_numbers(value, inner, (*path, key))
    elif isinstance(data, list) and isinstance(built, Sequence) and len(data) == len(built):
        for index, (value, inner) in enumerate(zip(data, built, strict=True)):
            yield from _booleans_taken_for_numbers(value, inner, (*path, index))


def _attribute(model: Any, key: str) -> str:
    fields = type(model).model_fields if isinstance(model, BaseModel) else {}
    return next((name for name, field in fields.items() if field.alias == key), key)


def _finding(model: type[BaseModel], data: Any, detail: ErrorDetails) -> Finding:
    kind, loc, found = detail["type"], detail["loc"], detail["input"]
    path = data_path(data, loc)
    context: dict[str, Any] = detail.get("ctx", {})
    if kind == "missing":
        return Finding(path, _NOTHING, f"the key `{path[-1]}`", f"Add `{path[-1]}:`{_purpose(model, data, path)}.")
    if kind == "extra_forbidden":
        known = known_keys(model, data, path[:-1])
        return Finding(
            path,
            Words("an unknown key"),
            f"one of {', '.join(known)}",
            did_you_mean(str(path[-1]), known, "Delete it."),
        )
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        return _wrong_variant(model, data, path, found)
    if loc and loc[-1] == "[key]":
        return Finding(path, Words(f"the name {found!r}"), "letters, digits and _, a letter first", "Rename it.")
    expected, fix = _wording(kind, context, found)
    return Finding(path, _NOTHING if found is None else _brief(found), expected, fix)


def data_path(data: Any, loc: Sequence[str | int]) -> Path:
    """Turn a location of pydantic into a path of the data: variants' tags, which are not in the file, fall out."""
    path: list[str | int] = []
    here = data
    for index, part in enumerate(loc):
        if (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            path.append(part)
            here = here[part]  # type: ignore[index]
        elif part == "[key]" or (isinstance(here, dict) and part in [here.get(tag) for tag in _DISCRIMINATORS]):
            continue
        elif index == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _wrong_variant(model: type[BaseModel], data: Any, path: Path, found: object) -> Finding:
    variants = _models(_annotation_at(model, data, path))
    tag = next((tag for tag in _DISCRIMINATORS if all(tag in v.model_fields for v in variants)), "kind")
    names = tuple(str(_literal(variant, tag)) for variant in variants)
    expected = f"one of {', '.join(names)}"
    if isinstance(found, dict) and tag not in found:
        return Finding((*path, tag), _NOTHING, expected, f"Add `{tag}:` with one of them.")
    word = found.get(tag) if isinstance(found, dict) else found
    return Finding((*path, tag), word, expected, did_you_mean(str(word), names, f"Use one of them as `{tag}:`."))


def _wording(kind: str, context: dict[str, Any], found: object) -> tuple[str, str]:
    """Return what was expected and what to do, for pydantic's code of an error."""
    if kind == "literal_error":
        names = tuple(part.strip("'") for part in str(context["expected"]).replace(" or ", ", ").split(", "))
        return f"one of {', '.join(names)}" if len(names) > 1 else names[0], did_you_mean(
            str(found), names, "Use what is expected."
        )
    if kind in _BOUNDS:
        bound = f"{_BOUNDS[kind]} {context[_BOUND_KEYS[kind]]:g}"
        return f"a number {bound}", f"Write a number {bound}."
    if kind.startswith(("float", "finite", "decimal")):
        return "a number", "Write a number, such as 0.5, or one with its unit in quotes."
    if kind.startswith("int"):
        return "a whole number", "Write a whole number, such as 20."
    if kind.startswith("bool"):
        return "true or false", "Write true or false."
    if kind in {"string_type", "string_unicode"}:
        return "a text", 'Put it in quotes, as in "R101".'
    if kind == "string_pattern_mismatch":
        return "a name: letters, digits and _, a letter first", "Rename it."
    if kind in {"string_too_short", "string_too_long"}:
        return "a text of the right length", "Write a text that is neither empty nor too long."
    if kind in {"tuple_type", "list_type"}:
        return "a list", "Write a list: [a, b], or one item a line after `- `."
    if kind in {"dict_type", "model_type", "model_attributes_type", "mapping_type"}:
        return "a mapping of keys to values", "Write `key: value` pairs, indented below it or in { }."
    if kind in {"too_long", "too_short"}:
        length = context.get("max_length", context.get("min_length"))
        return f"{length} entries (there are {context.get('actual_length')})", "Add or delete entries."
    return str(context.get("error", kind.replace("_", " "))), "See the field's description: `fpo-pilot check --schema`."


_BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "of at least",
    "less_than": "below",
    "less_than_equal": "of at most",
}
_BOUND_KEYS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}


def _brief(found: object) -> object:
    if isinstance(found, dict):
        return Words(f"a mapping ({', '.join(map(str, found))})")
    return Words(f"a list of {len(found)}") if isinstance(found, (list, tuple)) else found


def _purpose(model: type[BaseModel], data: Any, path: Path) -> str:
    """Say what a missing field is for, from the docstring of the model it is of."""
    for owner in _models(_annotation_at(model, data, path)):
        if owner.__doc__:
            return f" ({owner.__doc__.split('. ')[0].split('.')[0].strip()})"
    return ""


def known_keys(model: type[BaseModel], data: Any, path: Path) -> tuple[str, ...]:
    """List the keys that may stand at ``path``."""
    owners = _models(_annotation_at(model, data, path))
    here = _at(data, path)
    if len(owners) > 1 and isinstance(here, dict):
        chosen = [o for o in owners for tag in _DISCRIMINATORS if tag in here and _literal(o, tag) == here[tag]]
        owners = tuple(chosen) or owners
    return tuple(dict.fromkeys(field.alias or name for owner in owners for name, field in owner.model_fields.items()))


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _annotation_at(annotation: Any, data: Any, path: Path) -> Any:
    """Follow ``path`` through the types of a model; None where it leads nowhere."""
    for index, part in enumerate(path):
        models = _models(annotation)
        if models:
            here = _at(data, path[:index])
            tagged = [
                m
                for m in models
                if isinstance(here, dict) and any(t in here and _literal(m, t) == here[t] for t in _DISCRIMINATORS)
            ]
            fields = [f for m in tagged or models for name, f in m.model_fields.items() if part in {name, f.alias}]
            annotation = fields[0].annotation if fields else None
        else:
            arguments = typing.get_args(_plain(annotation))
            annotation = (
                arguments[-1 if len(arguments) == 2 and arguments[1] is not Ellipsis else 0] if arguments else None
            )
    return annotation


def _plain(annotation: Any) -> Any:
    """Take off ``Annotated`` and ``| None``."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in {Union, types.UnionType}:
        others = [a for a in typing.get_args(annotation) if a is not type(None)]
        return _plain(others[0]) if len(others) == 1 else annotation
    return annotation


def _models(annotation: Any) -> tuple[type[BaseModel], ...]:
    """List the models that a value of this type may be."""
    plain = _plain(annotation)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return (plain,)
    if typing.get_origin(plain) in {Union, types.UnionType}:
        return tuple(model for part in typing.get_args(plain) for model in _models(part))
    return ()


def _literal(model: type[BaseModel], field: str) -> Any:
    annotation = model.model_fields[field].annotation if field in model.model_fields else None
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Literal else None
