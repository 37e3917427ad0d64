"""A row that is taken can become a segment, and reads back from the write-ahead log as it was given."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpo_pilot.errors import LogError
from fpo_pilot.logs.columns import to_table
from fpo_pilot.logs.rows import RowCheck, decode_row, encode_row

SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("t", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("x", pa.float32()),
        pa.field("code", pa.uint8()),
        pa.field("flag", pa.bool_()),
        pa.field("arm", pa.dictionary(pa.int32(), pa.string())),
        pa.field("reasons", pa.list_(pa.string())),
    ]
)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.one_of(st.text(), st.integers()), max_size=3),
    st.datetimes(),
    st.floats(width=32).map(np.float32),
    st.integers(0, 255).map(np.uint8),
    st.booleans().map(np.bool_),
    st.just(np.datetime64("NaT")),
    st.just(np.datetime64("2026-01-01")),
    st.just("\ud800"),
    st.just(1j),
)


@given(row=st.fixed_dictionaries({name: ANYTHING for name in SCHEMA.names if name != "seq"}))
@settings(max_examples=400, deadline=None)
def test_whatever_is_given_is_refused_by_its_row_or_reads_back_to_the_bit(row: dict[str, Any]) -> None:
    try:
        values = RowCheck(SCHEMA)(row, 7)
    except LogError as refused:
        told = str(refused)
    else:
        reads_back(row, values)
        return
    assert told.startswith("row 7 of the step log: found")


def reads_back(row: dict[str, Any], values: list[Any]) -> None:
    seq, names, again = decode_row(encode_row(7, 1, values))
    assert (seq, names) == (7, 1)
    tables = [
        to_table(SCHEMA, {**dict(zip(row, [[v] for v in one], strict=True)), "seq": [7]}, 1) for one in (values, again)
    ]
    first, second = (table.to_pydict() for table in tables)
    assert repr(first) == repr(second)  # NaN equals itself as text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("t", None),
        ("t", 2**63),
        ("t", True),
        ("x", "1.0"),
        ("x", True),
        ("code", 256),
        ("code", -1),
        ("code", True),
        ("code", 1.0),
        ("flag", 1),
        ("arm", b"policy"),
        ("reasons", "rate"),
        ("reasons", [1]),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_refused_by_row_and_column(name: str, value: object) -> None:
    with pytest.raises(LogError, match=f"row 3 of the step log: found .* in column {name}"):
        RowCheck(SCHEMA)({"t": 0, name: value}, 3)


@pytest.mark.parametrize(("row", "message"), [({"t": 0, "y": 1.0}, "column y"), ({"x": 1.0}, "no value in column t")])
def test_unknown_and_missing_columns_are_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(LogError, match=message):
        RowCheck(SCHEMA)(row, 0)


def test_times_are_nanoseconds_whatever_their_type() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    expected = 1_767_225_600_000_000_000
    for value in (moment, np.datetime64("2026-01-01"), expected, np.int64(expected), datetime(2026, 1, 1)):
        assert RowCheck(SCHEMA)({"t": value}, 0) == [expected]


def test_numbers_of_numpy_become_plain_ones() -> None:
    values = RowCheck(SCHEMA)({"t": 0, "x": np.float32(0.1), "code": np.uint8(3), "flag": np.bool_(True)}, 0)
    assert [type(value) for value in values] == [int, float, int, bool]
    assert math.isclose(values[1], 0.1, rel_tol=1e-7)
