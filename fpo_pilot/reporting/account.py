"""Sections 6 to 8: what training cost, what this report cannot show, and where everything comes from."""

from __future__ import annotations

from collections.abc import Callable

from fpo_pilot.reporting.facts import candidate_returns, has_sensor_fault, scenario_names
from fpo_pilot.reporting.labels import arm_label, candidate_of, mode_label, scenario_label
from fpo_pilot.reporting.learning import ARM_OF
from fpo_pilot.reporting.page import Block, Bullets, Column, Notice, Row, Section, Source, Subheading, Table
from fpo_pilot.reporting.phrases import Message, Number, Phrase, Verbatim, say
from fpo_pilot.reporting.run_folder import Run
from fpo_pilot.reporting.views import ManifestView, TrainingView

SHORT_HASH = 16
GLOSSARY = (
    "incumbent", "policy", "flow", "shield", "hard_limit", "interlock", "sis", "stage", "authority", "gate", "guard",
    "rollback", "episode", "block", "interval", "non_inferior", "margin", "cost", "noise_scale", "oracle",
)  # fmt: skip


def training_section(run: Run) -> Section:
    """Time, steps, device and memory of this training and of the compared ones."""
    title = say("training.title")
    if run.manifest.training is None:
        return Section("training", title, (Notice(say("notice.no_training")),))
    runs = [run, *(other for other in run.comparisons if isinstance(other, Run))]
    columns = [Column(say("training.column_item"))]
    columns += [Column(arm_label(ARM_OF.get(r.manifest.algorithm, r.manifest.algorithm)), numeric=True) for r in runs]
    rows = [Row((Message(f"training.{name}"), *(value(r.manifest) for r in runs))) for name, value in TRAINING_ROWS]
    table = Table(
        id="training",
        caption=say("training.caption"),
        columns=tuple(columns),
        rows=tuple(rows),
        sources=tuple(Source(_manifest_of(r, run), ("training", "device")) for r in runs),
    )
    return Section("training", title, (table,))


def _manifest_of(run: Run, main: Run) -> str:
    return "manifest.json" if run is main else f"{run.folder.name}/manifest.json"


def _of_training(read: Callable[[TrainingView], Phrase]) -> Callable[[ManifestView], Phrase]:
    return lambda manifest: Number(None) if manifest.training is None else read(manifest.training)


def _stopped(training: TrainingView) -> Phrase:
    return Verbatim(training.stopped_early) if training.stopped_early else Message("training.ran_to_end")


def _cost_of_best(training: TrainingView) -> Phrase:
    return Number(None if training.best_return is None else -training.best_return)


def _machine(manifest: ManifestView) -> Phrase:
    machine = manifest.machine
    return say("training.cores", cpu=machine.cpu, cores=machine.cores) if machine.cpu else Number(None)


TRAINING_ROWS: tuple[tuple[str, Callable[[ManifestView], Phrase]], ...] = (
    ("steps", _of_training(lambda t: Number(t.steps))),
    ("updates", _of_training(lambda t: Number(t.updates))),
    ("seconds", _of_training(lambda t: Number(t.seconds, "s"))),
    ("steps_per_second", _of_training(lambda t: Number(t.steps_per_second))),
    ("device", lambda manifest: Verbatim(manifest.device)),
    ("machine", _machine),
    ("memory", _of_training(lambda t: Number(t.peak_memory_mib, "MiB"))),
    ("best_update", _of_training(lambda t: Number(t.best_update))),
    ("best_cost", _of_training(_cost_of_best)),
    ("stopped", _of_training(_stopped)),
)


def limitations_section(run: Run) -> Section:
    """What this report cannot show: some always, some from the data."""
    items = [
        say("limitations.simulation"),
        say("limitations.not_sis"),
        _model_error(run),
        say("limitations.one_seed", seed=str(run.manifest.seed)),
    ]
    names = scenario_names(run)
    if names:
        listed = scenario_label(names[0]) if len(names) == 1 else Verbatim(", ".join(names))
        items.append(say("limitations.scenarios", count=len(names), names=listed))
    if run.evaluation is not None:
        items.append(say("limitations.faults_tested" if has_sensor_fault(run) else "limitations.faults_not_tested"))
        items.append(say("limitations.episodes", n=int(candidate_returns(run).size)))
        candidate = candidate_of(run.evaluation)
        if candidate is not None and candidate[1]:
            items.append(say("limitations.mode", mode=mode_label(candidate[1])))
    items.append(say("limitations.shield" if run.manifest.safety_spec is not None else "limitations.no_shield"))
    items += [say("limitations.look_ahead"), say("limitations.live_link"), say("limitations.unsigned")]
    if run.rollout is not None:
        items.append(say("limitations.rollout_simulated"))
    return Section("limitations", say("limitations.title"), (Bullets(tuple(items)),))


