"""Offline evaluation: every controller on the same episodes, with the shield on and off, and the verdict of it."""

from fpo_pilot.evaluate.arms import Arm, build_arms
from fpo_pilot.evaluate.harness import evaluate
from fpo_pilot.evaluate.oracle import NoPlan, Plan, plan_episode
from fpo_pilot.evaluate.present import goals_as_table, rows_as_table
from fpo_pilot.evidence.evaluation import Evaluation

__all__ = [
    "Arm",
    "Evaluation",
    "NoPlan",
    "Plan",
    "build_arms",
    "evaluate",
    "goals_as_table",
    "plan_episode",
    "rows_as_table",
]
