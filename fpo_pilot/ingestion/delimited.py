"""Reads a file of delimited text line by line: what pandas would mend in silence, a short line or a name that comes twice, is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fpo_pilot.errors import LogError
from fpo_pilot.specs.findings import did_you_mean
from fpo_pilot.specs.ingestion import IngestionMap


@dataclass(frozen=True)
class Delimited:
    """Texts of the columns that were asked for, and the line of the file that each row ends on, ``[n]`` from 1."""

    frame: pd.DataFrame
    line: npt.NDArray[np.int64]


def needed_columns(wanted: IngestionMap) -> list[tuple[str, str]]:
    """Return where the map names a column, and which."""
    needed = [(f"signals.{name}.column", entry.column) for name, entry in wanted.signals.items()]
    needed += [(f"signals.{n}.quality", e.quality) for n, e in wanted.signals.items() if e.quality is not None]
    needed.append(("time.column", wanted.time.column))
    needed += [("episodes.column", wanted.episodes.column)] if wanted.episodes.column is not None else []
    needed += [("log_density", wanted.log_density)] if wanted.log_density is not None else []
    return needed


def require_columns(present: Sequence[str], wanted: IngestionMap, path: Path) -> None:
    """Refuse a file that lacks a column of the map, or has it twice.

    Raises:
        LogError: it does.
    """
    named = {column for _, column in needed_columns(wanted)}
    for where, column in needed_columns(wanted):
        if column not in present:
            shown = ", ".join(present[:20]) + (", …" if len(present) > 20 else "")
            otherwise = (
                f"Add the column to the file, or ingest it apart, with a map without `{where}`."
                if where.endswith(".quality")
                else f"Correct `{where}` in the map, or `skip_before` and `delimiter`."
            )
            fix = did_you_mean(column, tuple(one for one in present if one not in named), otherwise)
            raise LogError(f"{path}: found no column {column!r} (there are {shown}), expected it for {where}. {fix}")
        if present.count(column) > 1:
            at = " and ".join(str(index + 1) for index, name in enumerate(present) if name == column)
            raise LogError(
                f"{path}: found the column {column!r} more than once (columns {at}), expected it once for {where}: nobody can tell "
                "which is meant. Rename one in the export."
            )


def read_delimited(path: Path, wanted: IngestionMap) -> Delimited:
    """Read the columns that the map names.

    Raises:
        LogError: the encoding is another, there is no table, a column is missing or there twice, or a line has not as many fields as
            the header has.
    """
    lines = io.StringIO(_text(path, wanted), newline="")
    for _ in range(wanted.skip_before):
        lines.readline()
    reader = _Lines(csv.reader(lines, delimiter=wanted.delimiter, skipinitialspace=True), wanted.skip_before, path)
    try:
        names = [name.strip() for name in next(reader, [])]
        if not any(names):
            raise LogError(
                f"{path}: found no column names in line {wanted.skip_before + 1}, expected a header there. Export again if the file is "
                "empty, or correct `skip_before` in the map."
            )
        while names and not names[-1]:  # a delimiter at the end of the line
            names.pop()
        require_columns(names, wanted, path)
        for _ in range(wanted.skip_after):
            _refuse_sample(next(reader, []), names, reader.number, wanted, path)
        chosen = {column: names.index(column) for _, column in needed_columns(wanted)}
        texts: dict[str, list[str]] = {column: [] for column in chosen}
        numbers: list[int] = []
        for number, fields in _rows(reader, names, wanted, path):
            numbers.append(number)
            for column, index in chosen.items():
                texts[column].append(fields[index])
    except csv.Error as problem:
        raise LogError(
            f"{path}: line {reader.number}: found text that is no table ({problem}), expected lines of as many "
            "columns as the header has. Look at `delimiter` and at quotes that are not closed."
        ) from problem
    if not numbers:
        raise LogError(f"{path}: found a header and no rows, expected samples. Export the period again.")
    return Delimited(pd.DataFrame(texts, dtype=object), np.array(numbers, np.int64))


class _Lines(Iterator[list[str]]):
    """Yields the fields of one line after the other, and refuses rows that go over several lines.

    A quote that is not closed, in the comment of an operator, say, makes one row of all lines up to the next quote: samples would be gone
    in silence.
    """

    def __init__(self, reader: Any, skipped: int, path: Path) -> None:
        self._reader, self._skipped, self._path = reader, skipped, path

    @property
    def number(self) -> int:
        """Of the last line that was read, in the file, from 1."""
        return int(self._skipped + self._reader.line_num)

    def __next__(self) -> list[str]:
        before = self.number
        fields: list[str] = next(self._reader)
        if self.number > before + 1:
            raise LogError(
                f"{self._path}: row {before + 1}: found a row that goes on to line {self.number}, expected one on a line of its own: a "
                "quote that is not closed takes the rows behind it along. Close or remove it, and take line breaks out of texts and names."
            )
        return fields


def _text(path: Path, wanted: IngestionMap) -> str:
    try:
        return path.read_bytes().decode(wanted.encoding).removeprefix("\ufeff")
    except UnicodeError as problem:
        at = f" (at byte {problem.start})" if isinstance(problem, UnicodeDecodeError) else ""
        raise LogError(
            f"{path}: found bytes that are no {wanted.encoding}{at}, expected text in the encoding of the map. "
            "Write `encoding: cp932` for Shift-JIS, or utf-8-sig for UTF-8 with a mark."
        ) from problem
    except OSError as problem:
        raise LogError(f"{path}: found a file that cannot be read ({problem}), expected an export.") from problem


def _refuse_sample(fields: list[str], names: list[str], number: int, wanted: IngestionMap, path: Path) -> None:
    """Refuse to pass over a line with a time in it: it is no line of units, and a sample would be lost."""
    index = names.index(wanted.time.column)
    text = fields[index].strip() if index < len(fields) else ""
    form = wanted.time.format or "ISO8601"
    if text and not pd.isna(pd.to_datetime(text, format=form, errors="coerce", utc=True)):
        raise LogError(
            f"{path}: row {number}, column {wanted.time.column}: found the time {text!r}, expected a line that is no data, such as one of "
            f"units, since `skip_after: {wanted.skip_after}` passes over it. Write fewer if no file has such a line; if only this one "
            "lacks it, add it to the file: a map is for all files."
        )


def _rows(reader: _Lines, names: list[str], wanted: IngestionMap, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line and fields of each row; empty lines and empty fields beyond the last column are passed over."""
    for fields in reader:
        if not fields:
            continue
        number = reader.number
        if len(fields) < len(names):
            raise LogError(
                f"{path}: row {number}: found {len(fields)} fields, expected {len(names)} as in the header: the line was cut, and so may "
                "be its last number. Export the period again, or take the row out."
            )
        if any(field.strip() for field in fields[len(names) :]):
            hint = (
                " Put numbers with a decimal comma in quotes, or part columns by `;`."
                if wanted.delimiter == ","
                else ""
            )
            raise LogError(
                f"{path}: row {number}: found {len(fields)} fields, expected {len(names)} as in the header. Correct the row.{hint}"
            )
        yield number, fields
