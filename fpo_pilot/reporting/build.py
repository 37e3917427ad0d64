"""Builds the page model of a run: the one place that knows the order of the report."""

from __future__ import annotations

from fpo_pilot.reporting.account import SHORT_HASH, limitations_section, provenance_section, training_section
from fpo_pilot.reporting.kpi import kpi_section
from fpo_pilot.reporting.labels import arm_label, candidate_of, controller_label
from fpo_pilot.reporting.learning import ARM_OF, behaviour_section
from fpo_pilot.reporting.page import Page, TitleLine
from fpo_pilot.reporting.phrases import Bilingual, Number, Phrase, Verbatim, say
from fpo_pilot.reporting.protection import safety_section
from fpo_pilot.reporting.run_folder import Run
from fpo_pilot.reporting.stages import stages_section
from fpo_pilot.reporting.verdict import verdict_page


def build_page(run: Run) -> Page:
    """Make the page model; the same model is said in every language."""
    title = run.manifest.plant_spec.plant.title
    return Page(
        title=say("page.title", plant=Bilingual(title.en, title.ja)),
        plant=Bilingual(title.en, title.ja),
        run_id=run.manifest.run_id,
        created=run.manifest.created,
        title_block=_title_block(run),
        verdict=verdict_page(run),
        sections=(
            kpi_section(run),
            safety_section(run),
            behaviour_section(run),
            stages_section(run),
            training_section(run),
            limitations_section(run),
            provenance_section(run),
        ),
    )


def _title_block(run: Run) -> tuple[TitleLine, ...]:
    manifest = run.manifest
    algorithm = ARM_OF.get(manifest.algorithm, manifest.algorithm)
    candidate = candidate_of(run.evaluation) if run.evaluation is not None else None
    policy: Phrase = arm_label(algorithm) if candidate is None else controller_label(*candidate)
    episodes = run.evaluation.episodes if run.evaluation is not None else None
    evidence = say("block.training_only") if episodes is None else say("block.simulation", episodes=Number(episodes))
    return (
        TitleLine(say("block.plant"), Verbatim(manifest.plant)),
        TitleLine(say("block.policy"), policy),
        TitleLine(say("block.run"), Verbatim(manifest.run_id)),
        TitleLine(say("block.created"), Verbatim(manifest.created[:10])),
        TitleLine(say("block.evidence"), evidence),
        TitleLine(say("block.safety_hash"), Verbatim((manifest.hashes.get("safety") or "–")[:SHORT_HASH])),
    )
