"""The command line: parses, calls, prints. Exit code 0 is fine, 1 means the answer is no, 2 wrong usage or bad input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fpo_pilot import __version__
from fpo_pilot.commands.audit import sign, verify
from fpo_pilot.commands.export import export
from fpo_pilot.commands.judging import identify, ingest, ope, safety_case, validate_safety
from fpo_pilot.commands.keys import keys
from fpo_pilot.commands.options import Json, Run, Seed, refuse_beside
from fpo_pilot.errors import FpoPilotError

EXIT_BAD_INPUT = 2

app = typer.Typer(
    name="fpo-pilot",
    help="Declare a plant, train a flow policy, evaluate it offline, roll it out in stages, report. "
    "Exit code 0: fine; 1: the answer is no; 2: wrong usage or bad input.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"fpo-pilot {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options of every command."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the demo's runs.")] = Path("runs/demo"),
    plant: Annotated[str, typer.Option("--plant", help="Which plant to show.")] = "cstr_safety",
    steps: Annotated[int | None, typer.Option("--steps", min=1000, help="Training steps of each policy.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train, evaluate, roll out and report on a chemical reactor, in a few minutes."""
    from fpo_pilot.commands.demo import run_demo

    raise typer.Exit(run_demo(out, plant, steps=steps, seed=seed, as_json=json))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The new project's folder.")],
    source: Annotated[str, typer.Option("--from", help="The shipped plant to start from.")] = "cstr",
) -> None:
    """Make a pilot project of your own, with a plant to edit."""
    from fpo_pilot.commands.init import run_init

    raise typer.Exit(run_init(folder, source))


@app.command()
def check(
    plants: Annotated[
        list[str] | None, typer.Argument(help="Plants by name or path; all of the project if none.")
    ] = None,
    schema: Annotated[
        str | None, typer.Option("--schema", help="Print the JSON Schema of: plant, safety, training or evaluation.")
    ] = None,
    plant: Annotated[list[str] | None, typer.Option("--plant", help="As the argument; repeatable.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All plants, those that ship among them.")] = False,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Simulate: types, substeps, ranges, sensor faults, starts; seconds to minutes."),
    ] = False,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="With --deep: steps of each trajectory.")] = None,
    json: Json = False,
) -> None:
    """Check specs; list each signal, what uses it, and what nothing covers. With --deep, check the plant itself."""
    from fpo_pilot.commands.check import named_plants, run_check, run_schema
    from fpo_pilot.commands.deep_check import run_deep_check

    if schema is not None:
        raise typer.Exit(run_schema(schema))
    names = named_plants([*(plants or []), *(plant or [])], everything=everything)
    if deep:
        raise typer.Exit(run_deep_check(names, steps=steps, as_json=json))
    raise typer.Exit(run_check(names, as_json=json))


@app.command()
def plants(json: Json = False) -> None:
    """List the plants of this project and those that ship."""
    from fpo_pilot.commands.plants import run_plants

    raise typer.Exit(run_plants(as_json=json))


