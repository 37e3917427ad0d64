"""From what callers have (numpy arrays, lists, single values) to Arrow columns of the declared type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from fpo_pilot.errors import LogError


def to_table(schema: pa.Schema, columns: Mapping[str, Any], rows: int) -> pa.Table:
    """Make a table of a schema: columns that are left out are null.

    Args:
        schema: names and types.
        columns: for each name an array or list of ``rows`` values, or one value for all rows.
        rows: length of the table.

    Raises:
        LogError: an unknown column, or one that does not fit the schema.
    """
    unknown = [name for name in columns if name not in schema.names]
    if unknown:
        raise LogError(
            f"table: found column {', '.join(unknown)}, expected columns of the schema ({', '.join(schema.names)}). "
            "Mend the caller: nothing was written."
        )
    arrays = [to_array(field, columns.get(field.name), rows) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def to_array(field: pa.Field, value: Any, rows: int) -> pa.Array:
    """Make one column.

    Args:
        field: name and type.
        value: an array or list of ``rows`` values, one value for all rows, or None for nulls. Anything that numpy can
            view as an array will do.
        rows: length of the column.

    Raises:
        LogError: a null where there may be none, a value that the type cannot hold, or another length.
    """
    try:
        array = _converted(field.type, value, rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as problem:
        raise _error(field, f"{type(value).__name__} that does not fit ({problem})", f"{field.type}") from problem
    if len(array) != rows:
        raise _error(field, f"{len(array)} values", f"{rows}")
    if array.null_count and not field.nullable:
        raise _error(field, "no value", f"a {field.type} in every row")
    return array


def _converted(kind: pa.DataType, value: Any, rows: int) -> pa.Array:
    if isinstance(value, pa.ChunkedArray):
        value = value.combine_chunks()
    if isinstance(value, pa.Array):
        return value if value.type == kind else value.cast(kind)
    if value is None:
        return pa.nulls(rows, kind)
    if pa.types.is_dictionary(kind):
        return _texts(kind, value, rows)
    if pa.types.is_list(kind):
        return pa.array(value, kind)
    return _numbers(kind, value, rows)


def _texts(kind: pa.DataType, value: Any, rows: int) -> pa.Array:
    if isinstance(value, str):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], pa.string()))
    return pa.array(value, pa.string()).dictionary_encode().cast(kind)


def _numbers(kind: pa.DataType, value: Any, rows: int) -> pa.Array:
    if isinstance(value, list | tuple):
        return pa.array(value, pa.timestamp("ns") if pa.types.is_timestamp(kind) else None).cast(kind)
    values = np.asarray(value)
    if values.ndim == 0:
        values = np.broadcast_to(values, (rows,))
    if pa.types.is_timestamp(kind):
        values = values.astype("datetime64[ns]")
    elif pa.types.is_floating(kind):
        values = values.astype(kind.to_pandas_dtype())
    return pa.array(np.ascontiguousarray(values)).cast(kind)


def _error(field: pa.Field, found: str, expected: str) -> LogError:
    return LogError(f"column {field.name}: found {found}, expected {expected}. Mend the caller: nothing was written.")
