from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
from hypothesis import given
from hypothesis import strategies as st

from fpo_pilot.reporting.drawing import IntervalRow, Intervals, Level, Panel, Panels, Series
from fpo_pilot.reporting.figures import _spread, draw
from fpo_pilot.reporting.page import Figure
from fpo_pilot.reporting.phrases import Verbatim
from fpo_pilot.reporting.texts import load_speaker

SPEAKER = load_speaker("en")


def figure(drawing: Panels | Intervals) -> Figure:
    return Figure("x", Verbatim("caption"), Verbatim("description"), drawing, ())


def panels(*levels: Level, log: bool = False, y: tuple[float, ...] = (1.0, 2.0)) -> Figure:
    series = Series(Verbatim("line"), tuple(float(i) for i in range(len(y))), y, "policy")
    return figure(Panels(Verbatim("x axis"), (Panel(Verbatim("y axis"), (series,), levels, log=log),)))


def test_a_limit_far_from_the_data_is_told_by_an_arrow_and_does_not_flatten_them() -> None:
    near = draw(panels(Level(Verbatim("near"), 3.0, "hard")), SPEAKER)
    far = draw(panels(Level(Verbatim("far"), 3000.0, "hard")), SPEAKER)
    below = draw(panels(Level(Verbatim("below"), -3000.0, "hard")), SPEAKER)
    assert ">near</text>" in near
    assert ">↑ far</text>" in far
    assert ">↓ below</text>" in below
    assert ">1,000<" not in far


def test_constant_single_and_missing_values_are_drawn() -> None:
    for y in ((1.0, 1.0), (1.0,), (1.0, float("nan"), 2.0), (0.0, 0.0)):
        assert "<svg" in draw(panels(y=y), SPEAKER)
    assert "<svg" in draw(panels(y=(1.0, 500.0), log=True), SPEAKER)
    row = IntervalRow(Verbatim("row"), 1.0, 1.0, 1.0, "plain")
    assert "<svg" in draw(figure(Intervals(Verbatim("x axis"), (row,))), SPEAKER)


def test_drawing_heeds_no_settings_of_the_reader() -> None:
    before = draw(panels(), SPEAKER)
    with mpl.rc_context({"lines.linewidth": 9.0, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert draw(panels(), SPEAKER) == before


def test_a_dollar_sign_in_a_tag_is_a_dollar_sign() -> None:
    assert ">$x^2$</text>" in draw(panels(Level(Verbatim("$x^2$"), 1.5, "soft")), SPEAKER)


@given(st.lists(st.floats(0.0, 1.0), max_size=6), st.floats(0.01, 0.15))
def test_labels_are_moved_apart_in_their_order(places: list[float], least: float) -> None:
    moved = _spread(sorted(places), least)
    assert all(b - a >= least - 1e-9 for a, b in pairwise(moved))
    assert all(place <= 1.02 + 1e-9 for place in moved)
