from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from fpo_pilot.errors import ReportError
from fpo_pilot.evidence.comparison_tables import (
    interval_table,
    profile_table,
    sample_efficiency,
    wall_clock_efficiency,
)
from fpo_pilot.reporting.comparison_figures import (
    ROLES,
    interval_figure,
    profile_figure,
    sample_efficiency_figure,
    wall_clock_figure,
)
from fpo_pilot.reporting.drawing import Intervals, Panels
from fpo_pilot.reporting.figures import draw
from fpo_pilot.reporting.page import Figure
from fpo_pilot.reporting.svg import figure_style
from fpo_pilot.reporting.texts import load_speaker

LONG = "fpo:clip=0.05,flow_steps=20,samples_per_action=16"
ALGORITHMS = ("fpo", "fpo_plus_plus", "dppo", "gaussian_ppo", LONG, LONG.replace("clip=0.05", "clip=0.1"), "mine", "x")
SINGLE = "mine"  # has one seed
SVG = "{http://www.w3.org/2000/svg}"
DRAWERS: dict[str, Callable[..., Figure]] = {
    "intervals": interval_figure,
    "profile": profile_figure,
    "samples": sample_efficiency_figure,
    "clock": wall_clock_figure,
}


@cache
def tables() -> dict[str, pd.DataFrame]:
    """Curves of eight algorithms, made into the four tables."""
    generator = np.random.default_rng(0)
    steps = 10_240.0 * np.arange(1, 12)
    parts = []
    for place, name in enumerate(ALGORITHMS):
        for task in ("cstr", "gym:Hopper-v5"):
            for seed in range(1 if name == SINGLE else 3):
                facts = {"task": task, "algorithm": name, "seed": seed, "steps": steps}
                score = 1.0 - np.exp(-steps / 5e4) - 0.1 * place + generator.normal(0.0, 0.1)
                parts.append(pd.DataFrame({**facts, "seconds": steps * 0.01 * (1 + place), "score": score}))
    curves = pd.concat(parts, ignore_index=True)
    runs = curves.groupby(["task", "algorithm", "seed"], sort=False).last().reset_index()
    few = {"resamples": 100}
    return {
        "intervals": interval_table(runs, **few),
        "profile": profile_table(runs, **few),
        "samples": sample_efficiency(curves, points=5, **few),
        "clock": wall_clock_efficiency(curves, points=5, **few),
    }


@cache
def figure(kind: str) -> Figure:
    return DRAWERS[kind](tables()[kind], order=ALGORITHMS)


@cache
def svg(kind: str, language: str) -> ElementTree.Element:
    return ElementTree.fromstring(draw(figure(kind), load_speaker(language)))  # noqa: S314 - our own


BOTH = pytest.mark.parametrize("language", ["en", "ja"])
KINDS = pytest.mark.parametrize("kind", DRAWERS)


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


@BOTH
@KINDS
def test_every_algorithm_is_named_and_drawn_in_its_colour(kind: str, language: str) -> None:
    root = svg(kind, language)
    shown = texts(root)
    speaker = load_speaker(language)
    drawing = figure(kind).drawing
    assert isinstance(drawing, Panels | Intervals)
    parts = drawing.rows if isinstance(drawing, Intervals) else drawing.panels[0].series
    assert [part.role for part in parts] == list(ROLES)
    labels = [speaker.text(part.label) for part in parts]
    assert len(set(labels)) == len(ALGORITHMS)  # the two long names stay different when they are shortened
    assert set(labels) <= set(shown)
    whole = ElementTree.tostring(root, encoding="unicode").lower()
    for role in ROLES:
        assert figure_style()["line"][role]["colour"].lower() in whole


@KINDS
def test_a_band_is_drawn_for_each_algorithm_that_has_one(kind: str) -> None:
    drawing = figure(kind).drawing
    if isinstance(drawing, Panels):
        bands = [bool(series.low) for series in drawing.panels[0].series]
        assert bands == [name != SINGLE for name in ALGORITHMS]
        filled = [e for e in svg(kind, "en").iter() if "fill-opacity: 0.15" in e.get("style", "")]
        assert len(filled) == len(ALGORITHMS) - 1
    said = [load_speaker("en").text(note) for note in figure(kind).notes]
    assert [note for note in said if "one seed only" in note] == [
        "mine: no interval. A task has one seed only, so the spread between seeds is not known."
    ]