def _model_error(run: Run) -> Message:
    plant = run.manifest.plant_spec
    uncertain = sum(parameter.uncertainty is not None for parameter in plant.parameters.values())
    key = "randomized" if plant.episode.randomize_parameters else "fixed"
    return say(f"limitations.model_{key}", count=len(plant.parameters), uncertain=uncertain)


def provenance_section(run: Run) -> Section:
    """Hashes, versions, seed and commands; then the glossary."""
    blocks: list[Block] = [
        provenance_table(run),
        version_table(run),
        Subheading(say("glossary.title")),
        glossary_table(),
    ]
    return Section("provenance", say("provenance.title"), tuple(blocks))


def provenance_table(run: Run) -> Table:
    """Who made this run, from what, by which command."""
    manifest = run.manifest
    fields: list[tuple[str, Phrase]] = [
        ("run", Verbatim(manifest.run_id)),
        ("created", Verbatim(manifest.created)),
        ("command", Verbatim(manifest.command)),
    ]
    if run.evaluation is not None and run.evaluation.command:
        fields.append(("evaluation_command", Verbatim(run.evaluation.command)))
    if run.rollout is not None and run.rollout.command:
        fields.append(("rollout_command", Verbatim(run.rollout.command)))
    fields.append(("seed", Verbatim(str(manifest.seed))))
    if run.evaluation is not None and run.evaluation.seed is not None:
        fields.append(("evaluation_seed", Verbatim(str(run.evaluation.seed))))
    if run.rollout is not None and run.rollout.seed is not None:
        fields.append(("rollout_seed", Verbatim(str(run.rollout.seed))))
    fields.append(("commit", _commit(manifest)))
    if run.ledger is not None:
        lines, root = run.ledger
        fields.append(("ledger", say("provenance.ledger_root", lines=str(lines), root=root)))
        fields.append(("verify", Verbatim(f"fpo-pilot verify runs/{manifest.run_id} --deep")))
    rows = [Row((Message(f"provenance.{name}"), value)) for name, value in fields]
    for name, digest in sorted(manifest.hashes.items()):
        value: Phrase = Verbatim(digest) if digest else Number(None)
        rows.append(Row((say("provenance.hash", name=name), value)))
    return Table(
        id="provenance",
        caption=say("provenance.caption"),
        columns=(Column(say("provenance.column_item")), Column(say("provenance.column_value"))),
        rows=tuple(rows),
        sources=(Source("manifest.json", ("command", "seed", "hashes", "git_commit")),),
    )


def _commit(manifest: ManifestView) -> Phrase:
    if not manifest.git_commit:
        return say("provenance.no_commit")
    return say("provenance.dirty", commit=manifest.git_commit) if manifest.git_dirty else Verbatim(manifest.git_commit)


def version_table(run: Run) -> Table:
    """Versions of what the run was made with."""
    manifest = run.manifest
    versions = {
        "fpo-pilot": manifest.fpo_pilot_version,
        "Python": manifest.python,
        **dict(sorted(manifest.versions.items())),
    }
    return Table(
        id="versions",
        caption=say("provenance.versions_caption"),
        columns=(Column(say("provenance.column_software")), Column(say("provenance.column_version"))),
        rows=tuple(Row((Verbatim(name), Verbatim(version))) for name, version in versions.items()),
        sources=(Source("manifest.json", ("fpo_pilot_version", "python", "versions")),),
    )


def glossary_table() -> Table:
    """Words of this report in both languages with their meaning."""
    return Table(
        id="glossary",
        caption=say("glossary.caption"),
        columns=(
            Column(say("glossary.column_en")),
            Column(say("glossary.column_ja")),
            Column(say("glossary.column_meaning")),
        ),
        rows=tuple(
            Row((Message(f"glossary.{name}.en"), Message(f"glossary.{name}.ja"), Message(f"glossary.{name}.meaning")))
            for name in GLOSSARY
        ),
        sources=(),
    )
