"""From a matplotlib figure to SVG inside a page: real text, a title and a description, no date, ids of its own.

Texts are put in after drawing. Matplotlib only places short tokens: so it needs no Japanese font, and a ``$`` in a tag
is a dollar sign, not mathematics.
"""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from fpo_pilot.reporting.phrases import Phrase
from fpo_pilot.reporting.texts import Speaker, content_file

NOT_STYLE = ("backend", "interactive", "toolbar", "date.")
_TOKEN = re.compile(r"@(\d+)@")


@dataclass
class Canvas:
    """A figure being drawn and the texts that its tokens stand for."""

    speaker: Speaker
    figure: Figure
    style: Mapping[str, Any]
    texts: list[str] = field(default_factory=list)

    def token(self, phrase: Phrase) -> str:
        """A short stand-in for a phrase, to be given to matplotlib."""
        self.texts.append(self.speaker.text(phrase))
        return f"@{len(self.texts) - 1}@"

    def width_of(self, phrase: Phrase, size: float) -> float:
        """Width of a text in inches, on the safe side: a Japanese character is one em, others a little over half."""
        em = sum(1.0 if ord(character) > 0x2E80 else 0.56 for character in self.speaker.text(phrase))
        return em * size / 72.0


def new_canvas(speaker: Speaker, height: float) -> Canvas:
    """A blank figure of the style's width and ``height`` inches; to be drawn inside :func:`drawing_style`."""
    style = figure_style()
    return Canvas(speaker, Figure(figsize=(style["size"]["width"], height)), style)


def drawing_style() -> Any:
    """The settings under which figures are drawn and saved, whatever the reader's own matplotlib settings are."""
    size = figure_style()["size"]["font"]
    own = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fpo-pilot",
        "font.size": size,
        "axes.linewidth": 0.6,
        "axes.edgecolor": "#4A4A4A",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#DDDDDD",
        "grid.linewidth": 0.5,
        "xtick.labelsize": size,
        "ytick.labelsize": size,
        "axes.unicode_minus": True,
        "axes.formatter.useoffset": False,
        "path.simplify": True,
    }
    defaults: Any = mpl.rcParamsDefault
    kept = {name: value for name, value in defaults.items() if not name.startswith(NOT_STYLE)}
    settings: Any = {**kept, **own}
    return mpl.rc_context(settings)


def figure_style() -> Mapping[str, Any]:
    """Sizes, colours and dashes of ``reports/figures.toml``."""
    path = content_file("figures.toml")
    return _read_style(path, path.stat().st_mtime_ns)


@cache
def _read_style(path: Path, _changed: int) -> Mapping[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def to_svg(canvas: Canvas, figure_id: str, title: str, description: str) -> Markup:
    """Finish a figure: its SVG with texts filled in, ids prefixed by ``figure_id``, title and description first."""
    buffer = io.StringIO()
    save: Any = FigureCanvasSVG(canvas.figure).print_svg
    save(buffer, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)  # the page's own fonts, not matplotlib's
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r'\bid="', f'id="{figure_id}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{figure_id}-", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    head = (
        f'<svg role="img" aria-labelledby="{figure_id}-title {figure_id}-desc" viewBox="{_view_box(svg)}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1">'
        f'<title id="{figure_id}-title">{escape(title)}</title><desc id="{figure_id}-desc">{escape(description)}</desc>'
    )
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    filled = _TOKEN.sub(lambda match: escape(canvas.texts[int(match[1])]), body)
    return Markup(head + filled)  # noqa: S704 - every text in it was escaped one line above


def _view_box(svg: str) -> str:
    found = re.search(r'viewBox="([^"]+)"', svg)
    return found[1] if found else "0 0 504 288"
