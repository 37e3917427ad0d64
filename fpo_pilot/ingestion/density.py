"""The density of logged actions, from the units of the export to those of a policy."""

from __future__ import annotations

import dataclasses
import math

from fpo_pilot.ingestion.declared import DeclaredPlant
from fpo_pilot.ingestion.timeline import Timeline
from fpo_pilot.specs.ingestion import IngestionMap
from fpo_pilot.specs.units import convert_point, parse_unit


def with_normalised_density(record: Timeline, wanted: IngestionMap, declared: DeclaredPlant) -> Timeline:
    r"""Return the record with ln of the density of NORMALISED actions, which is what the density of a policy is of.

    A normalised action :math:`u` is :math:`(a - m) / h` of the action :math:`a` in the unit of its column, with the half span :math:`h`
    of its limits, so that :math:`p_u(u) = p_a(a) \prod h`.
    """
    if record.log_density is None or wanted.density_of != "engineering":
        return record
    shift = 0.0
    for name, (low, high) in declared.action_limits.items():
        unit = declared.spec.signals[name].unit
        of_column, of_plant = parse_unit(wanted.signals[name].unit or unit), parse_unit(unit)
        slope = convert_point(1.0, of_column, of_plant) - convert_point(0.0, of_column, of_plant)
        shift += math.log((high - low) / 2.0 / abs(slope))
    return dataclasses.replace(record, log_density=record.log_density + shift)
