"""What may be written down: plants, what must never happen to them, how to train, how to evaluate.

Everything here is frozen data; loading needs no torch and runs no code of a plant.
"""

from fpo_pilot.specs.content import find_plant, find_safety, list_plants, project_root, shipped_root
from fpo_pilot.specs.evaluation import EvaluationSpec, Scenario, SensorFault
from fpo_pilot.specs.identity import canonical_json, spec_hash
from fpo_pilot.specs.load import (
    load_evaluation_spec,
    load_ingestion_map,
    load_plant_spec,
    load_safety_spec,
    load_training_spec,
)
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.training import FpoSpec, GaussianPpoSpec, TrainingSpec

__all__ = [
    "EvaluationSpec",
    "FpoSpec",
    "GaussianPpoSpec",
    "PlantSpec",
    "SafetySpec",
    "Scenario",
    "SensorFault",
    "TrainingSpec",
    "canonical_json",
    "find_plant",
    "find_safety",
    "list_plants",
    "load_evaluation_spec",
    "load_ingestion_map",
    "load_plant_spec",
    "load_safety_spec",
    "load_training_spec",
    "project_root",
    "shipped_root",
    "spec_hash",
]
