from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.tables import append_rows, read_parquet, replace_rows, write_table_atomic


def test_floats_are_byte_stream_split_with_zstd_checksums_and_statistics(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table_atomic(path, pa.table({"obs.x": np.arange(10.0), "arm": pa.array(["a"] * 10).dictionary_encode()}))
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in columns["obs.x"].encodings
    assert columns["obs.x"].compression == "ZSTD"
    assert columns["obs.x"].statistics.max == 9.0
    assert columns["arm"].has_dictionary_page


def test_a_flipped_bit_in_a_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table_atomic(path, pa.table({"x": np.random.default_rng(0).normal(size=1000)}))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(LogError, match="expected a whole Parquet file"):
        read_parquet(path)


def test_a_table_that_is_cut_short_is_found(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table_atomic(path, pa.table({"x": [1.0, 2.0]}))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LogError, match=r"table\.parquet: found no readable table"):
        read_parquet(path)


def test_appended_rows_come_after_and_a_new_column_is_null_before(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    append_rows(path, pa.table({"update": [0], "loss": [1.0]}))
    append_rows(path, pa.table({"update": [1], "loss": [0.5], "new": ["x"]}))
    assert read_parquet(path).to_pydict() == {"update": [0, 1], "loss": [1.0, 0.5], "new": [None, "x"]}


def test_a_retyped_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    append_rows(path, pa.table({"update": [0]}))
    with pytest.raises(LogError, match="never retyped"):
        append_rows(path, pa.table({"update": ["one"]}))
    assert read_parquet(path).to_pydict() == {"update": [0]}


def test_rows_with_the_same_keys_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "episodes.parquet"
    replace_rows(path, pa.table({"arm": ["hold", "flow", "hold"], "seed": [1, 1, 2], "r": [1.0, 2.0, 3.0]}), ["arm"])
    replace_rows(path, pa.table({"arm": ["hold"], "seed": [1], "r": [9.0]}), ["arm", "seed"])
    assert read_parquet(path).to_pydict() == {"arm": ["flow", "hold", "hold"], "seed": [1, 2, 1], "r": [2.0, 3.0, 9.0]}
