"""JSON Schema of the four files, for editors: completion and descriptions while one types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from fpo_pilot.errors import SpecError
from fpo_pilot.specs.evaluation import EvaluationSpec
from fpo_pilot.specs.findings import did_you_mean
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.training import TrainingFile

FILES: Mapping[str, type[BaseModel]] = {
    "plant": PlantSpec,
    "safety": SafetySpec,
    "training": TrainingFile,
    "evaluation": EvaluationSpec,
}
_QUANTITY = r"^\s*[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?(\s*\S.*)?$"


def json_schema(file: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file: ``plant``, ``safety``, ``training`` or ``evaluation``.

    Raises:
        SpecError: there is no such kind.
    """
    if file not in FILES:
        known = tuple(FILES)
        raise SpecError("schema", file, f"one of {', '.join(known)}", did_you_mean(file, known, "Choose one of them."))
    schema = FILES[file].model_json_schema(by_alias=True)
    if file != "training":
        schema = _with_units(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _with_units(schema: Any) -> Any:
    """Let a number be a text with a unit too, and a start value be a bare number."""
    if isinstance(schema, list):
        return [_with_units(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _with_units(value) for key, value in schema.items()}
    if schema.get("type") in {"number", "integer"} and "const" not in schema and "enum" not in schema:
        schema = {**schema, "type": [schema["type"], "string"], "pattern": _QUANTITY}
    if "fixed" in schema.get("discriminator", {}).get("mapping", {}):
        return {"anyOf": [schema, {"type": ["number", "string"], "pattern": _QUANTITY}]}
    return schema
