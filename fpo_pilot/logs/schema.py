"""Columns of the tables of a run. They are only ever added to: never renamed, never retyped.

Units, ranges and labels are in the metadata of each field and again as plain key-values of the file, since some
readers see only the second. Names are those of the signals, not the tags of a control system, which may hold any
character.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import pyarrow as pa

from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant import Signal as SignalSpec
from fpo_pilot.specs.safety import SafetySpec

VERSION = "1"
ACTION_VECTORS = ("incumbent", "proposed", "shielded", "applied")
"""What the incumbent would do, what the policy asks for, what the shield lets pass, what the actuator did."""

Facts = Mapping[str, str]
"""Metadata of one column: unit, low, high, label.en, label.ja, tag, id of a limit."""

QUALITY = {"unit": "1", "codes": "0 good, 1 bad, 2 stale, 3 out of range"}
"""Metadata of a ``quality.`` column."""

LOG_DENSITY = "natural logarithm of the density of the normalised proposal, each action from -1 to 1 over its limits"

_TEXT = pa.dictionary(pa.int32(), pa.string())


def step_schema(
    plant: PlantSpec,
    safety: SafetySpec | None,
    *,
    reward_terms: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> pa.Schema:
    """Return the schema of the step log: one row per control step.

    Args:
        plant: the plant, whose signals and reward terms give columns.
        safety: its safety spec, whose limits give the ``margin.`` columns.
        reward_terms: names of the terms, if not those of the spec's reward (or goals).
        metadata: further key-values of the file, such as hashes.
    """
    terms = tuple(reward_terms) if reward_terms is not None else reward_term_names(plant)
    fields = [*_head(), *_signal_fields(plant), *_decision_fields()]
    fields += [_field(name, pa.float32(), {"unit": "1"}) for name in ("reward.total", *(f"reward.{t}" for t in terms))]
    fields += _margin_fields(plant, safety)
    fields += _tail()
    return pa.schema(fields, metadata=_file_metadata(fields, plant, metadata or {}))


def episode_schema(
    reward_terms: Iterable[str], limit_ids: Iterable[str], goals: Mapping[str, str] | None = None
) -> pa.Schema:
    """Return the schema of episodes.parquet: one row per episode.

    Args:
        reward_terms: names of the terms.
        limit_ids: ids of the limits.
        goals: names of the goals with a condition, to their verbs.
    """
    fields = [
        _field("stage", _TEXT, nullable=False),
        _field("arm", _TEXT, nullable=False),
        _field("mode", _TEXT, nullable=False),
        _field("shield", pa.bool_(), nullable=False),
        _field("scenario", _TEXT, nullable=False),
        _field("episode_id", pa.int64(), nullable=False),
        _field("seed", pa.int64(), nullable=False),
        _field("steps", pa.int32(), {"unit": "step"}, nullable=False),
        _field("return", pa.float64(), {"unit": "1"}, nullable=False),
        _field("terminated", pa.bool_(), nullable=False),
        _field("truncated", pa.bool_(), nullable=False),
        _field("end_reason", _TEXT),
        _field("violations_hard", pa.int32(), {"unit": "step"}, nullable=False),
        _field("violations_soft", pa.int32(), {"unit": "step"}, nullable=False),
        _field("interventions", pa.int32(), {"unit": "step"}, nullable=False),
        _field("cell", _TEXT),
    ]
    fields += [_field(f"reward.{term}", pa.float64(), {"unit": "1"}) for term in reward_terms]
    fields += [_field(f"margin_min.{limit}", pa.float64()) for limit in limit_ids]
    for column, what in (("goal", "share of the steps that count"), ("robustness", "margin over the goal's scale")):
        facts = {name: {"unit": "1", "verb": verb, "what": what} for name, verb in (goals or {}).items()}
        fields += [_field(f"{column}.{name}", pa.float64(), fact) for name, fact in facts.items()]
    return pa.schema(fields, metadata={"fpo_pilot.schema": "episodes", "fpo_pilot.schema_version": VERSION})


def reward_term_names(plant: PlantSpec) -> tuple[str, ...]:
    """Names of the reward's terms, or of the goals that take their place."""
    return tuple(term.name for term in plant.reward) or tuple(goal.name for goal in plant.goals if goal.weight > 0.0)


def goal_verbs(plant: PlantSpec) -> dict[str, str]:
    """Map every goal that an episode satisfies or fails to its verb: avoid, reach or drive."""
    verbs = ("avoid", "reach", "drive")
    return {goal.name: verb for goal in plant.goals for verb in verbs if getattr(goal, verb) is not None}


