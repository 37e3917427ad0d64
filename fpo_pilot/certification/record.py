"""The record of a safety validation: a certificate, or a refusal with its reasons; bound to the specs that it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from fpo_pilot.errors import CertificateError
from fpo_pilot.logs.atomic import write_text_atomic
from fpo_pilot.specs.base import Spec, Text
from fpo_pilot.specs.identity import canonical_json

Status = Literal["valid", "refused", "stale", "absent"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


class Binding(Spec):
    """What a record is about; where one of these hashes changes, it says nothing any more."""

    plant_spec: Sha256
    safety_spec: Sha256
    dynamics: Sha256 | None
    """Over the files of the dynamics; None for dynamics made in Python."""
    model: Sha256 | None = None
    """Of the policy's weights, where one was tried. Another policy does not make a certificate stale: the shield is what it is about."""


class Side(Spec):
    """Totals of one row with the shield, or without it."""

    steps: Count
    episodes: Count
    violations: Count
    """Episodes in which a hard limit was passed."""
    distinct: Count
    """Episodes that differ in anything: on a plant without noise all those of one constant proposal are one trial."""
    upper: Share
    """Clopper-Pearson, one-sided 95 %, for one look, over the distinct episodes."""
    anytime_upper: Share
    """Upper end of the confidence sequence of 95 %, which holds whenever one looks."""
    least_margin: dict[str, float | None]
    """Of each limit, in the unit of its signal; below 0 it was passed; None where it is not a number."""
    intervention_rate: Share
    infeasible_rate: Share


class Row(Spec):
    """One adversary in one condition; both sides from the same starts, noise and proposals' seed."""

    condition: str
    kind: str
    covered: bool
    adversary: str
    seed: int
    shielded: Side
    unshielded: Side


class Worst(Spec):
    """A trajectory that came nearest to a hard limit, or passed it; its steps are in the Parquet file beside the record."""

    condition: str
    adversary: str
    covered: bool
    seed: int
    episode: int
    """Row of the batch: with condition, seed and number of episodes it is drawn again."""
    margin: float | None
    """Least distance to a hard limit behind the shield, as a fraction of the signal's range."""
    margin_unshielded: float | None


class Finding(Spec):
    """One reason of a refusal."""

    code: str
    detail: str
    text: Text


class Condition(Spec):
    """What a condition changes, in full, so that it can be made again."""

    name: str
    kind: str
    covered: bool
    why: Text
    scenario: dict[str, object]


class Record(Spec):
    """A whole ``safety/certificates/NAME.json``."""

    schema_version: Literal[1] = 1
    plant: str
    verdict: Literal["certified", "refused"]
    reasons: tuple[Finding, ...]
    date: str
    fpo_pilot_version: str
    command: str
    seed: int
    episodes: Annotated[int, Field(ge=1)]
    confidence: float = 0.95
    binding: Binding
    assumptions: tuple[Text, ...]
    conditions: tuple[Condition, ...]
    rows: tuple[Row, ...]
    worst: tuple[Worst, ...]

    def covered(self) -> tuple[Row, ...]:
        """List the rows that decide."""
        return tuple(row for row in self.rows if row.covered)


def write_record(path: Path, record: Record) -> None:
    """Write a record as canonical JSON, whole or not at all.

    Raises:
        LogError: the disk failed.
    """
    write_text_atomic(path, canonical_json(record) + "\n")


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        CertificateError: it is missing, or is none.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as problem:
        raise CertificateError(
            f"{path}: found no file, expected the record of `fpo-pilot validate-safety`. Run it for this plant."
        ) from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise CertificateError(
            f"{path}: {where}: found {first['msg']}, expected a record of this release. Run `fpo-pilot validate-safety` again."
        ) from problem


def status_of(path: Path, binding: Binding) -> tuple[Status, tuple[str, ...]]:
    """Say whether a record still speaks for the specs of ``binding``, and which hashes changed.

    Raises:
        CertificateError: the file is there and is no record.
    """
    if not path.is_file():
        return "absent", ()
    record = read_record(path)
    names = ("plant_spec", "safety_spec", "dynamics")
    changed = tuple(name for name in names if getattr(record.binding, name) != getattr(binding, name))
    if changed:
        return "stale", changed
    return ("valid" if record.verdict == "certified" else "refused"), ()


def record_path(plant_yaml: Path) -> Path:
    """Return where the record of a plant lies: ``safety/certificates/NAME.json`` of the project that it is in.

    Raises:
        CertificateError: the plant is in no project.
    """
    folder = plant_yaml.absolute().parent
    if folder.parent.name != "envs":
        raise CertificateError(
            f"{plant_yaml}: found a plant outside of envs/, expected envs/NAME/plant.yaml. Say where with --output."
        )
    return folder.parent.parent / "safety" / "certificates" / f"{folder.name}.json"
