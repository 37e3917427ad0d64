"""What an exported data set says of itself: where it is from, and what each of its numbers means."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fpo_pilot import __version__
from fpo_pilot.exports.choice import Observations
from fpo_pilot.exports.episodes import ExportedLog
from fpo_pilot.exports.views import Entry

AFTER_TERMINATION = "The log ends with the action that ended the episode. What was read after it is not known."


def document(log: ExportedLog) -> dict[str, Any]:
    """Return the origin and meaning of an export as plain values, for JSON.

    Args:
        log: what is exported.
    """
    hashes, ends = log.manifest.hashes, Counter(one.end for one in log.episodes)
    mapped = log.choice.observations is Observations.POLICY
    return {
        "fpo_pilot_version": __version__,
        "run_id": log.manifest.run_id,
        "plant": log.manifest.plant,
        "plant_sha256": hashes.get("plant"),
        "safety_sha256": hashes.get("safety"),
        "model_sha256": hashes.get("model"),
        "ledger_root": log.ledger_root,
        "period_seconds": log.period,
        "stages": _names(log, "stage"),
        "arms": _names(log, "arm"),
        "scenarios": _names(log, "scenario"),
        "observations": log.choice.observations.value,
        "observation": [_entry(one) for one in log.observation],
        "action_source": f"act.{log.choice.action.value}",
        "action": [_entry(one) for one in log.action],
        "numbers": "mapped: minus_one and plus_one are in the unit" if mapped else "in the unit",
        "reward_source": "reward.total",
        "episodes": len(log.episodes),
        "rows": log.rows,
        "transitions": sum(one.transitions for one in log.episodes),
        "rows_left_out": log.rows_left_out,
        "ends": {end: ends[end] for end in ("termination", "truncation", "cut")},
        "after_termination": AFTER_TERMINATION,
    }


def _names(log: ExportedLog, key: str) -> list[str]:
    return sorted({str(one.facts[key]) for one in log.episodes if one.facts.get(key) is not None})


def _entry(entry: Entry) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": entry.name, "unit": entry.unit, "low": entry.low, "high": entry.high}
    if entry.scale is not None:
        facts |= {"minus_one": entry.scale[0], "plus_one": entry.scale[1]}
    return facts
