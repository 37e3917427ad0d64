"""Load a spec: YAML text → plain data → numbers in engineering units → frozen model → rules between fields.

All faults of a file are collected and raised together as :class:`fpo_pilot.errors.SpecErrors`, each with file, line,
YAML path, finding, expectation and fix. Nothing of a plant's Python is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from fpo_pilot.errors import SpecError, SpecErrors, Words
from fpo_pilot.specs.content import find_beside, find_plant, find_safety
from fpo_pilot.specs.evaluation import EvaluationSpec
from fpo_pilot.specs.findings import Finding, dotted
from fpo_pilot.specs.ingestion import IngestionMap
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.repair import checked
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.training import GYM_TASKS, Common, TrainingFile, TrainingSpec, training_spec_of

Model = TypeVar("Model", bound=BaseModel)
Algorithm = Literal["fpo", "fpo_plus_plus", "dppo", "gaussian_ppo", "flow_q"]
ALGORITHMS: tuple[Algorithm, ...] = ("fpo", "fpo_plus_plus", "dppo", "gaussian_ppo", "flow_q")
GYM = "gym:"
"""Marks the name of an environment of Gymnasium where a plant could stand."""


def load_plant_spec(name_or_path: str | Path, *, has_model: bool = True) -> PlantSpec:
    """Load ``envs/NAME/plant.yaml``.

    Args:
        name_or_path: the name of a plant, or the path of its file or folder.
        has_model: false where no model is needed, since one is to be made: ``dynamics`` may be missing, and the file that
            it names.

    Raises:
        SpecErrors: all faults of the file.
        SpecError: there is no such plant.
    """
    from fpo_pilot.specs import quantities, tables
    from fpo_pilot.specs.plant_rules import plant_findings

    file = find_plant(name_or_path)

    def convert(data: Any) -> list[Finding]:
        if not has_model:
            data.setdefault("dynamics", {"file": "to_be_identified.py", "class": "ToBeIdentified"})
        scale, findings = tables.read_scale(data)
        findings += quantities.convert_table(data, tables.PLANT, scale)
        tables.write_out_starts(data.get("episode", {}).get("start") if isinstance(data.get("episode"), dict) else None)
        return findings

    return _load(file, PlantSpec, convert, lambda plant: plant_findings(plant, file.parent if has_model else None))


def load_safety_spec(name_or_path: str | Path, plant: PlantSpec) -> SafetySpec | None:
    """Load ``safety/NAME.yaml`` of a plant; None when its project has none.

    Args:
        name_or_path: the plant, as for :func:`load_plant_spec`, or the path of the safety file itself.
        plant: what the limits refer to.

    Raises:
        SpecErrors: all faults of the file.
        SpecError: there is no such plant.
    """
    from fpo_pilot.specs import quantities, tables
    from fpo_pilot.specs.safety_rules import safety_findings

    given = Path(name_or_path)
    is_safety_file = given.is_file() and given.suffix in {".yaml", ".yml"} and given.resolve().parent.name == "safety"
    file = given if is_safety_file else find_safety(find_plant(name_or_path))
    if file is None:
        return None
    scale = tables.scale_of(plant)

    def convert(data: Any) -> list[Finding]:
        return list(quantities.convert_table(data, tables.SAFETY, scale))

    return _load(file, SafetySpec, convert, lambda safety: safety_findings(safety, plant))


def load_training_spec(plant_name_or_path: str | Path, algorithm: Algorithm = "fpo") -> TrainingSpec:
    """Load the entry of an algorithm from ``train.yaml`` beside the plant; the defaults when there is none.

    An algorithm without an entry takes what the first entry says of the task (budget, batch, discount, scale, …), so
    that all algorithms have the same budget.

    Raises:
        SpecErrors: all faults of the file.
        SpecError: there is no such plant or algorithm.
    """
    from fpo_pilot.specs.training_rules import training_findings

    if algorithm not in ALGORITHMS:
        raise SpecError("algorithm", algorithm, f"one of {', '.join(ALGORITHMS)}", "Choose one of them.")
    shared: dict[str, object] = {}
    file = find_beside(find_plant(plant_name_or_path), "train.yaml")
    if file is not None:
        entries = _load(file, TrainingFile, lambda data: [], training_findings).algorithms
        for entry in entries:
            if entry.algorithm == algorithm:
                return entry
        for first in entries[:1]:
            shared = {name: getattr(first, name) for name in Common.model_fields if name in first.model_fields_set}
    return training_spec_of(shared | {"algorithm": algorithm})


def gym_training_spec(algorithm: Algorithm) -> TrainingSpec:
    """Return the settings for a published task, which has no ``train.yaml``.

    The environments step one after the other, so there are few of them and their rollouts are long; and few of them
    are evaluated during training.
    """
    return training_spec_of({"algorithm": algorithm} | GYM_TASKS)


def load_evaluation_spec(plant: str | Path | PlantSpec) -> EvaluationSpec:
    """Load ``evaluate.yaml`` beside the plant; the defaults when there is none.

    Args:
        plant: its name or path, or its spec (then it is found by its id).

    Raises:
        SpecErrors: all faults of the file, or of the plant's.
        SpecError: there is no such plant.
    """
    from fpo_pilot.specs import quantities, tables
    from fpo_pilot.specs.evaluation_rules import evaluation_findings

    name = plant.plant.id if isinstance(plant, PlantSpec) else plant
    file = find_beside(find_plant(name), "evaluate.yaml")
    if file is None:
        return EvaluationSpec()
    spec = plant if isinstance(plant, PlantSpec) else load_plant_spec(plant)
    scale = tables.scale_of(spec)

    def convert(data: Any) -> list[Finding]:
        findings = list(quantities.convert_table(data, tables.EVALUATION, scale))
        scenarios = data.get("scenarios")
        for scenario in scenarios if isinstance(scenarios, list) else ():
            tables.write_out_starts(scenario.get("start") if isinstance(scenario, dict) else None)
        return findings

    return _load(file, EvaluationSpec, convert, lambda evaluation: evaluation_findings(evaluation, spec))


def load_ingestion_map(file: Path, plant: PlantSpec) -> IngestionMap:
    """Load the map from an export to the signals of a plant.

    Raises:
        SpecErrors: all faults of the file.
    """
    from fpo_pilot.specs import quantities, tables
    from fpo_pilot.specs.ingestion_rules import ingestion_findings

    scale = tables.scale_of(plant)

    def convert(data: Any) -> list[Finding]:
        return list(quantities.convert_table(data, {"resampling.max_gap": quantities.duration}, scale))

    return _load(file, IngestionMap, convert, lambda wanted: ingestion_findings(wanted, plant))


def _load(
    file: Path, model: type[Model], convert: Callable[[Any], list[Finding]], rules: Callable[[Model], Iterable[Finding]]
) -> Model:
    """Run the four steps on a file; raise all findings, in the order of their lines."""
    from fpo_pilot.specs.document import read_document

    document = read_document(file)
    findings = list(document.findings)
    built: Model | None = None
    if isinstance(document.data, dict):
        findings += convert(document.data)
        built, more = checked(model, document.data, rules, ignore=tuple(finding.path for finding in findings))
        findings += more
    elif not findings:
        top = Words(f"a {'list' if isinstance(document.data, list) else 'single value'}")
        findings.append(Finding((), top, "a mapping of keys to values", "Start from an example: `fpo-pilot init`."))
    if findings or built is None:
        raise SpecErrors(
            _placed(finding, document.line(finding.path), file)
            for finding in sorted(findings, key=lambda finding: finding.line or document.line(finding.path))
        )
    return built


def _placed(finding: Finding, line: int, file: Path) -> SpecError:
    where = dotted(finding.path)
    return SpecError(where, finding.found, finding.expected, finding.fix, file=file, line=finding.line or line)
