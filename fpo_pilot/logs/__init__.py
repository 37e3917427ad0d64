"""What a run leaves behind: manifest, step log, tables; written whole or not at all, and readable without torch."""

from fpo_pilot.logs.atomic import write_json_atomic, write_text_atomic
from fpo_pilot.logs.columns import to_table
from fpo_pilot.logs.manifest import Machine, Manifest, TrainingRecord, code_hash
from fpo_pilot.logs.reader import read_episodes, read_events, read_metrics, read_steps, read_table, segments
from fpo_pilot.logs.schema import episode_schema, step_schema
from fpo_pilot.logs.tables import append_rows, replace_rows, write_table_atomic
from fpo_pilot.logs.writer import StepLog, rewrite_stage

__all__ = [
    "Machine",
    "Manifest",
    "StepLog",
    "TrainingRecord",
    "append_rows",
    "code_hash",
    "episode_schema",
    "read_episodes",
    "read_events",
    "read_metrics",
    "read_steps",
    "read_table",
    "replace_rows",
    "rewrite_stage",
    "segments",
    "step_schema",
    "to_table",
    "write_json_atomic",
    "write_table_atomic",
    "write_text_atomic",
]
