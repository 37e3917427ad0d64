"""The record of a safety validation: a certificate, or a refusal with its reasons; bound to what it is about.

What a record says of itself is not believed where it can be worked out: the verdict follows from reasons and rows, and a digest over
the whole shows an edit by hand. Whoever can edit can also compute the digest anew; only a signature shows whose record it is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

import fpo_pilot
from fpo_pilot.errors import CertificateError
from fpo_pilot.logs.atomic import write_text_atomic
from fpo_pilot.specs.base import Spec, Text
from fpo_pilot.specs.identity import canonical_json

Verdict = Literal["certified", "refused"]
Status = Literal["valid", "refused", "stale", "altered", "absent"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


class Binding(Spec):
    """What a record is about; where one of these hashes changes, it says nothing any more."""

    plant_spec: Sha256
    safety_spec: Sha256
    dynamics: Sha256 | None
    """Over the files of the dynamics; None for dynamics made in Python, of which nothing can be certified."""
    shields: Sha256 | None = None
    """Over the code of ``fpo_pilot/shields``; None in a record of an earlier release, which speaks for nothing."""
    model: Sha256 | None = None
    """Of the policy's weights, where one was tried. Another policy does not make a certificate stale: the shield is what it is about."""


class Acted(Spec):
    """How often a layer did something."""

    episodes: Count
    """In which it did, at least once."""
    violations: Count
    """Those of them in which a hard limit was passed."""


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
    acted: dict[str, Acted] = Field(default_factory=dict)
    """By reason: ``interlock:ID`` latched, ``sequence:ID`` held, ``integrity.KIND:SIGNAL`` recognised; none that never did."""


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


class Signature(Spec):
    """Who stands for a record: over its digest, with an Ed25519 key."""

    key: Sha256
    """Fingerprint of the public key."""
    ts: str
    signature: str
    """Base64, over the canonical JSON of digest, key and time."""


class Record(Spec):
    """A whole ``safety/certificates/NAME.json``."""

    schema_version: Literal[1] = 1
    plant: str
    shield: Literal["declared", "given"] = "declared"
    """Whether what was tried is the stack that the safety spec declares; another one certifies nothing."""
    verdict: Verdict
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
    digest: Sha256 | None = None
    """Over all else but the signature; None in a record of an earlier release."""
    signature: Signature | None = None

    def covered(self) -> tuple[Row, ...]:
        """List the rows that decide."""
        return tuple(row for row in self.rows if row.covered)

    def earned(self) -> Verdict:
        """Return the verdict that reasons and rows give, whatever the record calls itself."""
        tried = {row.condition for row in self.covered()}
        asked = {condition.name for condition in self.conditions if condition.covered}
        passed = any(row.shielded.violations for row in self.covered())
        whole = bool(tried) and tried == asked and self.binding.dynamics is not None and self.shield == "declared"
        return "certified" if whole and not passed and not self.reasons else "refused"

    def sealed(self) -> Record:
        """Return the record with the digest of what it says; a signature over another one is dropped."""
        bare = self.model_copy(update={"digest": None, "signature": None})
        digest = hashlib.sha256(canonical_json(bare).encode("utf-8")).hexdigest()
        signature = self.signature if self.digest == digest else None
        return self.model_copy(update={"digest": digest, "signature": signature})

    def altered(self) -> tuple[str, ...]:
        """Name what is not as ``validate-safety`` wrote it: ``digest``, ``verdict``."""
        found = ["digest"] if self.binding.shields is not None and self.digest != self.sealed().digest else []
        if self.verdict == "certified" and self.earned() != "certified":
            found.append("verdict")
        return tuple(found)


def write_record(path: Path, record: Record) -> None:
    """Seal a record and write it as canonical JSON, whole or not at all.

    Raises:
        LogError: the disk failed.
    """
    write_text_atomic(path, canonical_json(record.sealed()) + "\n")


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        CertificateError: it is missing, is none, or is not as it was written.
    """
    record = _read(path)
    if record.altered():
        raise CertificateError(
            f"{path}: {record.altered()[0]}: found a record that was edited since it was written, expected one as "
            "`fpo-pilot validate-safety` left it. Run it again, or restore the file."
        )
    return record


def _read(path: Path) -> Record:
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


def status_of(path: Path, binding: Binding, *, plant: str) -> tuple[Status, tuple[str, ...]]:
    """Say whether a record still speaks for a plant, and what changed or was altered.

    Args:
        path: of the record.
        binding: the hashes of specs, dynamics and shields as they are now.
        plant: its name.

    Raises:
        CertificateError: the file is there and is no record.
    """
    if not path.is_file():
        return "absent", ()
    record = _read(path)
    if record.altered():
        return "altered", record.altered()
    names = ("plant_spec", "safety_spec", "dynamics", "shields")
    changed = [name for name in names if getattr(record.binding, name) != getattr(binding, name)]
    changed += ["plant"] if record.plant != plant else []
    changed += ["fpo_pilot_version"] if record.fpo_pilot_version != fpo_pilot.__version__ else []
    if changed:
        return "stale", tuple(changed)
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
