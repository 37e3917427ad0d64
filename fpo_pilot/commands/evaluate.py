"""``fpo-pilot evaluate``: what a policy is worth against the controller in charge today."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from fpo_pilot.commands.console import note, progress, say, say_json, table
from fpo_pilot.errors import PolicyError
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.writing import EVALUATION, writing
from fpo_pilot.specs import load_evaluation_spec, spec_hash
from fpo_pilot.specs.load import GYM

if TYPE_CHECKING:
    from fpo_pilot.evaluate import Evaluation
    from fpo_pilot.evaluate.arms import Sampler
    from fpo_pilot.learn.policy import Policy
    from fpo_pilot.plants.plant import Plant

ARM_NAMES = {"fpo": "flow"}
"""What an algorithm is called in a table, where that is not its name."""


def run_evaluate(
    run_dir: Path,
    against: Sequence[Path],
    *,
    episodes: int | None,
    seed: int,
    gate: bool,
    as_json: bool,
    sampler: str = "",
    sampler_steps: int | None = None,
) -> int:
    """Evaluate ``run_dir`` and print the table; with ``gate`` the exit code is 1 unless the verdict is a pass."""
    chosen = read_sampler(sampler, sampler_steps)
    evaluation = evaluate_run(run_dir, against, episodes=episodes, seed=seed, quiet=as_json, sampler=chosen)
    if as_json:
        say_json(evaluation.model_dump(mode="json"))
    else:
        show(evaluation, run_dir)
    return 1 if gate and evaluation.verdict.result != "pass" else 0


def evaluate_run(
    run_dir: Path,
    against: Sequence[Path],
    *,
    episodes: int | None,
    seed: int,
    scenarios: Sequence[str] = (),
    quiet: bool = False,
    sampler: Sampler | None = None,
) -> Evaluation:
    """Evaluate the policy of ``run_dir`` beside hold, the incumbent, an oracle and the policies of ``against``.

    Args:
        run_dir: the run to judge.
        against: other runs for the same table.
        episodes: of each row; None for the spec's.
        seed: of the reported episodes.
        scenarios: names of those to run; all if none is named.
        quiet: show no progress.
        sampler: of flow policies, where it is not that of training.
    """
    from fpo_pilot.evaluate import build_arms, evaluate
    from fpo_pilot.plants.load import load_plant

    name = Manifest.read(run_dir).plant
    if name.startswith(GYM):
        raise PolicyError(
            f"{run_dir}: found a policy for {name}, expected one for a plant: a published task has no incumbent to be "
            "judged against. Use `fpo-pilot samplers` or `fpo-pilot compare` for it."
        )
    plant = load_plant(name)
    policies = _policies(plant, run_dir, against)
    spec = load_evaluation_spec(plant.name)
    if episodes is not None:
        spec = spec.model_copy(update={"episodes": episodes})
    if scenarios:
        spec = spec.model_copy(update={"scenarios": tuple(s for s in spec.scenarios if s.name in scenarios)})
    command = " ".join(["fpo-pilot evaluate", str(run_dir), *(f"--against {other}" for other in against)])
    if sampler is not None:
        command += f" --sampler {sampler.method}" + ("" if sampler.steps is None else f" --steps {sampler.steps}")
    with writing(run_dir, "evaluate", EVALUATION), progress("evaluate [%]", 100.0, quiet=quiet) as report:
        return evaluate(
            plant,
            build_arms(plant, policies),
            spec,
            run_dir,
            seed=seed,
            progress=lambda done, text: report(100.0 * done, text),
            command=f"{command} --episodes {spec.episodes} --seed {seed}",
            comparison=[str(other) for other in against],
            sampler=sampler,
        )


def read_sampler(method: str, steps: int | None) -> Sampler | None:
    """Return the sampler that was asked for; None for that of training.

    Raises:
        PolicyError: there is no such method.
    """
    from fpo_pilot.evaluate.arms import Sampler
    from fpo_pilot.flow import Method

    methods: tuple[Method, ...] = get_args(Method)
    if not method and steps is None:
        return None
    known = next((name for name in methods if name == (method or "euler")), None)
    if known is None:
        raise PolicyError(f"--sampler: found {method!r}, expected one of {', '.join(methods)}. Correct the name.")
    return Sampler(known, steps)


def _policies(plant: Plant, run_dir: Path, against: Sequence[Path]) -> dict[str, Policy]:
    """Load the candidate first, then those to compare with; each under the name of its algorithm."""
    from fpo_pilot.learn import load_policy

    found: dict[str, Policy] = {}
    for path in (run_dir, *against):
        manifest = Manifest.read(path)
        if manifest.plant != plant.name:
            raise PolicyError(
                f"{path}: found a policy for the plant {manifest.plant!r}, expected one for {plant.name!r}. "
                "Compare policies of one plant."
            )
        if manifest.hashes.get("plant") != spec_hash(plant.spec):
            note(f"note: {path} was trained on another version of the plant spec; its evaluation uses today's.")
        name = ARM_NAMES.get(manifest.algorithm, manifest.algorithm)
        found[name if name not in found else f"{name}:{path.name}"] = load_policy(path)
    return found


def show(evaluation: Evaluation, run_dir: Path) -> None:
    """Print the rows, the verdict and what comes next."""
    from fpo_pilot.evaluate import goals_as_table, rows_as_table

    columns, rows = rows_as_table(evaluation)
    table(f"{evaluation.plant}: offline evaluation (cost = −return)", columns, rows)
    columns, rows = goals_as_table(evaluation)
    if rows:
        table(
            f"{evaluation.plant}: goals satisfied, mean over episodes with {evaluation.confidence:.0%} interval",
            columns,
            rows,
        )
    verdict = evaluation.verdict
    say(f"verdict against the incumbent: {verdict.result.upper()}. {verdict.reason}")
    say(f"written: {run_dir / 'evaluation.json'}, {run_dir / 'episodes.parquet'}")
    say(f"next: fpo-pilot rollout {run_dir}")
