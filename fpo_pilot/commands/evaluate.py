"""``fpo-pilot evaluate``: what a policy is worth against the controller in charge today."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from fpo_pilot.commands.console import note, progress, say, say_json, table
from fpo_pilot.errors import PolicyError
from fpo_pilot.evidence.evaluation import read_evaluation
from fpo_pilot.evidence.worst import read_worst
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.writing import EVALUATION, writing
from fpo_pilot.specs import load_evaluation_spec, spec_hash
from fpo_pilot.specs.load import GYM

if TYPE_CHECKING:
    from fpo_pilot.evaluate import Evaluation
    from fpo_pilot.evaluate.arms import Sampler
    from fpo_pilot.evaluate.harness import Runner
    from fpo_pilot.learn.policy import Policy
    from fpo_pilot.plants.plant import Plant
    from fpo_pilot.specs.evaluation import EvaluationSpec

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
    processes: int | None = None,
    cluster: str = "",
    grid: str = "",
) -> int:
    """Evaluate ``run_dir`` and print the table; with ``gate`` the exit code is 1 unless the verdict is a pass."""
    chosen = read_sampler(sampler, sampler_steps)
    evaluation = evaluate_run(
        run_dir,
        against,
        episodes=episodes,
        seed=seed,
        quiet=as_json,
        sampler=chosen,
        processes=processes,
        cluster=cluster,
        grid=tuple(part.strip() for part in grid.split(",")) if grid else (),
    )
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
    processes: int | None = None,
    cluster: str = "",
    grid: Sequence[str] = (),
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
        processes: of this machine that run cells; None for one, or for all cores where Ray is local.
        cluster: address of a Ray cluster that runs them; none if empty.
        grid: kinds of scenarios to make from the specs, beside those of evaluate.yaml.
    """
    from fpo_pilot.evaluate import build_arms, evaluate
    from fpo_pilot.evaluate.earlier import FOLDER
    from fpo_pilot.evidence.verdict import LEAST_PAIRS
    from fpo_pilot.plants.load import load_plant

    name = Manifest.read(run_dir).plant
    if name.startswith(GYM):
        raise PolicyError(
            f"{run_dir}: found a policy for {name}, expected one for a plant: a published task has no incumbent to be "
            "judged against. Use `fpo-pilot samplers` or `fpo-pilot compare` for it."
        )
    plant = load_plant(name)
    policies = load_policies(plant, run_dir, against)
    spec = load_evaluation_spec(plant.name)
    if episodes is not None:
        spec = spec.model_copy(update={"episodes": episodes})
    if scenarios:
        spec = spec.model_copy(update={"scenarios": tuple(s for s in spec.scenarios if s.name in scenarios)})
    spec = _on_grid(plant, spec, grid)
    if spec.episodes < LEAST_PAIRS:
        told = f"{spec.episodes} episodes are no evidence where chance has a part"
        note(f"note: {told}: below {LEAST_PAIRS} the verdict is inconclusive there. Give more with --episodes.")
    command = " ".join(["fpo-pilot evaluate", str(run_dir), *(f"--against {other}" for other in against)])
    if sampler is not None:
        command += f" --sampler {sampler.method}" + ("" if sampler.steps is None else f" --steps {sampler.steps}")
    if grid:
        command += f" --grid {','.join(grid)}"
    runner = _runner(name, (run_dir, *against), spec, seed, sampler, processes, cluster)
    with (
        writing(run_dir, "evaluate", (*EVALUATION, f"{FOLDER}/*")),
        progress("evaluate [%]", 100.0, quiet=quiet) as report,
    ):
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
            runner=runner,
            grid=grid,
        )


def _on_grid(plant: Plant, spec: EvaluationSpec, kinds: Sequence[str]) -> EvaluationSpec:
    """Return the spec with scenarios made from what the plant declares."""
    if not kinds:
        return spec
    from fpo_pilot.evaluate.grid import grid_scenarios, with_grid

    more = grid_scenarios(plant.spec, plant.safety, kinds)
    for kind in kinds:
        if not grid_scenarios(plant.spec, plant.safety, (kind,)):
            note(f"note: --grid {kind}: {plant.name} declares nothing to make scenarios of.")
    return spec.model_copy(update={"scenarios": with_grid(spec.scenarios, more)})


def _runner(
    plant: str,
    runs: Sequence[Path],
    spec: EvaluationSpec,
    seed: int,
    sampler: Sampler | None,
    processes: int | None,
    cluster: str,
) -> Runner | None:
    from fpo_pilot.commands.evaluate_workers import Recipe, cluster_runner, pool_runner

    recipe = Recipe(
        plant, str(Path.cwd()), tuple(str(path.resolve()) for path in runs), spec.model_dump_json(), seed, sampler
    )
    if cluster:
        return cluster_runner(recipe, cluster, processes)
    return pool_runner(recipe, processes) if processes is not None and processes > 1 else None


def replay(run_dir: Path, episode_id: str, *, as_json: bool) -> int:
    """Fly one of the worst episodes again and print it; exit code 1 unless every number is as it was."""
    from fpo_pilot.evaluate import build_arms
    from fpo_pilot.evaluate.cells import Bench
    from fpo_pilot.evaluate.harness import cells_of
    from fpo_pilot.evaluate.worst import fly_again, same_steps, trace
    from fpo_pilot.plants.load import load_plant

    kept = read_worst(run_dir)
    worst = next((one for one in kept.episodes if one.id == episode_id), None)
    if worst is None:
        known = ", ".join(one.id for one in kept.episodes)
        raise PolicyError(
            f"--replay: found {episode_id!r}, expected one of {known}. They are in {run_dir / 'worst.json'}."
        )
    record = read_evaluation(run_dir)
    plant = load_plant(Manifest.read(run_dir).plant)
    spec = record.spec or load_evaluation_spec(plant.name).model_copy(update={"episodes": record.episodes})
    arms = build_arms(plant, load_policies(plant, run_dir, [Path(other) for other in record.comparison]))
    chosen = record.deployment
    sampler = None if chosen is None else read_sampler(chosen.method, chosen.steps)
    bench = Bench(plant)
    spec = _on_grid(plant, spec, record.grid)
    cell = next((c for c in cells_of(plant, arms, spec, record.seed, sampler)[1] if bench.key(c) == worst.cell), None)
    if cell is None:
        raise PolicyError(
            f"{run_dir}: found code, specs or weights that are not those of the evaluation, expected the same. "
            "Evaluate again, or check out what its manifest names."
        )
    found, before = fly_again(bench, cell, worst), trace(run_dir, worst)
    same = same_steps(found, before)
    if as_json:
        say_json({"id": worst.id, "identical": same, "steps": found.to_pylist()})
    else:
        names = [n for n in found.schema.names if n.startswith(("obs.", "act.proposed.", "act.applied."))] + [
            "reward.total"
        ]
        rows = found.select(["step", *names]).to_pylist()
        table(
            f"{worst.id}: {worst.scenario}, return {worst.returned:.4g}, {worst.violations_hard} steps beyond a hard limit",
            ("step", *names),
            ([str(row["step"]), *(f"{row[n]:.4g}" if row[n] is not None else "–" for n in names)] for row in rows),
        )
        say("identical to what was written" if same else "NOT identical to what was written")
    return 0 if same else 1


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


def load_policies(plant: Plant, run_dir: Path, against: Sequence[Path]) -> dict[str, Policy]:
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