@app.command()
def train(
    ctx: typer.Context,
    plant: Annotated[str | None, typer.Argument(help="A plant by name or path; not needed with --resume.")] = None,
    gym: Annotated[
        str | None, typer.Option("--gym", help="Train on an environment of Gymnasium instead, such as Pendulum-v1.")
    ] = None,
    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm",
            help="fpo, fpo_plus_plus, dppo, gaussian_ppo or flow_q; settings may follow, as in fpo:clip=0.1,ratio=per_draw.",
        ),
    ] = "fpo",
    start_from: Annotated[
        Path | None, typer.Option("--from", help="A run folder whose best policy the training begins with.")
    ] = None,
    warm_start: Annotated[
        Path | None, typer.Option("--warm-start", help="A run folder whose step log the training begins from.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Environment steps; default: the spec's.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; default: runs/PLANT-ALGORITHM-SEED.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with this run folder.")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 …")] = "cpu",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a policy behind the plant's shields; Ctrl-C leaves a run that --resume goes on with."""
    from fpo_pilot.commands.train import resume_training, start_training
    from fpo_pilot.specs.load import GYM

    if resume is not None:
        refuse_beside(ctx, "--resume", taken=("resume", "device", "json"))
        raise typer.Exit(resume_training(resume, device=device, as_json=json))
    if (plant is None) == (gym is None):
        raise typer.BadParameter("name a plant (`fpo-pilot plants` lists them), or --gym ENVIRONMENT, or --resume RUN")
    raise typer.Exit(
        start_training(
            plant or f"{GYM}{gym}",
            algorithm,
            steps=steps,
            out=out,
            seed=seed,
            device=device,
            as_json=json,
            start_from=start_from,
            warm_start=warm_start,
        )
    )


@app.command()
def evaluate(
    run: Run,
    against: Annotated[
        list[Path] | None, typer.Option("--against", help="Another run to show in the same table; repeatable.")
    ] = None,
    episodes: Annotated[int | None, typer.Option("--episodes", min=1, help="Episodes of each row.")] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Exit with 1 unless the verdict is a pass.")] = False,
    sampler: Annotated[
        str, typer.Option("--sampler", help="euler, midpoint, heun, rk4 or adaptive; default: that of training.")
    ] = "",
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the sampler.")] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Processes that run cells side by side; of a local Ray, too."),
    ] = None,
    cluster: Annotated[
        str, typer.Option("--cluster", help="Run cells on Ray: local, auto (after `ray start --head`), or an address.")
    ] = "",
    grid: Annotated[
        str, typer.Option("--grid", help="Further scenarios from the specs: corners, noise, faults, disturbances.")
    ] = "",
    replay_id: Annotated[str, typer.Option("--replay", help="Fly one of the worst episodes again, by its id.")] = "",
    seed: Seed = 1000,
    json: Json = False,
) -> None:
    """Evaluate offline against hold, the incumbent, an oracle and other runs; same seeds for all."""
    from fpo_pilot.commands.evaluate import replay, run_evaluate

    if replay_id:
        raise typer.Exit(replay(run, replay_id, as_json=json))
    raise typer.Exit(
        run_evaluate(
            run,
            against or [],
            episodes=episodes,
            seed=seed,
            gate=gate,
            as_json=json,
            sampler=sampler,
            sampler_steps=steps,
            processes=processes,
            cluster=cluster,
            grid=grid,
        )
    )


@app.command()
def samplers(
    run: Run,
    episodes: Annotated[int, typer.Option("--episodes", min=2, help="Episodes of each sampler.")] = 64,
    seed: Seed = 1000,
    json: Json = False,
) -> None:
    """Show what a flow policy keeps under other samplers and steps: return, drift of the action, latency."""
    from fpo_pilot.commands.samplers import run_samplers

    raise typer.Exit(run_samplers(run, episodes=episodes, seed=seed, as_json=json))


@app.command()
def compare(
    tasks: Annotated[list[str], typer.Argument(help="Plants, and environments of Gymnasium as gym:ID.")],
    algorithm: Annotated[
        list[str] | None,
        typer.Option("--algorithm", help="As of `train`, settings included; repeatable. All four if none."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds of each, from 0.")] = 5,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Environment steps; default: the spec's.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the comparison; what it has is not done again.")] = Path(
        "runs/compare"
    ),
    episodes: Annotated[int, typer.Option("--episodes", min=2, help="Reported episodes of each run on a plant.")] = 128,
    processes: Annotated[int | None, typer.Option("--processes", min=1, help="Runs at a time; default: cores.")] = None,
    json: Json = False,
) -> None:
    """Compare algorithms over tasks and seeds; Ctrl-C leaves what the same command goes on with."""
    from fpo_pilot.commands.compare import run_compare
    from fpo_pilot.specs.load import ALGORITHMS

    raise typer.Exit(
        run_compare(
            tasks,
            algorithm or list(ALGORITHMS),
            seeds=seeds,
            steps=steps,
            episodes=episodes,
            out=out,
            processes=processes,
            as_json=json,
        )
    )


