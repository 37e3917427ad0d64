"""What shields that look ahead share: the model, the sets, where the plant can be, and the batched roll-out."""

from fpo_pilot.shields.model.bounds import Bound, StateSet
from fpo_pilot.shields.model.dynamics import Dynamics, Model
from fpo_pilot.shields.model.estimate import Estimator
from fpo_pilot.shields.model.lookahead import Lookahead, Outlook
from fpo_pilot.shields.model.search import Choice, nearest_safe
from fpo_pilot.shields.model.terminal import TerminalCheck, check_terminal_set
from fpo_pilot.shields.model.uncertainty import UncertaintyPoints

__all__ = [
    "Bound",
    "Choice",
    "Dynamics",
    "Estimator",
    "Lookahead",
    "Model",
    "Outlook",
    "StateSet",
    "TerminalCheck",
    "UncertaintyPoints",
    "check_terminal_set",
    "nearest_safe",
]
