"""From the page model to HTML: one template, autoescaped, with everything it needs inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup

from fpo_pilot.reporting.figures import draw
from fpo_pilot.reporting.page import Mark, Page, Stack
from fpo_pilot.reporting.phrases import Message, Number
from fpo_pilot.reporting.texts import Speaker, content_file, content_folders

TEMPLATE = "report.html.j2"


def render_html(page: Page, speaker: Speaker, *, extra_css: str = "") -> str:
    """Render ``page`` in the language of ``speaker``.

    Args:
        page: the page model.
        speaker: the words.
        extra_css: style rules for one medium, such as fonts for PDF; put after the theme.

    Returns:
        A whole HTML document that asks for nothing outside itself.
    """
    theme = content_file("theme.css").read_text(encoding="utf-8")
    html = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            page=page,
            language=speaker.language,
            theme=Markup(theme + extra_css),  # noqa: S704 - our own style sheet
            say=speaker.html,
            plain=speaker.text,
            word=speaker.word,
            kind=_kind,
            figure=_drawer(speaker),
        )
    )
    return "\n".join(line.rstrip() for line in html.splitlines() if line.strip()) + "\n"


def _drawer(speaker: Speaker) -> Callable[[Any], Markup]:
    return lambda block: draw(block, speaker)


def _environment() -> jinja2.Environment:
    folders = [str(folder / "templates") for folder in reversed(content_folders())]
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _kind(cell: object) -> str:
    """What a cell holds, for the template: it has no ``isinstance``."""
    match cell:
        case None:
            return "empty"
        case Mark():
            return "mark"
        case Stack():
            return "stack"
        case Message() | Number():
            return "phrase"
        case _:
            return "data"
