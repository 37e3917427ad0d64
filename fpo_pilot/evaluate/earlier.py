"""An evaluation that is made again: the one before is moved to ``earlier/`` and counted, since each is one more look at chance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import ValidationError

from fpo_pilot.errors import LogError
from fpo_pilot.evaluate.store import EPISODES, SELECTION, STAGE
from fpo_pilot.evidence.evaluation import FILE, EarlierEvaluation, Evaluation

FOLDER = "earlier"
_MOVED = (EPISODES, SELECTION, "worst.json", "worst.parquet", f"steps/stage={STAGE}", FILE)
"""In their order: a folder in ``earlier/`` is whole once it has evaluation.json."""


def take_its_place(run_dir: Path, found: Evaluation) -> Evaluation:
    """Move the evaluation that is there to ``earlier/``, unless it is ``found`` itself, and return ``found`` with what came before it."""
    path = run_dir / FILE
    if path.exists() and not _is_same(path, found):
        _set_aside(run_dir)
    before = tuple(_summary(folder, found) for folder in sorted((run_dir / FOLDER).glob("evaluation-*/")))
    looks = [one for one in before if one.same_policy]
    if not looks:
        return found.model_copy(update={"earlier": before})
    told = ", ".join(one.result for one in looks)
    reason = f"{found.verdict.reason} It is evaluation {len(looks) + 1} of these weights; before: {told}."
    return found.model_copy(update={"earlier": before, "verdict": found.verdict.model_copy(update={"reason": reason})})


def _set_aside(run_dir: Path) -> None:
    number = 0
    while (target := run_dir / FOLDER / f"evaluation-{number:03d}").joinpath(FILE).exists():
        number += 1  # one that a crash left without it is filled up
    for name in _MOVED:
        if (run_dir / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(run_dir / name, target / name)


def _is_same(path: Path, found: Evaluation) -> bool:
    """Whether both say the same, whatever command asked for it."""
    try:
        there = Evaluation.model_validate_json(path.read_bytes())
    except ValidationError:  # of another release
        return False
    return _bare(there) == _bare(found)


def _bare(evaluation: Evaluation) -> Evaluation:
    verdict = evaluation.verdict.model_copy(update={"reason": ""})
    return evaluation.model_copy(update={"command": "", "earlier": (), "verdict": verdict})


def _weights(found: Evaluation) -> str | None:
    return None if found.deployment is None else found.hashes.get(found.deployment.arm)


def _summary(folder: Path, found: Evaluation) -> EarlierEvaluation:
    """Read an earlier evaluation, also one of another release, of which little is asked."""
    try:
        document = json.loads((folder / FILE).read_bytes())
        arm = (document.get("deployment") or {}).get("arm")
        return EarlierEvaluation(
            folder=f"{FOLDER}/{folder.name}",
            seed=document["seed"],
            episodes=document["episodes"],
            result=document["verdict"]["result"],
            same_policy=arm is not None and document["hashes"].get(arm) == _weights(found),
        )
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise LogError(
            f"{folder / FILE}: found no evaluation that can be read ({problem!r}), expected the earlier one. Restore it from a copy."
        ) from problem
