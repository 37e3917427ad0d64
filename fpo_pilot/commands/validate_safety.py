"""``fpo-pilot validate-safety``: a campaign behind the declared shields, and a certificate or a refusal with its reasons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fpo_pilot.certification.record import Record, Row, read_record, record_path, status_of, write_record
from fpo_pilot.certification.signing import signed, signed_by
from fpo_pilot.certification.words import SIGNED, STATUS
from fpo_pilot.commands.console import note, progress, say, say_json, table
from fpo_pilot.logs.keys import read_private_key, read_public_key
from fpo_pilot.specs.content import find_plant

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fpo_pilot.certification.validate import Plan


@dataclass(frozen=True)
class Attack:
    """What is asked for on the command line; see :class:`fpo_pilot.certification.validate.Plan`."""

    policy: Path | None
    episodes: int
    corners: int
    full: bool
    seed: int

    def command(self, plant: str) -> str:
        """Return the command that asks for it."""
        words = [
            "fpo-pilot validate-safety",
            plant,
            f"--episodes {self.episodes} --corners {self.corners} --seed {self.seed}",
        ]
        words += ["--full"] if self.full else []
        return " ".join(words + ([] if self.policy is None else [f"--policy {self.policy.name}"]))


def run_validate_safety(
    plant_name: str, attack: Attack, *, output: Path | None, key: Path | None = None, as_json: bool
) -> int:
    """Validate a plant's shields and write the record, signed if a ``key`` is given; 0 if it is a certificate, 1 if a refusal."""
    import torch

    from fpo_pilot.certification.validate import validate
    from fpo_pilot.logs.tables import write_table_atomic
    from fpo_pilot.plants.load import load_plant

    torch.set_num_threads(1)
    path = record_path(find_plant(plant_name)) if output is None else output
    private = None if key is None else _private(key)
    plant = load_plant(plant_name)
    plan = _plan(attack, plant.name)
    with progress("validate [conditions]", plan.size(plant), quiet=as_json) as report:
        found = validate(plant, plan, progress=report)
    record = found.record if private is None else signed(found.record, private)
    write_record(path, record)
    write_table_atomic(path.with_suffix(".parquet"), found.traces)
    if as_json:
        say_json(record.model_dump(mode="json", exclude={"conditions"}) | {"file": path})
    else:
        _show(record)
        note(f"wrote {path} and {path.with_suffix('.parquet')}")
    return 0 if record.verdict == "certified" else 1


def run_check_certificate(
    plant_name: str, *, output: Path | None, key: Path | None = None, public: Path | None = None, as_json: bool
) -> int:
    """Say whether the record of a plant still speaks for its specs; 0 only for a valid certificate.

    Args:
        plant_name: whose record.
        output: where it lies, if not in its place.
        key: a private key that signs the record, unless it is absent, stale or altered.
        public: a public key; the certificate counts only where it signed it.
        as_json: write one JSON document.
    """
    from fpo_pilot.certification.validate import binding_of
    from fpo_pilot.plants.load import load_plant

    path = record_path(find_plant(plant_name)) if output is None else output
    plant = load_plant(plant_name)
    status, changed = status_of(path, binding_of(plant), plant=plant.name)
    record = None if status in ("absent", "stale", "altered") else read_record(path)
    if record is not None and key is not None:
        record = signed(record, _private(key))
        write_record(path, record)
    reasons = () if record is None else record.reasons
    known = None if public is None else record is not None and signed_by(record, read_public_key(public))
    good = 0 if status == "valid" and known is not False else 1
    if as_json:
        codes = [one.code for one in reasons]
        say_json({"plant": plant.name, "status": status, "changed": changed, "reasons": codes, "signed": known})
        return good
    words = STATUS[status]
    say(f"{plant.name}: {words.en} / {words.ja}" + (f" ({', '.join(changed)})" if changed else ""))
    for one in reasons:
        say(f"- {one.text.en} / {one.text.ja} [{one.code}: {one.detail}]")
    if known is not None:
        words = SIGNED[known]
        say(f"- {words.en} / {words.ja}")
    return good


def _private(key: Path) -> Ed25519PrivateKey:
    from fpo_pilot.commands.verify import passphrase_for

    return read_private_key(key, passphrase_for(key))


def _plan(attack: Attack, plant: str) -> Plan:
    from fpo_pilot.certification.validate import Plan
    from fpo_pilot.learn import load_policy
    from fpo_pilot.learn.checkpoint import checkpoint_path
    from fpo_pilot.logs.ledger import file_hash

    plan = Plan(attack.episodes, attack.seed, attack.corners, attack.command(plant), full=attack.full)
    if attack.policy is None:
        return plan
    digest = file_hash(checkpoint_path(attack.policy, "best"))[0]
    return replace(plan, policy=load_policy(attack.policy), model_hash=digest)


def _show(record: Record) -> None:
    columns = (
        "condition",
        "decides",
        "adversary",
        "violations (95 % below)",
        "without",
        "least margin",
        "altered",
        "infeasible",
    )
    worst: dict[str, Row] = {}
    for row in record.rows:
        if row.condition not in worst or _badness(row) > _badness(worst[row.condition]):
            worst[row.condition] = row
    table(f"{record.plant}: the worst adversary of each condition", columns, (_cells(row) for row in worst.values()))
    covered = record.covered()
    events, episodes = (sum(getattr(row.shielded, name) for row in covered) for name in ("violations", "episodes"))
    bare = sum(row.unshielded.violations for row in covered)
    say(
        f"conditions that decide: {events} of {episodes} episodes passed a hard limit; without the shield {bare} of {episodes}"
    )
    words = STATUS[record.verdict]
    say(f"{record.plant}: {words.en} / {words.ja}")
    for one in record.reasons:
        say(f"- {one.text.en} / {one.text.ja} [{one.code}: {one.detail}]")


def _badness(row: Row) -> tuple[int, float]:
    margins = [margin for margin in row.shielded.least_margin.values() if margin is not None]
    return row.shielded.violations, -min(margins, default=0.0)


def _cells(row: Row) -> tuple[str, ...]:
    shielded, bare = row.shielded, row.unshielded
    margins = {name: margin for name, margin in shielded.least_margin.items() if margin is not None}
    name = min(margins, key=lambda one: margins[one], default="-")
    return (
        row.condition,
        "yes" if row.covered else "no",
        row.adversary,
        f"{shielded.violations} of {shielded.episodes} ({shielded.upper:.0%})",
        f"{bare.violations} of {bare.episodes}",
        f"{name} {margins[name]:.3g}" if margins else "-",
        f"{shielded.intervention_rate:.0%}",
        f"{shielded.infeasible_rate:.2%}",
    )
