"""Policies and their training: flow policies by FPO, Gaussian policies by PPO, one trainer for both."""

from fpo_pilot.learn.build import TrainedPolicy, build_policy, load_policy
from fpo_pilot.learn.policy import Acting, Deployment, Policy
from fpo_pilot.learn.trainer import Progress, TrainingResult, train

__all__ = [
    "Acting",
    "Deployment",
    "Policy",
    "Progress",
    "TrainedPolicy",
    "TrainingResult",
    "build_policy",
    "load_policy",
    "train",
]
