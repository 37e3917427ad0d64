"""The page on certificates: a table of the records in safety/certificates, and the worst trajectory of one plant.

The records are made by ``fpo-pilot validate-safety PLANT``; this only reads them, into docs/safety.md and docs/safety.ja.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from results_page import put

from fpo_pilot.certification.record import Record, Row, read_record
from fpo_pilot.certification.words import STATUS
from fpo_pilot.commands.console import note
from fpo_pilot.reporting.svg import drawing_style
from fpo_pilot.specs import load_plant_spec, load_safety_spec

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parent.parent / "safety" / "certificates"
PICTURE = HERE / "certificate.svg"
DRAWN, SIGNAL, LIMIT = "cstr_late", "T", "T.high"


def lines(language: str) -> list[str]:
    """Return the table of all records in one language, and the commands they came from."""
    english = language == "en"
    head = (
        ("plant", "verdict", "reasons", "passed a hard limit", "without the shield", "worst row (95 % upper bound)")
        if english
        else ("プラント", "判定", "理由", "絶対制限を超えた運転", "シールドなし", "最悪の行（95 %上限）")
    )
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    commands = []
    for file in sorted(RECORDS.glob("*.json")):
        record = read_record(file)
        rows.append("| " + " | ".join(_cells(record, english=english)) + " |")
        commands.append(f"`{record.command}`")
    label = "Commands: " if english else "コマンド: "
    return [*rows, "", label + ", ".join(commands) + ", `python docs/studies/certificates.py`."]


def _cells(record: Record, *, english: bool) -> tuple[str, ...]:
    covered = record.covered()
    episodes = sum(row.shielded.episodes for row in covered)
    passed, bare = (sum(getattr(row, side).violations for row in covered) for side in ("shielded", "unshielded"))
    worst = max(covered, key=_badness, default=None)
    reasons = [one.text.en if english else one.text.ja for one in record.reasons]
    verdict = STATUS[record.verdict]
    of = "{0} of {1}" if english else "{1}中{0}"
    return (
        f"`{record.plant}`",
        verdict.en if english else verdict.ja,
        "<br>".join(reasons) or "-",
        of.format(passed, episodes),
        of.format(bare, episodes),
        "-"
        if worst is None
        else f"{worst.condition}, {worst.adversary}: "
        + of.format(worst.shielded.violations, worst.shielded.episodes)
        + f" ({worst.shielded.upper:.0%})",
    )


def _badness(row: Row) -> tuple[int, float]:
    margins = [margin for margin in row.shielded.least_margin.values() if margin is not None]
    return row.shielded.violations, -min(margins, default=0.0)


def draw() -> None:
    """Draw the worst trajectory of one plant, with its shield and without."""
    record = read_record(RECORDS / f"{DRAWN}.json")
    worst = record.worst[0]
    steps = pd.read_parquet(RECORDS / f"{DRAWN}.parquet")
    chosen = steps[(steps.condition == worst.condition) & (steps.adversary == worst.adversary)]
    plant = load_plant_spec(DRAWN)
    safety = load_safety_spec(DRAWN, plant)
    edge = next(limit.high for limit in safety.limits if limit.id == LIMIT) if safety is not None else None
    minutes = plant.timing.period / 60.0
    with drawing_style():
        figure = Figure(figsize=(7.0, 3.0), layout="constrained")
        axes = figure.subplots()
        for shielded, colour, style, name in (
            (True, "#0072B2", "-", "behind the shield"),
            (False, "#D55E00", "--", "without it"),
        ):
            one = chosen[chosen.shielded == shielded]
            axes.plot(one.step * minutes, one[f"state.{SIGNAL}"], color=colour, linestyle=style, label=name)
        if edge is not None:
            axes.axhline(edge, color="#4A4A4A", linestyle=":", label="hard limit")
        axes.set_xlabel("minutes")
        axes.set_ylabel(f"{SIGNAL} [{plant.signals[SIGNAL].unit}]")
        axes.set_title(f"{DRAWN}: {worst.condition}, {worst.adversary}, seed {worst.seed}", loc="left")
        axes.legend(frameon=False, loc="best")
        FigureCanvasSVG(figure).print_svg(PICTURE, metadata={"Date": None, "Title": f"{DRAWN}: worst trajectory"})


def main() -> None:
    """Write both pages and the picture."""
    for language, page in (("en", "safety.md"), ("ja", "safety.ja.md")):
        put("certificates", lines(language), HERE.parent / page)
    draw()
    note(f"wrote docs/safety.md, docs/safety.ja.md and {PICTURE.name}")


if __name__ == "__main__":
    sys.exit(main())
