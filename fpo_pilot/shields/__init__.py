"""Shields: they stand between policy and actuator, always, and know neither plants nor learning.

A shield is called with what is known in a control cycle and a proposal, and answers with a safe action, the reasons, a margin, and
whether its promise could be kept. :func:`build_stack` makes the shields that a safety spec declares.
"""

from fpo_pilot.shields.box_rate import BoxRateShield
from fpo_pilot.shields.build import build_stack
from fpo_pilot.shields.integrity import IntegrityShield, SensorCheck
from fpo_pilot.shields.interlock import InterlockRule, InterlockShield
from fpo_pilot.shields.projection import project
from fpo_pilot.shields.stack import ShieldStack
from fpo_pilot.shields.verdict import Shield, ShieldContext, Verdict

__all__ = [
    "BoxRateShield",
    "IntegrityShield",
    "InterlockRule",
    "InterlockShield",
    "SensorCheck",
    "Shield",
    "ShieldContext",
    "ShieldStack",
    "Verdict",
    "build_stack",
    "project",
]
