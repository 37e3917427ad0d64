"""Single rows of the step log: checked when they are given, and written as text that reads back to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from fpo_pilot.errors import LogError

FILLED = ("seq", "stage")
"""Columns that the log fills in by itself."""
_Plain = Callable[[Any], Any]
"""Returns a value as one that JSON and Arrow read alike; raises ValueError, TypeError or OverflowError if it does not fit."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


class RowCheck:
    """Checks rows against a schema before they are taken: what is in the log can always become a segment.

    Args:
        schema: of the step log.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._fields = {field.name: (_plain_of(field.type), field.nullable) for field in schema}
        self._needed = {field.name for field in schema if not field.nullable} - set(FILLED)
        self._names: tuple[str, ...] = ()
        self._checks: list[tuple[_Plain, bool]] = []

    def __call__(self, row: Mapping[str, Any], seq: int) -> list[Any]:
        """Return the values of ``row`` as they are logged: in Python's own types, times in nanoseconds.

        Raises:
            LogError: an unknown or a missing column, or a value that its type cannot hold; the row is not taken.
        """
        names = tuple(row)
        if names != self._names:
            self._learn(names, seq)
        values: list[Any] = []
        for (plain, nullable), (name, value) in zip(self._checks, row.items(), strict=True):
            if value is None and nullable:
                values.append(None)
                continue
            try:
                values.append(plain(value))
            except (ValueError, TypeError, OverflowError) as problem:
                raise _error(seq, f"{value!r} in column {name}", "a value of its type") from problem
        return values

    def _learn(self, names: tuple[str, ...], seq: int) -> None:
        unknown = [name for name in names if name not in self._fields]
        missing = sorted(self._needed.difference(names))
        if unknown:
            raise _error(seq, f"column {', '.join(unknown)}", f"columns of the schema ({', '.join(self._fields)})")
        if missing:
            raise _error(seq, f"no value in column {', '.join(missing)}", "one in every row")
        self._names, self._checks = names, [self._fields[name] for name in names]


def encode_row(seq: int, names: int, values: Sequence[Any]) -> bytes:
    """Return a row as JSON: its number, which list of names it has, then its values.

    Floats read back to the bit, NaN and infinities included. ``values`` are as :class:`RowCheck` returns them.
    """
    return _ENCODER.encode([seq, names, *values]).encode()


def decode_row(payload: bytes) -> tuple[int, int, list[Any]]:
    """Return number, list of names, and values of a row."""
    seq, names, *values = json.loads(payload)
    return int(seq), int(names), values


def nanoseconds(value: Any) -> int:
    """Return a time as nanoseconds since 1970, UTC."""
    if isinstance(value, datetime):
        return int(pa.scalar(value, pa.timestamp("ns", tz="UTC" if value.tzinfo else None)).value)
    return int(value.astype("datetime64[ns]").astype(np.int64)) if isinstance(value, np.datetime64) else int(value)


def _plain_of(kind: pa.DataType) -> _Plain:
    if pa.types.is_boolean(kind):
        return _boolean
    if pa.types.is_floating(kind):
        return _number
    if pa.types.is_integer(kind):
        bounds = np.iinfo(kind.to_pandas_dtype())
        low, high = int(bounds.min), int(bounds.max)
        return lambda value: _whole(value, low, high)
    if pa.types.is_timestamp(kind):
        return _time
    if pa.types.is_list(kind):
        return _texts
    return _text


def _boolean(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool):
        return float(value)
    raise TypeError


def _whole(value: Any, low: int, high: int) -> int:
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and low <= value <= high:
        return int(value)
    raise ValueError


def _time(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer | np.datetime64 | datetime):
        raise TypeError
    found = nanoseconds(value)
    if not -(2**63) < found < 2**63:  # the least is what numpy has for no time at all
        raise OverflowError
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value.isascii():
        value.encode()  # half of a surrogate pair is no text
    return str(value)


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return [_text(item) for item in value]


def _error(seq: int, found: str, expected: str) -> LogError:
    return LogError(
        f"row {seq} of the step log: found {found}, expected {expected}. Mend the caller: the row was not logged."
    )
