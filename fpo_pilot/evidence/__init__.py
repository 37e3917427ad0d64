"""What an auditor recomputes: intervals, sequential tests and the verdicts of gates. numpy and scipy suffice."""

from fpo_pilot.evidence.gates import GateResult, non_inferiority_gate, rate_gate
from fpo_pilot.evidence.interval import EvidenceError, Interval
from fpo_pilot.evidence.sequential import (
    betting_interval,
    blocks_needed,
    log_rate_e_value,
    rate_e_value,
    rate_interval,
)
from fpo_pilot.evidence.statistics import (
    bootstrap_interval,
    clean_episodes_for_one_look,
    clopper_pearson,
    clopper_pearson_upper,
    paired_difference,
    rule_of_three,
    student_interval,
)

__all__ = [
    "EvidenceError",
    "GateResult",
    "Interval",
    "betting_interval",
    "blocks_needed",
    "bootstrap_interval",
    "clean_episodes_for_one_look",
    "clopper_pearson",
    "clopper_pearson_upper",
    "log_rate_e_value",
    "non_inferiority_gate",
    "paired_difference",
    "rate_e_value",
    "rate_gate",
    "rate_interval",
    "rule_of_three",
    "student_interval",
]
