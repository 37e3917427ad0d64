"""Reads one file of a historian: text to numbers in the units of the plant, times to UTC, quality to good or bad.

Nothing is guessed and nothing is dropped in silence: what cannot be read is refused with file, row and column.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion.delimited import needed_columns, read_delimited, require_columns
from fpo_pilot.logs.tables import read_names, read_parquet
from fpo_pilot.specs.ingestion import IngestionMap, SignalColumn
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.units import convert_point, parse_unit

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.object_]
_OFFSET = r"\d[T ].*\d *(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"
"""At the end of an ISO 8601 time, behind its hours."""

_YEARS = (pd.Timestamp.min.year + 1, pd.Timestamp.max.year - 1)
"""Whole years of which nanoseconds can be counted in 64 bits."""
_NO_BATCH = ("", "nan", "nat", "null", "none", "<na>")
"""What an empty cell is written as."""


@dataclass(frozen=True)
class Code:
    """Of a quality code: how often it is in a file, and the first row with it."""

    count: int
    row: int


@dataclass(frozen=True)
class Export:
    """Samples of one file in the order of time, in the units of the plant.

    Args:
        path: of the file.
        time: ``[n]`` nanoseconds since 1970, UTC, rising.
        values: of each signal ``[n]``; NaN where there is no reading.
        bad: of each signal ``[n]``, a reading of bad quality.
        batch: ``[n]`` texts of the episode column; all empty without one.
        log_density: ``[n]`` of the logged actions, or None.
        row: ``[n]`` where a sample stands in the file, from 1: its line, or its row in Parquet.
        codes: of each signal with a quality column, the codes in the file.
    """

    path: Path
    time: npt.NDArray[np.int64]
    values: dict[str, Floats]
    bad: dict[str, Flags]
    batch: Labels
    log_density: Floats | None
    row: npt.NDArray[np.int64]
    codes: dict[str, dict[str, Code]]


def read_export(path: Path, wanted: IngestionMap, plant: PlantSpec) -> Export:
    """Read a CSV or Parquet file as ``wanted`` says.

    Raises:
        LogError: there is no such file, its encoding is another, a column is missing or there twice, a line is short or long, a text is
            no number or no time, or a time comes twice or goes back.
    """
    frame, row = _frame(path, wanted)
    time = _times(frame[wanted.time.column], wanted, row)
    values, bad, codes = {}, {}, {}
    for name, entry in wanted.signals.items():
        numbers = _numbers(frame[entry.column], entry.column, wanted, row)
        values[name] = _converted(numbers, entry, plant.signals[name].unit, row)
        bad[name] = np.zeros(len(frame), np.bool_)
        if entry.quality is not None:
            bad[name], codes[name] = _judged(_texts(frame[entry.quality]), wanted, row)
    batch = _batches(frame, wanted, row)
    density = None
    if wanted.log_density is not None:
        density = _numbers(frame[wanted.log_density], wanted.log_density, wanted, row)
        _refuse_huge(density, wanted.log_density, row)
    return Export(path, time, values, bad, batch, density, row.line, codes)


@dataclass(frozen=True)
class _Rows:
    """Says where a row stands."""

    path: Path
    line: npt.NDArray[np.int64]
    """Of each row of data, from 1."""

    def error(self, index: int, column: str, found: str, expected: str) -> LogError:
        return LogError(f"{self.path}: row {self.line[index]}, column {column}: found {found}, expected {expected}")


def _frame(path: Path, wanted: IngestionMap) -> tuple[pd.DataFrame, _Rows]:
    if not path.is_file():
        raise LogError(f"{path}: found no file, expected an export as .csv or .parquet. Correct the path.")
    if path.suffix.lower() != ".parquet":
        read = read_delimited(path, wanted)
        return read.frame, _Rows(path, read.line)
    require_columns(read_names(path), wanted, path)
    table = read_parquet(path, columns=list(dict.fromkeys(column for _, column in needed_columns(wanted))))
    if not table.num_rows:
        raise LogError(f"{path}: found a table without rows, expected samples. Export the period again.")
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)  # what pandas noted would turn a column into an index
    return frame, _Rows(path, np.arange(1, len(frame) + 1))


def _times(column: pd.Series, wanted: IngestionMap, row: _Rows) -> npt.NDArray[np.int64]:
    name = wanted.time.column
    if pd.api.types.is_numeric_dtype(
        column
    ):  # whole numbers may be written as `time.format` says, and are never counts since 1970
        column = _texts(column)
    try:
        utc = _have_offsets(column, wanted, row)
        parsed = pd.to_datetime(column, format=wanted.time.format or "ISO8601", errors="coerce", utc=utc)
    except (ValueError, TypeError) as problem:
        raise row.error(0, name, f"{column.iloc[0]!r} ({problem})", _time_words(wanted)) from problem
    missing = np.flatnonzero(parsed.isna().to_numpy())
    if len(missing):
        raise row.error(int(missing[0]), name, _shown(column.iloc[missing[0]]), _time_words(wanted))
    far = np.flatnonzero(~parsed.dt.year.between(*_YEARS).to_numpy())
    if len(far):
        expected = f"a year from {_YEARS[0]} to {_YEARS[1]}, which the log can hold. Correct `time.format`, or the row"
        fix = "Buddhist years are 543 ahead: export in years of the common era."
        raise row.error(int(far[0]), name, _shown(column.iloc[far[0]]), f"{expected}. {fix}")
    if parsed.dt.tz is None:
        parsed = _in_zone(parsed, wanted, row)
    time = parsed.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
    step = np.diff(time)
    wrong = np.flatnonzero(step <= 0)
    if len(wrong):
        index = int(wrong[0]) + 1
        found = f"{column.iloc[index]} after {column.iloc[index - 1]}"
        expected = (
            "each time once: take one of the two rows out"
            if step[index - 1] == 0
            else "times that rise: sort the export, or part it where the clock was set back"
        )
        raise row.error(index, name, found, f"{expected} ({len(wrong)} such rows). Nothing was written.")
    return np.asarray(time, np.int64)


def _shown(value: object) -> str:
    """Write a cell for a message: texts in quotes, numbers and times as they are, an empty cell as nothing."""
    return repr(value) if isinstance(value, str) else "nothing" if pd.isna(value) else str(value)  # type: ignore[call-overload]


def _have_offsets(column: pd.Series, wanted: IngestionMap, row: _Rows) -> bool:
    """Return whether every time is a text with its offset from UTC, which may change; times with and without one are refused."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return False
    if wanted.time.format is not None:
        return "%z" in wanted.time.format
    has = column.astype(str).str.strip().str.contains(_OFFSET).to_numpy(np.bool_)
    if has.any() and not has.all():
        index = int(np.flatnonzero(has != has[0])[0])
        found = f"{column.iloc[index]!r} after {column.iloc[index - 1]!r}"
        raise row.error(index, wanted.time.column, found, "an offset from UTC in every time, or in none. Export again.")
    return bool(has.any())


