"""Section 4, second part: learning curves, also of compared runs, and the choice of the deployment noise scale."""

from __future__ import annotations

import math

from fpo_pilot.reporting.conditions import first_row
from fpo_pilot.reporting.drawing import IntervalRow, Level, Panel, Panels, Role, Series
from fpo_pilot.reporting.kpi import LOG_RATIO, cost_intervals
from fpo_pilot.reporting.labels import arm_label, candidate_of, mode_label
from fpo_pilot.reporting.page import Block, Figure, Notice, Section, Source, Subheading
from fpo_pilot.reporting.phrases import Number, Phrase, say
from fpo_pilot.reporting.run_folder import Missing, Run, numbers
from fpo_pilot.reporting.trajectories import trajectory_figure

ARM_OF = {"fpo": "flow"}


def behaviour_section(run: Run) -> Section:
    """Build section 4; each missing part says so."""
    blocks: list[Block] = [Subheading(say("learning.heading_trajectories"))]
    blocks.append(trajectory_figure(run) or Notice(say("notice.no_steps")))
    blocks.append(Subheading(say("learning.heading_curves")))
    blocks.append(learning_figure(run) or Notice(say("notice.no_metrics")))
    blocks.append(Subheading(say("learning.heading_noise")))
    blocks.append(noise_figure(run) or Notice(say("notice.no_choice")))
    return Section("learning", say("learning.title"), tuple(blocks))


def learning_figure(run: Run) -> Figure | None:
    """Cost over training steps: exploring and as deployed, of this run and of the compared ones."""
    if run.metrics is None or run.metrics.num_rows == 0:
        return None
    found = [(run, "policy")] + [(other, "compared") for other in run.comparisons if isinstance(other, Run)]
    series = [s for one, role in found for s in _curves(one, "policy" if role == "policy" else "compared")]
    if not series:
        return None
    notes: list[Phrase] = [say("learning.note_modes")]
    notes += [say("learning.note_missing", run=other.folder) for other in run.comparisons if isinstance(other, Missing)]
    values = [y for s in series for y in s.y if math.isfinite(y)]
    values += [level.value for level in _levels(run)]
    log = min(values) > 0 and max(values) / min(values) > LOG_RATIO
    sources = [Source("metrics.parquet", ("steps", "return_mean", "evaluation_return"))]
    sources += [
        Source(f"{other.folder.name}/metrics.parquet", ("steps", "return_mean", "evaluation_return"))
        for other in run.comparisons
        if isinstance(other, Run)
    ]
    return Figure(
        id="curves",
        caption=say("learning.curves_caption"),
        description=say("learning.curves_description", count=len(series)),
        drawing=Panels(
            say("figure.steps"),
            (Panel(say("figure.cost_log" if log else "figure.cost"), tuple(series), _levels(run), log=log),),
        ),
        sources=tuple(sources),
        notes=tuple(notes),
    )


def _curves(run: Run, role: Role) -> list[Series]:
    if run.metrics is None:
        return []
    label = arm_label(ARM_OF.get(run.manifest.algorithm, run.manifest.algorithm))
    steps = numbers(run.metrics, "steps")
    curves = []
    for column, key, faint in (("return_mean", "exploring", True), ("evaluation_return", "deployed", False)):
        kept = [(x / 1000.0, -y) for x, y in zip(steps, numbers(run.metrics, column), strict=False) if math.isfinite(y)]
        if kept:
            x, y = zip(*kept, strict=True)
            curves.append(Series(say(f"learning.{key}", arm=label), x, y, role, faint=faint, points=not faint))
    return curves


def _levels(run: Run) -> tuple[Level, ...]:
    """The incumbent's cost and the optimum, to judge a curve by."""
    levels = []
    for arm in ("incumbent", "oracle"):
        row = first_row(run.evaluation, arm) if run.evaluation is not None else None
        cost = row.returns.negated().mean if row is not None else None
        if cost is not None:
            levels.append(Level(say("figure.level", arm=arm_label(arm), value=Number(cost)), cost, "reference"))
    return tuple(levels)


def noise_figure(run: Run) -> Figure | None:
    """Cost of each deployment setting that was tried, with intervals; the chosen one stands out."""
    deployment = run.evaluation.deployment if run.evaluation is not None else None
    if run.evaluation is None or deployment is None or not deployment.chosen_from:
        return None
    chosen = (candidate_of(run.evaluation) or ("", ""))[1]
    rows = []
    for choice in deployment.chosen_from:
        if choice.mean is None or not math.isfinite(choice.mean):
            continue
        low = choice.mean if choice.high is None else choice.high
        high = choice.mean if choice.low is None else choice.low
        role: Role = "policy" if choice.label == chosen else "plain"
        rows.append(IntervalRow(mode_label(choice.label), -choice.mean, -low, -high, role))
    if not rows:
        return None
    sampler: Phrase = say("learning.sampler", method=deployment.method or "–", steps=deployment.steps)
    return Figure(
        id="noise",
        caption=say("learning.noise_caption", mode=mode_label(chosen), sampler=sampler),
        description=say("learning.noise_description", count=len(rows)),
        drawing=cost_intervals(rows),
        sources=(Source("evaluation.json", ("deployment.chosen_from",)), Source("selection.parquet", ("return",))),
        notes=(say("learning.noise_note", n=deployment.chosen_from[0].n),),
    )
