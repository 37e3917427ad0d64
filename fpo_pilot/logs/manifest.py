"""The manifest of a run: what was run, from which specs, code and versions, on what machine, and what it cost."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

import fpo_pilot
from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import write_json_atomic
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec

FILE = "manifest.json"
PACKAGES = ("torch", "numpy", "scipy", "pandas", "pyarrow", "pydantic", "gymnasium", "mujoco", "safetensors", "pint")


class Record(BaseModel):
    """A part of the manifest: frozen; keys that a later version adds are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class TrainingRecord(Record):
    """What the training cost and how it ended."""

    steps: int = 0
    updates: int = 0
    seconds: float = 0.0
    steps_per_second: float = 0.0
    best_update: int | None = None
    best_return: float | None = None
    stopped_early: str | None = None
    """Why the training ended before its last step; None if it did not."""
    peak_memory_mib: float | None = None


class WarmStartRecord(Record):
    """The log that a training began from."""

    log: str
    """Its run folder, as it was named."""
    run_id: str
    ledger_root: str
    """Merkle root over the ledger of that run, which covers the log."""
    episodes: int
    rows: int
    """Transitions that were learned from."""


class Machine(Record):
    """Facts on the machine that explain a speed; no host name, no user, no path."""

    system: str = ""
    cpu: str = ""
    cores: int = 0
    memory_mib: int | None = None


class Manifest(Record):
    """manifest.json of a run folder."""

    schema_version: Literal[1] = 1
    run_id: str
    plant: str
    algorithm: str
    command: str
    created: str
    """ISO 8601, UTC."""
    seed: int
    device: str
    fpo_pilot_version: str
    python: str
    versions: dict[str, str]
    git_commit: str | None = None
    git_dirty: bool | None = None
    """Whether the package differed from that commit."""
    machine: Machine = Machine()
    plant_spec: dict[str, Any] = {}
    """Empty where the run is of no plant but of a published task."""
    safety_spec: dict[str, Any] | None = None
    training_spec: dict[str, Any] = {}
    hashes: dict[str, str | None]
    """Keys plant, safety, training, code and model."""
    training: TrainingRecord | None = None
    warm_start: WarmStartRecord | None = None
    """None if the training began from no log."""

    @classmethod
    def collect(
        cls,
        *,
        run_id: str,
        algorithm: str,
        command: str,
        seed: int,
        device: str,
        plant_spec: PlantSpec | None,
        task: str | None = None,
        safety_spec: SafetySpec | None = None,
        training_spec: BaseModel | None = None,
        model_hash: str | None = None,
    ) -> Self:
        """Make the manifest of a run that starts now: specs in full, their hashes, versions, commit, machine.

        Args:
            run_id: name of the run, such as that of its folder.
            algorithm: what makes the policy.
            command: the command line, as one can type it again.
            seed: seed of the run.
            device: torch's name of the device.
            plant_spec: the plant as loaded; None for a published task that is no plant.
            task: name of that task; a plant has its own.
            safety_spec: its safety spec, if the project has one.
            training_spec: settings of the training, if it trains.
            model_hash: SHA-256 of the checkpoint, once there is one.
        """
        commit, dirty = _git_state(_package())
        return cls(
            run_id=run_id,
            plant=plant_spec.plant.id if plant_spec is not None else task or "",
            algorithm=algorithm,
            command=command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=seed,
            device=device,
            fpo_pilot_version=fpo_pilot.__version__,
            python=platform.python_version(),
            versions=_versions(),
            git_commit=commit,
            git_dirty=dirty,
            machine=_machine(),
            plant_spec={} if plant_spec is None else _dump(plant_spec),
            safety_spec=None if safety_spec is None else _dump(safety_spec),
            training_spec={} if training_spec is None else _dump(training_spec),
            hashes={
                "plant": None if plant_spec is None else spec_hash(plant_spec),
                "safety": None if safety_spec is None else spec_hash(safety_spec),
                "training": None if training_spec is None else spec_hash(training_spec),
                "code": code_hash(),
                "model": model_hash,
            },
        )

    def updated(self, *, model_hash: str | None = None, **fields: Any) -> Self:
        """Return a checked copy with ``fields`` replaced and, if given, the hash of the model entered."""
        data = {**self.model_dump(), **fields}
        if model_hash is not None:
            data["hashes"] = {**data["hashes"], "model": model_hash}
        return type(self).model_validate(data)

    def write(self, run_dir: Path) -> None:
        """Write manifest.json, whole or not at all."""
        write_json_atomic(run_dir / FILE, self.model_dump(mode="json"))

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """Read manifest.json of a run folder.

        Raises:
            LogError: there is none, or it is none.
        """
        path = run_dir / FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as problem:
            raise LogError(
                f"{path}: found no file that can be read ({problem.strerror}), expected the manifest of a run. "
                "Name a run folder, such as one that `fpo-pilot train` made."
            ) from problem
        except ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "document"
            raise LogError(
                f"{path}: {where}: found {str(first.get('input'))[:60]!r}, expected a manifest of this version "
                f"({first['msg']}). Restore the file, or make the run again."
            ) from problem


def code_hash(package: Path | None = None) -> str:
    """Return the SHA-256 over the Python files of the package: relative names and contents, in sorted order."""
    root = _package() if package is None else package
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix()):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _package() -> Path:
    return Path(fpo_pilot.__file__).resolve().parent


def _dump(spec: BaseModel) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an auditor's environment has no torch
    return found


def _git_state(package: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that the package is part of, and whether the package differs from it."""
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None  # no git, no checkout, or a package that only happens to lie inside someone's repository
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", ".")
    return commit, None if changes is None else changes != ""


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _machine() -> Machine:
    return Machine(
        system=f"{platform.system()} {platform.machine()}", cpu=_cpu(), cores=_cores(), memory_mib=_memory_mib()
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the platform module knows less, but something
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_mib() -> int | None:
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20)
    except (ValueError, OSError, AttributeError):
        return None
