"""Draws the drawings of the page model with matplotlib, one function for each kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fpo_pilot.reporting.drawing import Intervals, Level, Panel, Panels, Series, StageLine
from fpo_pilot.reporting.page import Figure
from fpo_pilot.reporting.phrases import Phrase, format_declared, format_number
from fpo_pilot.reporting.svg import Canvas, drawing_style, figure_style, new_canvas, to_svg
from fpo_pilot.reporting.texts import Speaker

INK = "#1A1A1A"
FAR = 4.0
BAND = 0.15
LEGEND_ROW = 0.2


def draw(figure: Figure, speaker: Speaker) -> Markup:
    """Draw ``figure`` as inline SVG in the language of ``speaker``."""
    with drawing_style():
        match figure.drawing:
            case Panels():
                canvas = _draw_panels(figure.drawing, speaker)
            case Intervals():
                canvas = _draw_intervals(figure.drawing, speaker)
            case StageLine():
                canvas = _draw_stages(figure.drawing, speaker)
        return to_svg(canvas, f"fig-{figure.id}", speaker.text(figure.caption), speaker.text(figure.description))


def _draw_panels(drawing: Panels, speaker: Speaker) -> Canvas:
    size = figure_style()["size"]
    width, font = size["width"], size["font"]
    entries = _legend_entries(drawing.panels)
    probe = new_canvas(speaker, 1.0)
    right = max([0.22, *(probe.width_of(level.label, font) + 0.25 for p in drawing.panels for level in p.levels)])
    rows = _legend_rows(probe, [label for label, _ in entries], width - 0.75, font)
    top, bottom, gap = LEGEND_ROW * len(rows), 0.48, 0.38
    panel = size["panel"] if len(drawing.panels) > 1 else 2.4
    height = top + bottom + len(drawing.panels) * (panel + gap)
    canvas = new_canvas(speaker, height)
    _legend(canvas, entries, rows, height, font)
    for place, item in enumerate(drawing.panels):
        y = height - top - (place + 1) * (panel + gap)
        axes = canvas.figure.add_axes((0.62 / width, y / height, (width - 0.62 - right) / width, panel / height))
        _draw_panel(canvas, axes, item, font)
        if place < len(drawing.panels) - 1:
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel(canvas.token(drawing.x_label))
    return canvas


def _draw_panel(canvas: Canvas, axes: Axes, panel: Panel, font: float) -> None:
    everything = [*panel.series, *([panel.target] if panel.target is not None else [])]
    for series in sorted(everything, key=lambda s: (not s.faint, s.role != "target")):
        style = canvas.style["line"][series.role]
        _plot(axes, series, style, 0.8 if series.faint else style["width"])
    values = [y for s in everything for y in (*s.y, *s.low, *s.high) if math.isfinite(y)]
    xs = [x for series in everything for x in series.x]
    axes.set_xlim(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1.0)
    low, high = _range(values, panel.levels, panel.log)
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_declared(value)))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.set_ylim(low, high)
    axes.set_title(canvas.token(panel.y_label), loc="left", fontsize=font, color=INK, pad=5)
    _levels(canvas, axes, panel.levels, font)


def _plot(axes: Axes, series: Series, style: dict[str, Any], width: float) -> None:
    shape: dict[str, Any] = {"drawstyle": "steps-post"} if series.held else {}
    if series.low:
        step: Any = "post" if series.held else None
        axes.fill_between(
            series.x, series.low, series.high, step=step, color=style["colour"], alpha=BAND, linewidth=0.0
        )
    if series.points:
        shape |= {"marker": style["marker"], "markersize": 3.0, "markevery": max(1, len(series.x) // 25)}
    axes.plot(
        series.x, series.y, color=style["colour"], linestyle=style["dash"], linewidth=width,
        alpha=0.55 if series.faint else 1.0, **shape,
    )  # fmt: skip


def _range(values: Sequence[float], levels: Iterable[Level], log: bool) -> tuple[float, float]:
    """Range of an axis: the data, and those limits that are not so far away that they would flatten it."""
    low, high = min(values), max(values)
    span = max(high - low, 1e-3 * max(abs(low), abs(high), 1e-9))
    near = [level.value for level in levels if low - FAR * span <= level.value <= high + FAR * span]
    low, high = min([low, *near]), max([high, *near])
    if log:
        return low / 1.15, high * 1.15
    pad = 0.06 * max(high - low, span)
    return low - pad, high + pad


def _levels(canvas: Canvas, axes: Axes, levels: Sequence[Level], font: float) -> None:
    """Limits as lines, labelled in the right margin; one beyond the axis is told by an arrow there."""
    low, high = axes.get_ylim()
    scale = axes.transScale + axes.transLimits
    places = []
    for level in levels:
        style = canvas.style["level"][level.kind]
        inside = low <= level.value <= high
        if inside:
            axes.axhline(level.value, color=style["colour"], linestyle=style["dash"], linewidth=style["width"])
        fraction = float(scale.transform((0.0, min(max(level.value, low), high)))[1])
        places.append((fraction, "" if inside else "↑ " if level.value > high else "↓ ", level, style["colour"]))
    height = axes.get_position().height * canvas.figure.get_size_inches()[1]
    least = 1.35 * font / 72.0 / float(height)
    places.sort(key=lambda place: place[0])
    for y, (_, arrow, level, colour) in zip(_spread([p[0] for p in places], least), places, strict=True):
        axes.text(1.01, y, arrow + canvas.token(level.label), transform=axes.transAxes, va="center", color=colour)


def _spread(places: Sequence[float], least: float) -> list[float]:
    """Move sorted label positions apart to at least ``least``, keeping their order and centre."""
    spread = list(places)
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + least)
    over = max(0.0, (spread[-1] if spread else 0.0) - 1.02)
    for i in range(len(spread) - 1, -1, -1):
        top = spread[i + 1] - least if i + 1 < len(spread) else spread[i] - over
        spread[i] = min(spread[i], top)
    return spread


def _legend_entries(panels: Iterable[Panel]) -> list[tuple[Phrase, Series]]:
    entries: list[tuple[Phrase, Series]] = []
    for panel in panels:
        for series in (*panel.series, *([panel.target] if panel.target is not None else ())):
            if not any(label == series.label for label, _ in entries):
                entries.append((series.label, series))
    return sorted(entries, key=lambda entry: entry[1].role == "target")


def _legend_rows(canvas: Canvas, labels: Sequence[Phrase], width: float, font: float) -> list[list[int]]:
    rows: list[list[int]] = [[]]
    used = 0.0
    for place, label in enumerate(labels):
        need = 0.55 + canvas.width_of(label, font)
        if rows[-1] and used + need > width:
            rows.append([])
            used = 0.0
        rows[-1].append(place)
        used += need
    return rows


def _legend(
    canvas: Canvas, entries: Sequence[tuple[Phrase, Series]], rows: list[list[int]], height: float, font: float
) -> None:
    width = canvas.style["size"]["width"]
    for line, row in enumerate(rows):
        x, y = 0.62, height - 0.12 - LEGEND_ROW * line
        for place in row:
            label, series = entries[place]
            style = canvas.style["line"][series.role]
            marker = style.get("marker") if series.points else None
            canvas.figure.add_artist(
                Line2D(
                    [x / width, (x + 0.32) / width],
                    [y / height, y / height],
                    color=style["colour"],
                    linestyle=style["dash"],
                    linewidth=0.8 if series.faint else style["width"],
                    marker=marker,
                    markersize=3.0,
                    alpha=0.55 if series.faint else 1.0,
                )
            )
            canvas.figure.text((x + 0.38) / width, y / height, canvas.token(label), va="center", color=INK)
            x += 0.55 + canvas.width_of(label, font)


def _draw_intervals(drawing: Intervals, speaker: Speaker) -> Canvas:
    size = figure_style()["size"]
    width, font = size["width"], size["font"]
    probe = new_canvas(speaker, 1.0)
    left = min(3.4, 0.15 + max(probe.width_of(row.label, font) for row in drawing.rows))
    top = 0.3 if drawing.reference is not None else 0.12
    height = top + 0.5 + size["row"] * len(drawing.rows)
    canvas = new_canvas(speaker, height)
    axes = canvas.figure.add_axes(
        (left / width, 0.48 / height, (width - left - 0.75) / width, (height - top - 0.5) / height)
    )
    places = np.arange(len(drawing.rows))[::-1]
    for place, row in zip(places, drawing.rows, strict=True):
        style = canvas.style["line"][row.role]
        axes.plot([row.low, row.high], [place, place], color=style["colour"], linewidth=2.0, solid_capstyle="butt")
        axes.plot([row.mean], [place], color=style["colour"], marker=style["marker"], markersize=5.0, linestyle="none")
        axes.text(1.015, place, format_number(row.mean), transform=axes.get_yaxis_transform(), va="center", color=INK)
    if drawing.reference is not None:
        style = canvas.style["level"]["reference"]
        axes.axvline(drawing.reference.value, color=style["colour"], linestyle=style["dash"], linewidth=style["width"])
        axes.annotate(
            canvas.token(drawing.reference.label), (drawing.reference.value, 1.0), (0, 3), textcoords="offset points",
            xycoords=axes.get_xaxis_transform(), ha="center", va="bottom", color=INK, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(places, [canvas.token(row.label) for row in drawing.rows])
    axes.set_ylim(-0.6, len(drawing.rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    if drawing.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_declared(value)))
    axes.set_xlabel(canvas.token(drawing.x_label))
    return canvas


def _draw_stages(drawing: StageLine, speaker: Speaker) -> Canvas:
    size = figure_style()["size"]
    width, height = size["width"], 2.35
    canvas = new_canvas(speaker, height)
    axes = canvas.figure.add_axes((0.62 / width, 0.48 / height, (width - 0.85) / width, 1.35 / height))
    line = canvas.style["line"]["policy"]
    colours = canvas.style["stage"]
    total = max(drawing.spans[-1].end, 1.0)
    for span in drawing.spans:
        axes.axvspan(span.start, span.end, color=colours.get(span.stage, colours["other"]), linewidth=0)
    xs = [x for span in drawing.spans for x in (span.start, span.end)]
    ys = [100.0 * span.authority for span in drawing.spans for _ in (0, 1)]
    axes.plot(xs, ys, color=line["colour"], linewidth=line["width"])
    for name, start, end in _merged(drawing):
        if canvas.width_of(name, size["font"]) < (end - start) / total * (width - 0.85):
            axes.text((start + end) / 2, 108.0, canvas.token(name), ha="center", va="bottom", color=INK)
    for event in drawing.events:
        axes.plot(
            [event.at], [0.0], marker="v", color=canvas.style["level"]["hard"]["colour"], markersize=6.0, clip_on=False
        )
        axes.annotate(
            canvas.token(event.label),
            (event.at, 0.0),
            (6, 4),
            textcoords="offset points",
            color=INK,
            annotation_clip=False,
        )
    axes.set_xlim(0.0, total)
    axes.set_ylim(0.0, 105.0)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_title(canvas.token(drawing.y_label), loc="left", fontsize=size["font"], color=INK, pad=16)
    axes.set_xlabel(canvas.token(drawing.x_label))
    return canvas


def _merged(drawing: StageLine) -> list[tuple[Phrase, float, float]]:
    """Neighbouring spans of the same stage as one, for its name."""
    merged: list[tuple[Phrase, float, float]] = []
    for span in drawing.spans:
        if merged and merged[-1][0] == span.name:
            merged[-1] = (span.name, merged[-1][1], span.end)
        else:
            merged.append((span.name, span.start, span.end))
    return merged
