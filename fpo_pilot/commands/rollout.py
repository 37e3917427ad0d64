"""``fpo-pilot rollout``: shadow, bounded, full on the simulated plant, each entered on evidence only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import TypeAdapter, ValidationError

from fpo_pilot.commands.certificate import CERTIFICATE, certificate_status
from fpo_pilot.commands.console import progress, say, say_json, table
from fpo_pilot.commands.deployment import chosen_deployment
from fpo_pilot.errors import RolloutError
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.writing import ROLLOUT, writing
from fpo_pilot.specs.evaluation import FaultKind
from fpo_pilot.specs.safety import StageName

if TYPE_CHECKING:
    from fpo_pilot.rollout import Injection, RolloutResult

_INJECT = re.compile(r"^(?P<signal>\w+):(?P<kind>\w+)@(?P<stage>\w+)$")


def run_rollout_command(
    run_dir: Path,
    *,
    inject: str | None,
    random_actions: bool,
    max_episodes: int | None,
    seed: int,
    as_json: bool,
) -> int:
    """Roll out and say where it ended; 0 when full authority was reached, 1 when not."""
    result = rollout_run(
        run_dir, inject=inject, random_actions=random_actions, max_episodes=max_episodes, seed=seed, quiet=as_json
    )
    plant = Manifest.read(run_dir).plant
    certificate = certificate_status(plant)
    if as_json:
        say_json(json.loads((result.folder / "rollout.json").read_text("utf-8")) | {"certificate": certificate})
    else:
        show(result)
        say(f"safety certificate: {CERTIFICATE[certificate].format(plant=plant)}")
    return 0 if result.final_stage == "full" else 1


def rollout_run(
    run_dir: Path,
    *,
    inject: str | None = None,
    random_actions: bool = False,
    max_episodes: int | None = None,
    seed: int = 2000,
    quiet: bool = False,
) -> RolloutResult:
    """Roll the policy of ``run_dir`` out; a drill (a fault or random actions) has a folder of its own under ``drills``."""
    import torch

    from fpo_pilot.certification.stacks import require_kept_terminal_sets
    from fpo_pilot.learn import load_policy
    from fpo_pilot.plants.load import load_plant
    from fpo_pilot.rollout import run_rollout

    torch.set_num_threads(1)  # one plant: a second thread only waits
    manifest = Manifest.read(run_dir)
    plant = load_plant(manifest.plant)
    if plant.safety is None or not plant.safety.stages:
        raise RolloutError(
            f"safety/{plant.name}.yaml: found no stages, expected shadow, bounded and full. "
            "Declare `stages:` in the safety spec; `fpo-pilot init` shows an example."
        )
    require_kept_terminal_sets(plant, plant.safety)
    policy = load_policy(run_dir)
    deployment = chosen_deployment(run_dir, policy)
    acting = policy.deploy(deployment)
    injection = _injection(inject) if inject is not None else None
    folder = run_dir
    if inject is not None:
        folder = run_dir / "drills" / re.sub(r"\W+", "-", inject)
    elif random_actions:
        folder = run_dir / "drills" / "random-actions"
    total = float(max_episodes or sum(stage.max_blocks for stage in plant.safety.stages))
    drill = folder.relative_to(run_dir).as_posix()
    covers = ROLLOUT if folder == run_dir else (f"{drill}/*",)
    name = "rollout" if folder == run_dir else f"rollout of {drill}"
    with writing(run_dir, name, covers) as held, progress("roll out", total, quiet=quiet) as report:
        return run_rollout(
            plant,
            plant.safety,
            acting.act,
            folder,
            seed=seed,
            inject=injection,
            random_actions=random_actions,
            max_episodes=max_episodes,
            progress=report,
            model_hash=str(manifest.hashes.get("model") or ""),
            command=_command(run_dir, inject, random_actions, max_episodes, seed),
            enter=held.decide,
            mode="" if random_actions else deployment.label,
        )


def _command(run_dir: Path, inject: str | None, random_actions: bool, max_episodes: int | None, seed: int) -> str:
    words = ["fpo-pilot rollout", str(run_dir)]
    words += [f"--inject {inject}"] if inject is not None else []
    words += ["--random-actions"] if random_actions else []
    words += [f"--max-episodes {max_episodes}"] if max_episodes is not None else []
    return " ".join([*words, f"--seed {seed}"])


def _injection(text: str) -> Injection:
    from fpo_pilot.rollout import Injection

    match = _INJECT.match(text)
    try:
        return TypeAdapter(Injection).validate_python({} if match is None else match.groupdict())
    except ValidationError as problem:
        raise RolloutError(
            f"--inject: found {text!r}, expected SIGNAL:KIND@STAGE with KIND one of {', '.join(get_args(FaultKind))} "
            f"and STAGE one of {', '.join(get_args(StageName))}. For example --inject T:nan@bounded."
        ) from problem


def show(result: RolloutResult) -> None:
    """Print the transitions and where the roll-out ended."""
    table(
        "Transitions",
        ("episode", "step", "from", "to", "authority", "reason"),
        (
            [str(item[key]) for key in ("episode", "step", "from_stage", "to_stage", "authority", "reason")]
            for item in result.transitions
        ),
    )
    say(f"ended in: {result.final_stage} with authority {result.final_authority:g} after {result.episodes} episodes")
    say(f"written: {result.folder / 'events.parquet'}, {result.folder / 'rollout.json'}")
