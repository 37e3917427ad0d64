"""The staged roll-out: shadow, bounded, full; entered on evidence, left at once when something is wrong."""

from fpo_pilot.rollout.machine import RolloutState, StagePlan, Transition, advance, start
from fpo_pilot.rollout.runner import Injection, RolloutResult, run_rollout

__all__ = ["Injection", "RolloutResult", "RolloutState", "StagePlan", "Transition", "advance", "run_rollout", "start"]