@BOTH
@KINDS
def test_nothing_is_outside_the_canvas(kind: str, language: str) -> None:
    root = svg(kind, language)
    left, top, width, height = (float(part) for part in root.get("viewBox", "").split())
    for element in root.iter(f"{SVG}text"):
        said = "".join(element.itertext()).strip()
        style = element.get("style", "")
        size = float(re.search(r"font-size: ([\d.]+)px", style)[1])  # type: ignore[index]
        # Widths as of a plain sans-serif: one em for a Japanese character, half for others on the average.
        long = size * sum(1.0 if ord(character) > 0x2E80 else 0.5 for character in said)
        x, y = position(element)
        share = 0.5 if "middle" in style else 1.0 if "anchor: end" in style else 0.0
        assert left <= x - share * long, said
        assert x + (1.0 - share) * long <= left + width, said
        assert top + 0.7 * size <= y <= top + height, said
    for element in root.iter(f"{SVG}path"):
        if element.get("clip-path") or element.get("id", "").rpartition("-")[2].startswith(("m", "C")):
            continue  # cut off at the axes, or the shape of a marker about its own origin
        numbers = [float(part) for part in re.findall(r"-?\d+\.?\d*", element.get("d", ""))]
        assert all(left - 0.01 <= x <= left + width + 0.01 for x in numbers[0::2])
        assert all(top - 0.01 <= y <= top + height + 0.01 for y in numbers[1::2])


def position(element: ElementTree.Element) -> tuple[float, float]:
    if element.get("x"):
        return float(element.get("x", "")), float(element.get("y", ""))
    x, y = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", "")).groups()  # type: ignore[union-attr]
    return float(x), float(y)


@KINDS
def test_caption_title_and_description_tell_what_it_stands_on(kind: str) -> None:
    root = svg(kind, "en")
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert "95\u00a0% " in (title.text or "")
    assert "2 to 6 runs of each algorithm on 2 tasks" in (title.text or "")
    assert "8" in (description.text or "")


def test_equal_numbers_of_runs_are_told_as_one() -> None:
    table = tables()["intervals"]
    caption = interval_figure(table[table["algorithm"] != SINGLE]).caption
    assert load_speaker("ja").text(caption).endswith("（2 タスク、アルゴリズムごとに 6 ラン）")


def test_an_interval_without_width_is_told() -> None:
    table = pd.DataFrame(
        {"algorithm": ["a"], "score": 1.0, "low": 1.0, "high": 1.0, "runs": 4, "tasks": 1, "confidence": 0.9}
    )
    said = [load_speaker("en").text(note) for note in interval_figure(table).notes]
    assert "a: all bootstrap samples agree, so the interval says nothing of chance." in said


@pytest.mark.parametrize(("seconds", "label"), [(300.0, "[s]"), (3_000.0, "[min]"), (30_000.0, "[h]")])
def test_long_times_have_a_larger_unit(seconds: float, label: str) -> None:
    table = tables()["clock"]
    scaled = table.assign(seconds=table["seconds"] * seconds / table["seconds"].max())
    drawing = wall_clock_figure(scaled).drawing
    assert isinstance(drawing, Panels)
    assert label in load_speaker("en").text(drawing.x_label)
    assert max(x for series in drawing.panels[0].series for x in series.x) == pytest.approx(
        {"[s]": 300.0, "[min]": 50.0, "[h]": 25.0 / 3.0}[label]
    )


def test_the_order_is_that_which_was_asked_for() -> None:
    table = tables()["intervals"]
    drawing = interval_figure(table, order=tuple(reversed(ALGORITHMS))).drawing
    assert isinstance(drawing, Intervals)
    assert load_speaker("en").text(drawing.rows[-1].label) == "Flow policy (FPO)"


@pytest.mark.parametrize(
    ("change", "order", "message"),
    [
        (lambda t: t.drop(columns="low"), None, "found no column low"),
        (lambda t: t.iloc[:0], None, "found no row"),
        (lambda t: t, ("fpo",), "not in the order"),
        (
            lambda t: pd.concat([t, t.iloc[:1].assign(algorithm="ninth")]),
            None,
            "found 9 algorithms, expected 8 or fewer",
        ),
    ],
)
def test_tables_that_cannot_be_drawn_are_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame], order: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(ReportError, match=message):
        interval_figure(change(tables()["intervals"]), order=order)


def test_tables_and_figures_need_no_torch() -> None:
    program = (
        "import sys; sys.modules.update(torch=None, gymnasium=None, mujoco=None); "  # an import of them fails
        "import fpo_pilot.evidence.comparison_tables, fpo_pilot.reporting.comparison_figures; "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