def measured_names(plant: PlantSpec) -> tuple[str, ...]:
    """Names of the signals that sensors read, in the order of the spec."""
    return tuple(n for n, s in plant.signals.items() if s.role == "measurement" or (s.role == "state" and s.measured))


def names_of(plant: PlantSpec, role: Literal["action", "reference"]) -> tuple[str, ...]:
    """Names of the signals of one role, in the order of the spec."""
    return tuple(name for name, signal in plant.signals.items() if signal.role == role)


def _head() -> list[pa.Field]:
    return [
        _field("t", pa.timestamp("ns", tz="UTC"), nullable=False),
        _field("seq", pa.int64(), nullable=False),
        _field("episode_id", pa.int64(), nullable=False),
        _field("block_id", pa.int64()),
        _field("step", pa.int32(), nullable=False),
        _field("stage", _TEXT, nullable=False),
        _field("arm", _TEXT, nullable=False),
        _field("mode", _TEXT),
        _field("shield", pa.bool_()),
        _field("scenario", _TEXT),
        _field("authority", pa.float32()),
    ]


def _signal_fields(plant: PlantSpec) -> list[pa.Field]:
    measured, actions = measured_names(plant), names_of(plant, "action")
    signals = plant.signals
    fields = [_field(f"obs.{name}", pa.float32(), _facts(signals[name])) for name in measured]
    fields += [_field(f"quality.{name}", pa.uint8(), _facts(signals[name], QUALITY)) for name in measured]
    fields += [_field(f"ref.{n}", pa.float32(), _facts(signals[n])) for n in names_of(plant, "reference")]
    fields += [
        _field(f"act.{vector}.{name}", pa.float32(), _facts(signals[name]))
        for vector in ACTION_VECTORS
        for name in actions
    ]
    return fields


def _decision_fields() -> list[pa.Field]:
    return [
        _field("latent_seed", pa.uint64()),
        _field("log_density", pa.float32(), {"unit": "1", "what": LOG_DENSITY}),
        _field("flow_steps", pa.int16(), {"unit": "step"}),
        _field("shield.active", pa.bool_()),
        _field("shield.reasons", pa.list_(pa.string())),
        _field("shield.delta", pa.float32(), {"unit": "1", "what": "largest |shielded - proposed| / span"}),
    ]


def _margin_fields(plant: PlantSpec, safety: SafetySpec | None) -> list[pa.Field]:
    """Positive is safe."""
    if safety is None:
        return []
    return [
        _field(
            f"margin.{limit.id}",
            pa.float32(),
            {"unit": plant.signals[limit.signal].unit, "limit": limit.id, "kind": limit.kind, "signal": limit.signal},
        )
        for limit in safety.limits
    ]


def _tail() -> list[pa.Field]:
    return [
        _field("terminated", pa.bool_(), nullable=False),
        _field("truncated", pa.bool_(), nullable=False),
        _field("end_reason", _TEXT),
        _field("latency_us", pa.float32(), {"unit": "us"}),
        _field("deadline_miss", pa.bool_()),
        _field("operator.action", _TEXT),
        _field("operator.reason", _TEXT),
        _field("model_hash", _TEXT),
        _field("plant_hash", _TEXT),
        _field("safety_hash", _TEXT),
        _field("cell", _TEXT),
    ]


def _facts(signal: SignalSpec, instead: Facts | None = None) -> Facts:
    facts = {"unit": signal.unit, "low": repr(signal.range[0]), "high": repr(signal.range[1])}
    if signal.tag:
        facts["tag"] = signal.tag
    if signal.label is not None:
        facts |= {"label.en": signal.label.en, "label.ja": signal.label.ja}
    return facts if instead is None else {**{k: v for k, v in facts.items() if k not in ("low", "high")}, **instead}


def _field(name: str, kind: pa.DataType, facts: Facts | None = None, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata=dict(facts) if facts else None)


def _file_metadata(fields: Sequence[pa.Field], plant: PlantSpec, more: Mapping[str, str]) -> dict[str, str]:
    plain = {
        "fpo_pilot.schema": "steps",
        "fpo_pilot.schema_version": VERSION,
        "plant": plant.plant.id,
        "period_s": repr(plant.timing.period),
    }
    for field in fields:
        for key, value in (field.metadata or {}).items():
            plain[f"{field.name}:{key.decode()}"] = value.decode()
    return {**plain, **more}