def _in_zone(parsed: pd.Series, wanted: IngestionMap, row: _Rows) -> pd.Series:
    """Give local times their zone; an hour that comes twice, or never, in the night the clocks change is refused."""
    located: pd.Series = parsed.dt.tz_localize(wanted.time.zone, ambiguous="NaT", nonexistent="NaT")
    wrong = np.flatnonzero(located.isna().to_numpy())
    if len(wrong):
        index = int(wrong[0])
        expected = f"a time that {wanted.time.zone} has exactly once: export in UTC, or with the offset in each time"
        raise row.error(index, wanted.time.column, f"{parsed.iloc[index]}, when clocks are changed", f"{expected}.")
    return located


def _time_words(wanted: IngestionMap) -> str:
    form = wanted.time.format
    if form is None:
        return "a time as in 2026-04-01T08:00:00. Give `time.format` in the map if it is written otherwise."
    return f"a time as in `time.format`, {form!r}. Correct the format, or the row."


def _numbers(column: pd.Series, name: str, wanted: IngestionMap, row: _Rows) -> Floats:
    if pd.api.types.is_numeric_dtype(column):
        values = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
        endless = np.flatnonzero(np.isinf(values))
        if len(endless):
            fix = f"a number ({len(endless)} such rows). Write none where there is no reading, or correct the row."
            raise row.error(int(endless[0]), name, f"{values[endless[0]]:g}", fix)
        return values
    text = column.astype(str).str.strip()
    empty = (column.isna() | text.isin(wanted.missing)).to_numpy(np.bool_)
    comma = wanted.decimal == ","
    plain = text.str.replace(",", ".", regex=False) if comma else text
    numbers = np.array(pd.to_numeric(plain.where(~empty, "nan"), errors="coerce"), dtype=np.float64)
    dotted = np.flatnonzero(~empty & _dotted(text) & comma)
    if len(dotted):
        expected = f"a number without a dot, since `decimal:` is a comma ({len(dotted)} such rows)"
        fix = "A dot that parts thousands: export without them, 299.000 could be either. One that is a decimal sign: correct `decimal:`."
        raise row.error(int(dotted[0]), name, repr(text.iloc[dotted[0]]), f"{expected}. {fix}")
    wrong = np.flatnonzero((np.isnan(numbers) | np.isinf(numbers)) & ~empty)
    if len(wrong):
        found = text.iloc[wrong[0]]
        fix = (
            "Write `decimal: ','` in the map if that is a decimal sign; export without it if it parts thousands."
            if not comma and "," in found and found.replace(",", "", 1).replace("-", "", 1).isdigit()
            else "Name the text under `missing:` in the map if it stands for no reading, or correct the row."
        )
        raise row.error(int(wrong[0]), name, repr(found), f"a number ({len(wrong)} such rows). {fix}")
    return numbers


