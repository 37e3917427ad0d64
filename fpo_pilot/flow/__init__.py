"""Flows: a velocity field that carries noise to an action, how it is trained, integrated and measured.

Time runs from **t = 0, noise, to t = 1, action**, here and everywhere in fpo-pilot. A velocity is any callable
``velocity(obs [..., O], x [..., A], time [...]) -> [..., A]``; one that offers ``condition(obs)`` has its observation
part computed once for all the times and points at which it is asked.

Letters in shapes: B rows of a batch, N flow draws of an action, O observation entries, A actions, K sampler steps,
H units of a hidden layer.
"""

from fpo_pilot.flow.density import log_density
from fpo_pilot.flow.embedding import embed_time
from fpo_pilot.flow.integrators import TABLEAUS, Method, Tableau, integrate
from fpo_pilot.flow.matching import Reduction, Weighting, flow_matching_loss
from fpo_pilot.flow.network import VelocityNetwork
from fpo_pilot.flow.path import path_point
from fpo_pilot.flow.velocity import Conditional, Field, Velocity, condition

__all__ = [
    "TABLEAUS",
    "Conditional",
    "Field",
    "Method",
    "Reduction",
    "Tableau",
    "Velocity",
    "VelocityNetwork",
    "Weighting",
    "condition",
    "embed_time",
    "flow_matching_loss",
    "integrate",
    "log_density",
    "path_point",
]
