"""YAML text to plain data, with the line of every key and item, and every fault of the text told in words.

YAML 1.2 as ruamel.yaml reads it (``yes`` and ``on`` are texts, not booleans). Tags and merge keys are refused: a spec
is data, and what stands in the file is what applies.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from fpo_pilot.errors import Words
from fpo_pilot.specs.findings import Finding, Path

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

_LARGEST_FILE = 1_000_000
_MOST_NODES = 100_000
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Document:
    """The data of one file, with the line (from 1) of every path in it, and what was wrong with its text."""

    file: FilePath
    data: Any
    lines: Mapping[Path, int]
    findings: tuple[Finding, ...] = ()

    def line(self, path: Path) -> int:
        """Return the line of a path, or of the nearest thing around it that stands in the file."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1


def read_document(file: FilePath) -> Document:
    """Read a YAML file; its faults are in ``findings``, never raised, so that they are reported with all others."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        return _broken(file, 1, str(error.strerror), "a file that can be read", "Check the path and the permissions.")
    if len(raw) > _LARGEST_FILE:
        return _broken(
            file, 1, f"{len(raw)} bytes", f"at most {_LARGEST_FILE} bytes", "A spec is written by hand: split it."
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        found = f"the byte 0x{raw[error.start]:02x}"
        return _broken(file, line, found, "text in UTF-8", "Save the file as UTF-8 (not Shift_JIS or UTF-16).")
    return parse_document(text, file)


def parse_document(text: str, file: FilePath) -> Document:
    """Parse YAML text; ``file`` is what it is called in messages."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor that is set twice
            node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        problem, fix = _explain(str(error.problem or error.context), text, line)
        return _broken(file, line, problem, "YAML", fix)
    except YAMLError as error:
        position = getattr(error, "position", 0)
        line = text[:position].count("\n") + 1
        return _broken(
            file,
            line,
            "a character that YAML forbids",
            "printable text",
            "Delete the character, or save again as UTF-8.",
        )
    except RecursionError:
        return _broken(
            file, 1, "brackets nested too deep", "at most a few levels", "Check that brackets and quotes are closed."
        )
    if node is None:
        return _broken(file, 1, "an empty file", "a spec", "Start from an example: `fpo-pilot init mine --from cstr`.")
    builder = _Builder()
    data = builder.build(node, ())
    return Document(file, data, builder.lines, tuple(builder.findings))


@dataclass
class _Builder:
    """Turns nodes into data; remembers lines and faults."""

    lines: dict[Path, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    count: int = 0
    open: set[int] = field(default_factory=set)

    def build(self, node: Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self.count += 1
        kind = str(node.tag).removeprefix(_TAG)
        if id(node) in self.open or self.count > _MOST_NODES:
            return self.fault(
                path,
                "an alias that repeats without end",
                "values written out",
                "Write the values out, without aliases.",
            )
        if kind not in {"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge"}:
            return self.fault(path, f"the tag {node.tag}", "no tags", "Delete the tag: a spec is plain data.")
        self.open.add(id(node))
        try:
            if kind == "map":
                return self.mapping(node, path)
            if kind == "seq":
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            return self.scalar(kind, str(node.value), path)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: Node, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            kind = str(key.tag).removeprefix(_TAG)
            line = key.start_mark.line + 1
            if kind == "merge" or not isinstance(key.value, str):
                here = (*path, "<<" if kind == "merge" else "?")
                self.lines[here] = line
                self.fault(
                    here,
                    "a merge key" if kind == "merge" else "a list or a mapping as key",
                    "a name",
                    "Write the keys out.",
                )
                continue
            here = (*path, key.value)
            if key.value in data:
                once = f"each key once (it stands in line {self.lines[here]} too)"
                self.findings.append(Finding(here, Words("the key again"), once, "Delete one of the two.", line))
                continue
            self.lines[here] = line
            data[key.value] = self.build(value, here)
        return data

    def scalar(self, kind: str, text: str, path: Path) -> Any:
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in {"int", "float"}:
            number = _number(text)
            if number is None:
                return self.fault(
                    path,
                    text if len(text) < 40 else f"{text[:36]}…",
                    "a finite number",
                    "Write an ordinary number, such as 0.5 or 1e3.",
                )
            return number
        return text

    def fault(self, path: Path, found: str, expected: str, fix: str) -> None:
        """Note a fault; the place holds None, and its path is not looked at again."""
        self.findings.append(Finding(path, Words(found), expected, fix))


def _number(text: str) -> int | float | None:
    """Read an integer or a float; None if it is not finite, or too great for a float."""
    plain = text.replace("_", "").lower()
    if plain.lstrip("+-").startswith(("0x", "0o", "0b")):
        return int(plain, 0)
    try:
        number = float(plain)
    except ValueError:  # .inf and .nan
        return None
    if not math.isfinite(number):
        return None
    return int(plain) if plain.lstrip("+-").isdigit() else number


def _explain(problem: str, text: str, line: int) -> tuple[str, str]:
    """Say what a YAML error most often means."""
    lines = text.splitlines()
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in shown:
        return "a tab", "Indent with spaces: YAML forbids tabs."
    if "mapping values are not allowed" in problem:
        return problem, "Indent keys of one level alike; put texts with `: ` in quotes."
    if "could not find expected ':'" in problem or "expected ',' or" in problem:
        return (
            problem,
            "Put `: ` after each key, `, ` between items, and close every bracket (look at the line before, too).",
        )
    if "cannot start any token" in problem:
        return problem, "Put a text that starts with %, @ or ` in quotes."
    if "undefined alias" in problem:
        return problem, "Put a text that starts with `*` in quotes."
    if "another document" in problem:
        return "a second document after `---`", "Keep one spec in a file."
    return problem, "Check the indentation, and that every bracket and quote is closed (look at the line before, too)."


def _broken(file: FilePath, line: int, found: str, expected: str, fix: str) -> Document:
    return Document(file, None, {(): line}, (Finding((), Words(found), expected, fix),))
