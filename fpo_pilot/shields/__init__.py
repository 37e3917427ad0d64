"""Shields: nothing reaches an actuator but through one. They know neither plants nor learning, and are reviewed alone."""

from fpo_pilot.shields.barrier import BarrierShield
from fpo_pilot.shields.box_rate import BoxRateShield
from fpo_pilot.shields.build import action_signals, build_stack, measured_signals
from fpo_pilot.shields.candidates import Judged, judge
from fpo_pilot.shields.check import ShieldCheck, check_shield
from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.fallback import FallbackAction
from fpo_pilot.shields.integrity import IntegrityShield, SensorCheck
from fpo_pilot.shields.interlock import InterlockRule, InterlockShield
from fpo_pilot.shields.model import Dynamics, TerminalCheck, UncertaintyPoints, check_terminal_set
from fpo_pilot.shields.model_stages import ModelStages
from fpo_pilot.shields.predictive import PredictiveShield
from fpo_pilot.shields.projection import project
from fpo_pilot.shields.stack import ShieldStack
from fpo_pilot.shields.verdict import Shield, ShieldContext, Verdict
from fpo_pilot.shields.wrapper import ShieldVectorWrapper, ShieldWrapper

__all__ = [
    "BarrierShield",
    "BoxRateShield",
    "Dynamics",
    "Envelope",
    "FallbackAction",
    "IntegrityShield",
    "InterlockRule",
    "InterlockShield",
    "Judged",
    "ModelStages",
    "PredictiveShield",
    "SensorCheck",
    "Shield",
    "ShieldCheck",
    "ShieldContext",
    "ShieldStack",
    "ShieldVectorWrapper",
    "ShieldWrapper",
    "TerminalCheck",
    "UncertaintyPoints",
    "Verdict",
    "action_signals",
    "build_stack",
    "check_shield",
    "check_terminal_set",
    "judge",
    "measured_signals",
    "project",
]