def _dotted(text: pd.Series) -> Flags:
    """Return which texts are numbers with a dot, as a decimal sign or between thousands; a word with a dot is none."""
    bare = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    dots = text.str.contains(".", regex=False)
    return np.asarray((dots & pd.to_numeric(bare, errors="coerce").notna()).to_numpy(), np.bool_)


def _converted(numbers: Floats, entry: SignalColumn, unit: str, row: _Rows) -> Floats:
    """Convert linearly, with an offset for temperatures; units that are no line of another are refused with the map."""
    converted = numbers
    if entry.unit is not None and entry.unit != unit:
        given, wanted = parse_unit(entry.unit), parse_unit(unit)
        zero, one = convert_point(0.0, given, wanted), convert_point(1.0, given, wanted)
        converted = zero + (one - zero) * numbers
    _refuse_huge(converted, entry.column, row)
    return converted


def _refuse_huge(numbers: Floats, name: str, row: _Rows) -> None:
    greatest = float(np.finfo(np.float32).max)
    huge = np.flatnonzero(np.abs(numbers) > greatest)
    if len(huge):
        expected = f"a number up to {greatest:.4g}, which the log can hold ({len(huge)} such rows)"
        fix = "Name the text under `missing:` in the map if it stands for no reading, or correct the row."
        raise row.error(int(huge[0]), name, f"{numbers[huge[0]]:g}", f"{expected}. {fix}")


def _batches(frame: pd.DataFrame, wanted: IngestionMap, row: _Rows) -> Labels:
    name = wanted.episodes.column
    if name is None:
        return np.full(len(frame), "", dtype=object)
    texts = _texts(frame[name])
    empty = np.flatnonzero(texts.str.casefold().isin(_NO_BATCH).to_numpy(np.bool_))
    if len(empty):
        fix = "Write the batch into every row, also between its changes; rows of none get a value of their own, or are left out."
        expected = f"the batch of the row ({len(empty)} such rows): where it is not told, rows would go lost. {fix}"
        raise row.error(int(empty[0]), name, "nothing", expected)
    return np.asarray(texts.to_numpy(), dtype=object)


def _texts(column: pd.Series) -> pd.Series:
    """Return values as they would stand in a CSV file: 192 is 192 also where a column of whole numbers has become one of floats."""
    if pd.api.types.is_float_dtype(column) and (column.isna() | ((column % 1 == 0) & (column.abs() < 2**53))).all():
        column = column.astype("Int64")
    return column.astype(str).str.strip().where(column.notna(), "")


def _judged(codes: pd.Series, wanted: IngestionMap, row: _Rows) -> tuple[Flags, dict[str, Code]]:
    """Return which readings are bad, and what each code is worth knowing of."""
    numbers, texts = pd.factorize(codes)
    first = np.unique(numbers, return_index=True)[1]
    counts = np.bincount(numbers)
    found = {
        str(text): Code(int(count), int(row.line[at])) for text, count, at in zip(texts, counts, first, strict=True)
    }
    return np.asarray(~codes.isin(wanted.good).to_numpy(), np.bool_), found
