"""The safety case of a plant: hazards, what guards each, and the evidence by hash; a claim without evidence makes it fail.

The structure is that of a goal-structuring notation: a claim on the plant rests on one claim for each hazard, and that on the
rules of the safety spec, whose evidence is the record of ``validate-safety``. Nothing here is a safety instrumented function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fpo_pilot.certification.record import Record, Row, Status
from fpo_pilot.certification.words import CASE
from fpo_pilot.specs.base import Text
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import Hazard, SafetySpec

TOLERABLE_RISK = 6
"""Severity times likelihood up to which an alarm is guard enough: a soft limit may be passed there."""


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


@dataclass(frozen=True)
class Claim:
    """That one hazard is guarded against."""

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
        kept = may_pass or min(known) >= 0.0
        return (self._seen(words, kept, margin=f"{min(known):.3g}", episodes=f"{episodes:,}"),)

    def campaign(self) -> tuple[Evidence, ...]:
        """That no row that decides passed a hard limit, with the rule in force."""
        return () if self.record is None else (self._counted("no_violation", self.record.covered()),)

    def sensor(self, name: str) -> tuple[Evidence, ...]:
        """That faults of the sensor which count as recognised passed no hard limit."""
        rows = () if self.record is None else self.record.covered()
        own = tuple(row for row in rows if row.kind == "sensor fault" and row.condition.split(" ")[0] == name)
        return (self._counted("sensor_faults", own),) if own else ()

    def _counted(self, key: str, rows: tuple[Row, ...]) -> Evidence:
        violations = sum(row.shielded.violations for row in rows)
        episodes = sum(row.shielded.episodes for row in rows)
        return self._seen(CASE[key], violations == 0, violations=f"{violations:,}", episodes=f"{episodes:,}")

    def _seen(self, words: Text, supports: bool, **values: str) -> Evidence:
        text = Text(en=words.en.format(**values), ja=words.ja.format(**values))
        return Evidence(text, self._file, self._hash, supports)


def _claim(name: str, hazard: Hazard, plant: PlantSpec, safety: SafetySpec, evidence: _Evidence) -> Claim:
    risk = hazard.severity * hazard.likelihood
    guards = tuple(_guards(name, safety, evidence, tolerable=risk <= TOLERABLE_RISK))
    missing = []
    if not guards:
        missing.append(CASE["unguarded"])
    elif not any(seen.supports for guard in guards for seen in guard.evidence):
        missing.append(CASE["no_evidence"])
    return Claim(
        hazard=name,
        title=hazard.title,
        risk=risk,
        owner=hazard.owner,
        goals=tuple(goal.name for goal in plant.goals if goal.hazard == name),
        guards=guards,
        missing=tuple(missing),
    )


def _guards(name: str, safety: SafetySpec, evidence: _Evidence, *, tolerable: bool) -> Iterator[Guard]:
    for limit in safety.limits:
        if limit.hazard == name:
            soft = limit.kind == "soft"
            yield Guard(f"{limit.kind}_limit", limit.id, evidence.limit(limit.id, may_pass=soft and tolerable))
    for interlock in safety.interlocks:
        if interlock.hazard == name:
            yield Guard("interlock", interlock.id, evidence.campaign())
    for sequence in safety.sequences:
        if sequence.hazard == name:
            yield Guard("sequence", sequence.id, evidence.campaign())
    for signal, sensor in safety.sensors.items():
        if sensor.hazard == name:
            yield Guard("sensor_check", signal, evidence.sensor(signal))
