"""Historical data in: a historian's export becomes a step log, with an account of what it is worth."""

from fpo_pilot.ingestion.episodes import Ingested, ingest
from fpo_pilot.ingestion.export import Export, read_export
from fpo_pilot.ingestion.quality import Drift, QualityReport, SignalQuality, quality_report

__all__ = [
    "Drift",
    "Export",
    "Ingested",
    "QualityReport",
    "SignalQuality",
    "ingest",
    "quality_report",
    "read_export",
]
