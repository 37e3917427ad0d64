"""What a safety spec must have before a campaign can certify anything."""

from __future__ import annotations

from collections.abc import Iterator

from fpo_pilot.certification.record import Finding
from fpo_pilot.certification.stacks import left_terminal_sets
from fpo_pilot.certification.words import REASONS
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.safety import BarrierShield, PredictiveShield, SafetySpec
from fpo_pilot.specs.uncertainty import parameter_half_widths


def missing_requirements(plant: Plant, safety: SafetySpec) -> Iterator[Finding]:
    """Find what keeps a plant from a certificate before anything is run."""
    if plant.dynamics_hash is None:
        yield finding("dynamics_unbound", type(plant.dynamics).__name__)
    if not any(limit.kind == "hard" for limit in safety.limits):
        yield finding("no_hard_limit", "limits")
    if not parameter_half_widths(safety, plant.spec):
        yield finding("no_uncertainty_set", "uncertainty.parameters")
    predictive = [shield for shield in safety.shields if isinstance(shield, PredictiveShield)]
    barrier = [shield for shield in safety.shields if isinstance(shield, BarrierShield)]
    if not predictive and not barrier:
        yield finding("no_model_layer", ", ".join(shield.kind for shield in safety.shields))
    for fault in left_terminal_sets(plant, safety):
        yield finding("terminal_set_left", str(fault.found))


def finding(code: str, detail: str) -> Finding:
    """Return a reason with its words."""
    return Finding(code=code, detail=detail, text=REASONS[code])
