"""The page model: what the report says and shows, in no language yet. One template draws it for all languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fpo_pilot.reporting.drawing import Drawing
from fpo_pilot.reporting.phrases import Phrase

Outcome = Literal["pass", "fail", "inconclusive"]
StageState = Literal["done", "left", "here", "ahead"]


@dataclass(frozen=True)
class Source:
    """Where numbers come from: a file of the run folder and the columns (or JSON fields) in it."""

    file: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A verdict in a cell: icon, word and colour."""

    outcome: Outcome


@dataclass(frozen=True)
class Stack:
    """Several short lines in one cell."""

    lines: tuple[Phrase, ...]


Cell = Phrase | Mark | Stack | None


@dataclass(frozen=True)
class Column:
    """A column of a table; ``numeric`` ones are set flush right, ``short`` ones are not broken into lines."""

    title: Phrase
    numeric: bool = False
    short: bool = False


@dataclass(frozen=True)
class Row:
    """Cells of one line; ``tone`` marks the lines that a reader looks for first."""

    cells: tuple[Cell, ...]
    tone: Literal["plain", "policy", "incumbent"] = "plain"


@dataclass(frozen=True)
class Table:
    """A table with a caption and the sources of its numbers."""

    id: str
    caption: Phrase
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sources: tuple[Source, ...]
    notes: tuple[Phrase, ...] = ()
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Figure:
    """A drawing with a caption, a description for those who cannot see it, and its sources."""

    id: str
    caption: Phrase
    description: Phrase
    drawing: Drawing
    sources: tuple[Source, ...]
    notes: tuple[Phrase, ...] = ()
    kind: Literal["figure"] = "figure"


@dataclass(frozen=True)
class Paragraph:
    """A sentence or a few."""

    phrase: Phrase
    kind: Literal["paragraph"] = "paragraph"


@dataclass(frozen=True)
class Notice:
    """Says that a part of the evidence is not there."""

    phrase: Phrase
    kind: Literal["notice"] = "notice"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[Phrase, ...]
    kind: Literal["bullets"] = "bullets"


@dataclass(frozen=True)
class Subheading:
    """A heading inside a section."""

    phrase: Phrase
    kind: Literal["subheading"] = "subheading"


Block = Table | Figure | Paragraph | Notice | Bullets | Subheading


@dataclass(frozen=True)
class Section:
    """A numbered section."""

    id: str
    title: Phrase
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class StageMark:
    """One stage in the strip on page one."""

    name: Phrase
    state: StageState


@dataclass(frozen=True)
class Risk:
    """One of the main risks: what it is, what to do about it, and the section with its numbers."""

    title: Phrase
    action: Phrase
    section: str


@dataclass(frozen=True)
class VerdictPage:
    """Page one."""

    outcome: Outcome
    decision: Phrase
    because: tuple[Phrase, ...]
    stages: tuple[StageMark, ...]
    stage_note: Phrase
    gates: Table | None
    gates_notice: Phrase | None
    risks: tuple[Risk, ...]


@dataclass(frozen=True)
class TitleLine:
    """One field of the title block."""

    name: Phrase
    value: Phrase


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: Phrase
    plant: Phrase
    run_id: str
    created: str
    title_block: tuple[TitleLine, ...]
    verdict: VerdictPage
    sections: tuple[Section, ...]
