"""Off-policy evaluation: what a log says of a policy that did not write it. It may veto, and never promotes."""

from fpo_pilot.evaluate.offpolicy.batch import LogBatch
from fpo_pilot.evaluate.offpolicy.estimate import OffPolicyEstimate
from fpo_pilot.evaluate.offpolicy.fitted_q import FittedQ, fit_q, fitted_q_estimate
from fpo_pilot.evaluate.offpolicy.importance import kernel_log_ratio, per_decision, weighted_doubly_robust
from fpo_pilot.evaluate.offpolicy.support import support
from fpo_pilot.evaluate.offpolicy.veto import Answer, decide

__all__ = [
    "Answer",
    "FittedQ",
    "LogBatch",
    "OffPolicyEstimate",
    "decide",
    "fit_q",
    "fitted_q_estimate",
    "kernel_log_ratio",
    "per_decision",
    "support",
    "weighted_doubly_robust",
]
