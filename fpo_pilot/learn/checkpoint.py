"""Checkpoints in safetensors: every tensor by name, and what is not a tensor as JSON in the header. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fpo_pilot.errors import CheckpointError
from fpo_pilot.logs.atomic import write_atomic

FOLDER = "checkpoints"
VERSION = 1


def checkpoint_path(run_dir: Path, which: str) -> Path:
    """Return where the checkpoint ``latest`` or ``best`` of a run is."""
    return run_dir / FOLDER / f"{which}.safetensors"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """Write a checkpoint whole or not at all; return its SHA-256.

    Args:
        path: where.
        tensors: by name; copied to the CPU.
        facts: what is not a tensor, as JSON can say it.
    """
    owned = {name: value.detach().to("cpu").contiguous().clone() for name, value in tensors.items()}
    content = save(owned, metadata={"facts": json.dumps({"version": VERSION, **facts}, sort_keys=True)})
    write_atomic(path, lambda file: file.write(content))
    return hashlib.sha256(content).hexdigest()


def read_checkpoint(path: Path, *, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint; return its tensors and facts.

    Raises:
        CheckpointError: it is missing, damaged, or of another version.
    """
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            facts = json.loads((file.metadata() or {})["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError as problem:
        raise CheckpointError(
            f"{path}: found no file, expected a checkpoint. Train first, or name the run folder that has it."
        ) from problem
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as problem:
        raise CheckpointError(
            f"{path}: found a file that is not a whole checkpoint ({problem}). Restore it from a copy, or train again."
        ) from problem
    if facts.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: found version {facts.get('version')!r}, expected {VERSION}. Use the release that wrote it."
        )
    return tensors, facts