@app.command()
def tune(
    task: Annotated[str, typer.Argument(help="A plant, or gym:ID.")],
    algorithm: Annotated[str, typer.Option("--algorithm", help="What is tuned.")] = "fpo",
    trials: Annotated[int, typer.Option("--trials", min=1, help="Settings to try, the defaults among them.")] = 16,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Environment steps of each.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the search; it goes on where it was.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Search the few settings that matter, with the same budget for every algorithm (needs the extra `tune`)."""
    from fpo_pilot.commands.tune import run_tune

    folder = out or Path("runs/tune") / f"{task.replace(':', '-')}-{algorithm}"
    raise typer.Exit(run_tune(task, algorithm, trials=trials, steps=steps, out=folder, seed=seed, as_json=json))


app.command()(identify)


app.command()(ope)


app.command()(ingest)


@app.command()
def rollout(
    run: Run,
    inject: Annotated[
        str | None,
        typer.Option("--inject", help="A sensor fault to try, SIGNAL:KIND@STAGE, such as T:nan@bounded."),
    ] = None,
    random_actions: Annotated[
        bool, typer.Option("--random-actions", help="Replace the policy's actions by random ones: must not get far.")
    ] = False,
    max_episodes: Annotated[int | None, typer.Option("--max-episodes", min=1, help="Stop after so many.")] = None,
    seed: Seed = 2000,
    json: Json = False,
) -> None:
    """Roll a policy out on the simulated plant: shadow, bounded, full, each entered on evidence only."""
    from fpo_pilot.commands.rollout import run_rollout_command

    raise typer.Exit(
        run_rollout_command(
            run, inject=inject, random_actions=random_actions, max_episodes=max_episodes, seed=seed, as_json=json
        )
    )


app.command("validate-safety")(validate_safety)


app.command("safety-case")(safety_case)


@app.command()
def report(
    run: Run,
    language: Annotated[list[str] | None, typer.Option("--lang", help="en or ja; repeatable; both if none.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write PDF (needs the extra `pdf`).")] = False,
    json: Json = False,
) -> None:
    """Write the report for management, from the run folder alone."""
    from fpo_pilot.commands.report import run_report

    raise typer.Exit(run_report(run, tuple(language or ("en", "ja")), pdf=pdf, as_json=json))


@app.command()
def logs(
    run: Run,
    sql: Annotated[
        str | None, typer.Option("--sql", help="One SELECT over `steps`, `episodes`, `events` … (extra `sql`).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows to show.")] = 100,
    recover: Annotated[
        bool, typer.Option("--recover", help="First make segments of rows that a crash left in a write-ahead log.")
    ] = False,
    begin_ledger: Annotated[
        bool,
        typer.Option("--begin-ledger", help="First begin a ledger in a run that has none; all is marked as recovered."),
    ] = False,
    decisions: Annotated[
        bool,
        typer.Option("--decisions", help="List the gates, transitions, guards and approvals that are in the ledger."),
    ] = False,
    json: Json = False,
) -> None:
    """List the tables of a run with rows and times, or ask them something in SQL; reads only. Needs no torch."""
    from fpo_pilot.commands.logs import run_logs

    options = {"recover": recover, "begin_ledger": begin_ledger, "decisions": decisions}
    raise typer.Exit(run_logs(run, sql=sql, limit=limit, as_json=json, **options))


app.command()(verify)
app.command()(sign)
app.command()(export)
app.add_typer(keys, name="keys")


def main() -> None:
    """Run the command line; the exit code says how it went."""
    try:
        app()
    except FpoPilotError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_BAD_INPUT)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "gymnasium", "mujoco", "safetensors"):
            raise
        sys.stderr.write(
            f"error: this command: found no {error.name}, expected the whole install; this one is for audits "
            "(verify, report, logs). Run `pip install fpo-pilot`.\n"
        )
        sys.exit(EXIT_BAD_INPUT)


if __name__ == "__main__":
    main()
