"""Shields: nothing reaches an actuator but through one. They know neither plants nor learning, and are reviewed alone."""

from fpo_pilot.shields.box_rate import BoxRateShield
from fpo_pilot.shields.build import action_signals, build_stack, measured_signals
from fpo_pilot.shields.check import ShieldCheck, check_shield
from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.fallback import FallbackAction
from fpo_pilot.shields.integrity import IntegrityShield, SensorCheck
from fpo_pilot.shields.interlock import InterlockRule, InterlockShield
from fpo_pilot.shields.projection import project
from fpo_pilot.shields.stack import ShieldStack
from fpo_pilot.shields.verdict import Shield, ShieldContext, Verdict
from fpo_pilot.shields.wrapper import ShieldVectorWrapper, ShieldWrapper

__all__ = [
    "BoxRateShield",
    "Envelope",
    "FallbackAction",
    "IntegrityShield",
    "InterlockRule",
    "InterlockShield",
    "SensorCheck",
    "Shield",
    "ShieldCheck",
    "ShieldContext",
    "ShieldStack",
    "ShieldVectorWrapper",
    "ShieldWrapper",
    "Verdict",
    "action_signals",
    "build_stack",
    "check_shield",
    "measured_signals",
    "project",
]
