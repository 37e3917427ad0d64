"""The safety case of a plant: hazards, what guards each, and the evidence by hash; a claim without evidence makes it fail.

The structure is that of a goal-structuring notation: a claim on the plant rests on one claim for each hazard, and that on the
rules of the safety spec, whose evidence is the record of ``validate-safety``. Nothing here is a safety instrumented function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fpo_pilot.certification.record import Record, Side, Status
from fpo_pilot.certification.words import CASE, GUARDS
from fpo_pilot.specs.base import Text
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import Hazard, SafetySpec, SensorIntegrity

TOLERABLE_RISK = 6
"""Severity times likelihood up to which an alarm is a guard: a soft limit may be passed there, and counts for nothing above."""


@dataclass(frozen=True)
class Evidence:
    """One thing that was seen, in a file that the hash identifies."""

    text: Text
    file: str
    sha256: str
    supports: bool
    """Whether it speaks for the guard: no limit that must hold was passed."""


@dataclass(frozen=True)
class Guard:
    """A rule of the safety spec, or a goal that is measured, and what shows that it works."""

    kind: str
    """A key of :data:`fpo_pilot.certification.words.GUARDS`."""
    id: str
    evidence: tuple[Evidence, ...]
    counts: bool = True
    """Whether the claim rests on it; an alarm does not where the risk is great."""

    @property
    def supported(self) -> bool:
        """Whether there is evidence, and all of it speaks for the guard."""
        return bool(self.evidence) and all(seen.supports for seen in self.evidence)


@dataclass(frozen=True)
class Claim:
    """That one hazard is guarded against: each guard that counts must have its evidence."""

    hazard: str
    title: Text
    risk: int
    """Severity times likelihood, 1 to 25."""
    owner: str
    goals: tuple[str, ...]
    guards: tuple[Guard, ...]
    missing: tuple[Text, ...]
    """Why the claim is not supported; empty where it is."""


@dataclass(frozen=True)
class SafetyCase:
    """All claims of a plant."""

    plant: str
    status: Status
    claims: tuple[Claim, ...]
    gaps: tuple[Text, ...]
    """What keeps the claim on the plant itself from being supported."""
    assumptions: tuple[Text, ...]

    @property
    def supported(self) -> bool:
        """Whether every claim has its evidence."""
        return not self.gaps and not any(claim.missing for claim in self.claims)


def build_case(
    plant: PlantSpec, safety: SafetySpec, *, status: Status, record: Record | None, record_file: Path
) -> SafetyCase:
    """Put the case of a plant together.

    Args:
        plant: its spec, for the goals.
        safety: hazards and rules.
        status: of the record: only a valid certificate is evidence.
        record: of ``validate-safety``; None where there is none.
        record_file: where it lies.
    """
    evidence = _Evidence(record if status == "valid" else None, record_file)
    claims = tuple(_claim(name, hazard, plant, safety, evidence) for name, hazard in safety.hazards.items())
    gaps = []
    if status != "valid":
        gaps.append(CASE[f"certificate_{status}"])
    if not safety.hazards:
        gaps.append(CASE["no_hazards"])
    assumptions = record.assumptions if record is not None and status == "valid" else ()
    return SafetyCase(safety.plant, status, claims, tuple(gaps), assumptions)


class _Evidence:
    """Turns the rows of a certificate into evidence for a rule."""

    def __init__(self, record: Record | None, record_file: Path) -> None:
        self.record, self._file = record, record_file.name
        self._hash = hashlib.sha256(record_file.read_bytes()).hexdigest() if record is not None else ""

    def limit(self, name: str, *, may_pass: bool) -> tuple[Evidence, ...]:
        """The least margin of a limit over all rows that decide; ``may_pass`` where an alarm is enough."""
        rows = () if self.record is None else self.record.covered()
        margins = [row.shielded.least_margin.get(name) for row in rows]
        known = [margin for margin in margins if margin is not None]
        if not known:
            return ()
        words = CASE["least_margin"]
        episodes = sum(row.shielded.episodes for row in rows)
        kept = may_pass or (len(known) == len(rows) and min(known) >= 0.0)
        return (self._seen(words, kept, margin=f"{min(known):.3g}", episodes=f"{episodes:,}"),)

    def acted(self, reason: str) -> tuple[Evidence, ...]:
        """That an interlock or a sequence did act in rows that decide, and that no hard limit was passed in those episodes."""
        if self.record is None:
            return ()
        seen = [side.acted[reason] for side in self._covered() if reason in side.acted]
        episodes, violations = (sum(getattr(one, name) for one in seen) for name in ("episodes", "violations"))
        if not episodes:
            return (self._seen(CASE["never_acted"], False),)
        values = {"violations": f"{violations:,}", "episodes": f"{episodes:,}"}
        return (self._seen(CASE["acted"], violations == 0, **values),)

    def sensor(self, name: str, faults: Iterable[str]) -> tuple[Evidence, ...]:
        """That each of the faults is recognised, and passes no hard limit: a frozen reading too, which is believed for a while."""
        found = []
        for fault in faults:
            rows = () if self.record is None else self.record.rows
            own = [row.shielded for row in rows if (row.kind, row.condition) == ("sensor fault", f"{name} {fault}")]
            if self.record is not None:
                found.append(self._recognised(name, fault, own))
        return tuple(found)

    def _recognised(self, name: str, fault: str, sides: list[Side]) -> Evidence:
        def known(side: Side) -> bool:
            return any(reason.startswith("integrity.") and reason.endswith(f":{name}") for reason in side.acted)

        violations, episodes = (sum(getattr(side, key) for side in sides) for key in ("violations", "episodes"))
        good = bool(sides) and violations == 0 and all(known(side) for side in sides)
        words = CASE["sensor_fault"] if sides else CASE["no_row"]
        if sides and not all(known(side) for side in sides):
            words = CASE["not_recognised"]
        return self._seen(words, good, fault=f"{name} {fault}", violations=f"{violations:,}", episodes=f"{episodes:,}")

    def _covered(self) -> list[Side]:
        return [] if self.record is None else [row.shielded for row in self.record.covered()]

    def _seen(self, words: Text, supports: bool, **values: str) -> Evidence:
        text = Text(en=words.en.format(**values), ja=words.ja.format(**values))
        return Evidence(text, self._file, self._hash, supports)


def _claim(name: str, hazard: Hazard, plant: PlantSpec, safety: SafetySpec, evidence: _Evidence) -> Claim:
    risk = hazard.severity * hazard.likelihood
    guards = tuple(_guards(name, hazard, safety, evidence, tolerable=risk <= TOLERABLE_RISK))
    counted = [guard for guard in guards if guard.counts]
    missing = [] if counted else [CASE["alarm_only"] if guards else CASE["unguarded"]]
    missing += [_lacking("unsupported", guard=f"{guard.kind} {guard.id}") for guard in counted if not guard.supported]
    if hazard.faults and not any(guard.kind == "sensor_check" for guard in guards):
        missing.append(_lacking("fault_unguarded", faults=", ".join(hazard.faults)))
    return Claim(
        hazard=name,
        title=hazard.title,
        risk=risk,
        owner=hazard.owner,
        goals=tuple(goal.name for goal in plant.goals if goal.hazard == name),
        guards=guards,
        missing=tuple(missing),
    )


def _lacking(key: str, **values: str) -> Text:
    words = CASE[key]
    kind, _, name = values.get("guard", "").partition(" ")
    english, japanese = (
        values | {"guard": f"{getattr(GUARDS[kind], language)} `{name}`"} if kind else values
        for language in ("en", "ja")
    )
    return Text(en=words.en.format(**english), ja=words.ja.format(**japanese))


def _guards(name: str, hazard: Hazard, safety: SafetySpec, evidence: _Evidence, *, tolerable: bool) -> Iterator[Guard]:
    for limit in safety.limits:
        if limit.hazard == name:
            soft = limit.kind == "soft"
            seen = evidence.limit(limit.id, may_pass=soft)
            yield Guard(f"{limit.kind}_limit", limit.id, seen, counts=tolerable or not soft)
    for interlock in safety.interlocks:
        if interlock.hazard == name:
            yield Guard("interlock", interlock.id, evidence.acted(f"interlock:{interlock.id}"))
    for sequence in safety.sequences:
        if sequence.hazard == name:
            yield Guard("sequence", sequence.id, evidence.acted(f"sequence:{sequence.id}"))
    for signal, sensor in safety.sensors.items():
        if sensor.hazard == name:
            yield Guard("sensor_check", signal, evidence.sensor(signal, _faults(hazard, sensor)))


def _faults(hazard: Hazard, sensor: SensorIntegrity) -> tuple[str, ...]:
    """List the faults of which a sensor check needs the rows: what it declares to recognise, and what the hazard names."""
    declared = {
        "nan": True,
        "range": True,
        "stale": sensor.stale_after is not None,
        "stuck": sensor.frozen_after is not None,
    }
    return tuple(kind for kind, given in declared.items() if given or kind in hazard.faults)
