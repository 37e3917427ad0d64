"""A model of a plant from logged data: read, fit, judge, write. The floor below ``learn``; it trains no policy."""

from fpo_pilot.identification.identify import Identification, Kind, identify
from fpo_pilot.identification.log import PlantLog, Stretch, read_log
from fpo_pilot.identification.project import refuse_folder, refuse_unmeasured, write_project
from fpo_pilot.identification.readme import Language, readme, reason_text
from fpo_pilot.identification.verdict import Reason, Thresholds

__all__ = [
    "Identification",
    "Kind",
    "Language",
    "PlantLog",
    "Reason",
    "Stretch",
    "Thresholds",
    "identify",
    "read_log",
    "readme",
    "reason_text",
    "refuse_folder",
    "refuse_unmeasured",
    "write_project",
]
