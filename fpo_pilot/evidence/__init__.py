"""What an auditor recomputes: intervals, sequential tests and the verdicts of gates. numpy and scipy suffice."""

from fpo_pilot.evidence.autocorrelation import (
    block_length,
    block_means,
    integrated_autocorrelation_time,
    neighbour_correlation,
)
from fpo_pilot.evidence.bounds import (
    TailMean,
    empirical_bernstein_lower,
    hoeffding_lower,
    student_lower,
    tail_mean,
)
from fpo_pilot.evidence.comparison import (
    Profile,
    interquartile_mean,
    normalise,
    performance_profile,
    probability_of_improvement,
    probability_of_improvement_interval,
    stratified_bootstrap,
)
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
    "Profile",
    "TailMean",
    "betting_interval",
    "block_length",
    "block_means",
    "blocks_needed",
    "bootstrap_interval",
    "clean_episodes_for_one_look",
    "clopper_pearson",
    "clopper_pearson_upper",
    "empirical_bernstein_lower",
    "hoeffding_lower",
    "integrated_autocorrelation_time",
    "interquartile_mean",
    "log_rate_e_value",
    "neighbour_correlation",
    "non_inferiority_gate",
    "normalise",
    "paired_difference",
    "performance_profile",
    "probability_of_improvement",
    "probability_of_improvement_interval",
    "rate_e_value",
    "rate_gate",
    "rate_interval",
    "rule_of_three",
    "stratified_bootstrap",
    "student_interval",
    "student_lower",
    "tail_mean",
]
