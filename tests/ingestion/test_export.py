"""What a historian writes, and what is refused with file, row and column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion import Export, read_export
from fpo_pilot.specs import load_ingestion_map, load_plant_spec
from tests.ingestion.conftest import MAP, PLANT

SPEC = load_plant_spec(PLANT)


def read(paths) -> Export:
    path, mapped = paths
    return read_export(path, load_ingestion_map(mapped, SPEC), SPEC)


def test_shift_jis_japanese_names_local_time_and_other_units_are_read(frame, write, logged) -> None:
    export = read(write(frame))
    np.testing.assert_allclose(export.values["T"][:-1], logged["T"], rtol=1e-12)
    np.testing.assert_allclose(export.values["Ca"][:-1], logged["Ca"], rtol=1e-12)
    assert np.datetime64(int(export.time[0]), "ns") == np.datetime64("2026-03-31T23:00:00")  # 8:00 in Tokyo
    assert set(np.diff(export.time)) == {26_000_000_000}
    assert not export.bad["T"].any()


def test_quality_codes_that_are_not_good_are_bad_and_named_texts_are_no_reading(frame, write) -> None:
    frame.loc[3, "反応器温度_状態"] = "異常"
    frame.loc[5, "反応器濃度"] = "----"
    export = read(write(frame))
    assert np.flatnonzero(export.bad["T"]).tolist() == [3]
    assert np.flatnonzero(np.isnan(export.values["Ca"])).tolist() == [5]


def test_lines_around_the_header_are_passed_over(frame, write) -> None:
    path, mapped = write(frame, MAP + "skip_before: 2\nskip_after: 1\n")
    head, *rows = path.read_text("cp932").splitlines()
    path.write_text("\n".join(["工場 A", "2026 年 4 月", head, "-,mol/m3,degC,-,degC,-", *rows]), "cp932")
    assert len(read((path, mapped)).time) == len(frame)


@pytest.mark.parametrize("form", ['format: "%Y/%m/%d %H:%M:%S", ', ""])
def test_a_sample_where_a_line_of_units_is_to_be_passed_over_is_refused(frame, write, form) -> None:
    """The first sample of a file without a line of units was lost in silence."""
    if not form:
        frame["日時"] = frame["日時"].str.replace("/", "-")
    path, mapped = write(frame, MAP.replace('format: "%Y/%m/%d %H:%M:%S", ', form) + "skip_after: 1\n")
    told = r"export.csv: row 2, column 日時: found the time '2026.04.01 08:00:00', expected a line that is no data.*`skip_after: 1`"
    with pytest.raises(LogError, match=told):
        read((path, mapped))
    head, *rows = path.read_text("cp932").splitlines()
    for units in ("", "-", "s,mol/m3,degC,-,degC,-", "yyyy/mm/dd,1,2,3,4,5", "1,2,3,4,5,6"):
        path.write_text("\n".join([head, units, *rows]), "cp932")
        assert len(read((path, mapped)).time) == len(frame)


def test_a_decimal_comma_is_read_where_it_is_declared_and_named_where_it_is_not(frame, write) -> None:
    def comma(text: str) -> str:
        return text.replace(".", ",") if text.replace(".", "").replace("-", "").isdigit() else text

    european = frame.map(comma)
    path, mapped = write(european)
    path.write_text(european.to_csv(index=False, sep=";"), "cp932")
    with pytest.raises(LogError, match=r"row 2, column 反応器濃度: found '.*,.*', expected a number .*decimal: ','"):
        read((path, write_map(mapped, "delimiter: ;\n")))
    export = read((path, write_map(mapped, "delimiter: ;\ndecimal: ','\n")))
    assert export.values["Tc"][0] == pytest.approx(float(frame["ジャケット温度"][0]) + 273.15)


def test_with_a_decimal_comma_a_dot_is_refused_since_it_may_part_thousands(frame, write) -> None:
    """299.000 is 299 000 mK in a German export, and was read as 0.299 K."""
    few = frame.head(3).map(lambda text: text.replace(".", ","))
    few.loc[1, "ジャケット温度"] = "299.000"
    path, mapped = write(few)
    path.write_text(few.to_csv(index=False, sep=";"), "cp932")
    with pytest.raises(
        LogError, match=r"row 3, column ジャケット温度: found '299.000', expected a number without a dot.*thousands"
    ):
        read((path, write_map(mapped, "delimiter: ;\ndecimal: ','\n")))


def write_map(mapped, more: str):
    mapped.write_text(MAP + more, encoding="utf-8")
    return mapped


@pytest.mark.parametrize(
    ("row", "column", "text", "message"),
    [
        (4, "日時", "2026/04/01 08:01:18", r"row 6, column 日時: found .* after .*, expected each time once"),
        (4, "日時", "2026/04/01 07:59:00", r"row 6, column 日時: found .* after .*, expected times that rise: .*clock was set back"),
        (4, "日時", "April 1st", r"row 6, column 日時: found 'April 1st', expected a time as in `time.format`"),
        (7, "反応器温度", "warm", r"row 9, column 反応器温度: found 'warm', expected a number .*`missing:`"),
        (7, "反応器温度", "inf", r"row 9, column 反応器温度: found 'inf'"),
    ],
)  # fmt: skip
def test_a_broken_cell_is_refused_with_file_row_and_column(frame, write, row, column, text, message) -> None:
    frame.loc[row, column] = text
    with pytest.raises(LogError, match=rf"export.csv: {message}"):
        read(write(frame))


def test_an_hour_that_comes_twice_is_refused_and_utc_offsets_settle_it(frame, write) -> None:
    few = frame.head(4).copy()
    few["日時"] = ["2026/10/25 02:30:00", "2026/10/25 02:31:00", "2026/10/25 02:32:00", "2026/10/25 02:33:00"]
    berlin = MAP.replace("Asia/Tokyo", "Europe/Berlin")
    with pytest.raises(LogError, match=r"row 2, column 日時: found 2026-10-25 02:30:00, when clocks are changed"):
        read(write(few, berlin))
    few["日時"] = [f"2026-10-25T02:3{minute}:00+01:00" for minute in range(4)]
    export = read(write(few, berlin.replace('format: "%Y/%m/%d %H:%M:%S", ', "")))
    assert np.datetime64(int(export.time[0]), "ns") == np.datetime64("2026-10-25T01:30:00")


def test_another_encoding_a_missing_column_and_a_doubled_one_are_refused(frame, write) -> None:
    path, mapped = write(frame)
    path.write_text(frame.to_csv(index=False), "utf-8")
    with pytest.raises(LogError, match=r"that are no cp932|found no column"):
        read((path, mapped))
    with pytest.raises(LogError, match=r"found no column '反応器温度' .*signals.T.column. Did you mean"):
        read(write(frame.rename(columns={"反応器温度": "反応器温度1"})))
    with pytest.raises(LogError, match="found no file"):
        read((path.with_name("nothing.csv"), mapped))
    path, mapped = write(frame.head(0))
    with pytest.raises(LogError, match="a header and no rows"):
        read((path, mapped))


def test_a_file_without_its_quality_column_is_told_what_can_be_done(frame, write) -> None:
    """A column that the map names for something else is not what was meant."""
    with pytest.raises(LogError, match=r"signals.T.quality. Add the column to the file, or ingest it apart") as found:
        read(write(frame.drop(columns="反応器温度_状態")))
    assert "Did you mean" not in str(found.value)
    with pytest.raises(LogError, match=r"signals.T.quality. Did you mean `反応器温度_状況`"):
        read(write(frame.rename(columns={"反応器温度_状態": "反応器温度_状況"})))


def test_with_a_decimal_comma_a_text_with_a_dot_is_no_number_and_may_be_named_as_missing(frame, write) -> None:
    few = frame.head(3).map(lambda text: text.replace(".", ","))
    few.loc[1, "ジャケット温度"] = "No Data."
    path, mapped = write(few)
    path.write_text(few.to_csv(index=False, sep=";"), "cp932")
    with pytest.raises(
        LogError, match=r"row 3, column ジャケット温度: found 'No Data.', expected a number .*`missing:`"
    ):
        read((path, write_map(mapped, "delimiter: ;\ndecimal: ','\n")))
    export = read((path, write_map(mapped, "delimiter: ;\ndecimal: ','\nmissing: ['', 'No Data.']\n")))
    assert np.isnan(export.values["Tc"]).tolist() == [False, True, False]


@pytest.mark.parametrize(("first", "last"), [(1, 3), (5, 8)])
def test_a_row_that_a_quote_spreads_over_several_lines_is_refused(frame, write, first, last) -> None:
    """The comment of an operator swallowed the rows behind it, and they were held as if nothing had been sampled."""
    frame["備考"] = ""
    path, mapped = write(frame, MAP + "skip_after: 1\n")
    lines = path.read_text("cp932").splitlines()
    lines.insert(1, "-,mol/m3,degC,-,degC,-,")
    lines[first] += '"valve sticks'
    lines[last] += 'ok again"'
    path.write_text("\n".join(lines), "cp932")
    with pytest.raises(LogError, match=rf"row {first + 1}: found a row that goes on to line {last + 1}, .*not closed"):
        read((path, mapped))


@pytest.mark.parametrize("line", [5, -1])
def test_a_line_that_is_cut_is_refused_with_its_row_and_so_is_one_too_long(frame, write, line) -> None:
    path, mapped = write(frame)
    lines = path.read_text("cp932").splitlines()
    number = line % len(lines) + 1
    cut = lines.copy()
    cut[line] = cut[line][:22]  # 2026/04/01 08:01:18,8…
    path.write_text("\n".join(cut), "cp932")
    with pytest.raises(LogError, match=rf"export.csv: row {number}: found 2 fields, expected 6 .*the line was cut"):
        read((path, mapped))
    lines[5] += ",7"
    path.write_text("\n".join(lines), "cp932")
    with pytest.raises(LogError, match=r"export.csv: row 6: found 7 fields, expected 6 .*decimal comma in quotes"):
        read((path, mapped))


def test_a_column_of_the_map_that_is_there_twice_is_refused_and_another_one_is_not(frame, write) -> None:
    path, mapped = write(frame)
    head, *rows = path.read_text("cp932").splitlines()
    path.write_text("\n".join([f"{head},反応器温度", *(f"{row},99" for row in rows)]), "cp932")
    with pytest.raises(
        LogError, match=r"'反応器温度' more than once \(columns 3 and 7\), expected it once for signals.T.column"
    ):
        read((path, mapped))
    path.write_text("\n".join([f"{head},備考,備考,", *(f"{row},a,b," for row in rows)]), "cp932")
    assert len(read((path, mapped)).time) == len(frame)


def test_empty_lines_are_passed_over_and_rows_are_still_those_of_the_file(frame, write) -> None:
    frame.loc[7, "反応器温度"] = "warm"
    path, mapped = write(frame)
    lines = path.read_text("cp932").splitlines()
    path.write_text("\n".join([*lines[:4], "", "", *lines[4:]]), "cp932")
    with pytest.raises(LogError, match=r"row 11, column 反応器温度: found 'warm'"):
        read((path, mapped))


def test_offsets_may_change_and_a_time_without_one_among_them_is_refused_with_its_row(frame, write) -> None:
    few = frame.head(4).copy()
    few["日時"] = [
        "2026-10-25 02:58:00+02:00",
        "2026-10-25 02:59:00+02:00",
        "2026-10-25 02:00:00+01:00",
        "2026-10-25T01:01:00Z",
    ]
    iso = MAP.replace('format: "%Y/%m/%d %H:%M:%S", ', "")
    export = read(write(few, iso))
    assert np.datetime64(int(export.time[0]), "ns") == np.datetime64("2026-10-25T00:58:00")
    assert set(np.diff(export.time)) == {60_000_000_000}
    few.loc[2, "日時"] = "2026-10-25 02:00:00"
    with pytest.raises(
        LogError, match=r"row 4, column 日時: found '2026-10-25 02:00:00' after .*an offset from UTC in every time"
    ):
        read(write(few, iso))


def test_parquet_is_read_with_times_and_numbers_as_they_are(frame, write, tmp_path) -> None:
    path, mapped = write(frame)
    typed = frame.assign(日時=pd.to_datetime(frame["日時"], format="%Y/%m/%d %H:%M:%S"))
    for column in ("反応器濃度", "反応器温度", "ジャケット温度", "濃度設定値"):
        typed[column] = typed[column].astype(float)
    other = tmp_path / "export.parquet"
    typed.to_parquet(other, index=False)
    ours, theirs = read((path, mapped)), read((other, mapped))
    assert ours.time.tolist() == theirs.time.tolist()
    np.testing.assert_array_equal(ours.values["T"], theirs.values["T"])
    typed.loc[3, "反応器温度"] = np.inf
    typed.to_parquet(other, index=False)
    with pytest.raises(LogError, match=r"export\.parquet: row 4, column 反応器温度: found inf, expected a number"):
        read((other, mapped))


def test_a_batch_column_is_read_as_text(frame, write) -> None:
    frame["バッチ"] = ["A"] * 10 + ["B"] * (len(frame) - 10)
    export = read(write(frame, MAP + "episodes: {column: バッチ}\n"))
    assert export.batch.tolist() == ["A"] * 10 + ["B"] * (len(frame) - 10)


@pytest.mark.parametrize("kind", ["csv", "parquet", "numbers"])
def test_a_row_without_its_batch_is_refused(frame, write, tmp_path, kind) -> None:
    frame["バッチ"] = ["A"] * len(frame)
    path, mapped = write(frame.assign(バッチ=["A", *[""] * 9, *["B"] * 51]), MAP + "episodes: {column: バッチ}\n")
    if kind == "parquet":
        frame.loc[1:9, "バッチ"] = None
    if kind == "numbers":
        frame["バッチ"] = [7.0, *[float("nan")] * 9, *[8.0] * 51]
    if kind != "csv":
        path = tmp_path / "export.parquet"
        frame.to_parquet(path, index=False)
    number = 3 if kind == "csv" else 2
    with pytest.raises(
        LogError, match=rf"row {number}, column バッチ: found nothing, expected the batch .*9 such rows"
    ):
        read((path, mapped))


def test_a_batch_is_the_same_in_text_and_in_numbers(frame, write, tmp_path) -> None:
    frame["バッチ"] = 7.0
    frame.to_parquet(tmp_path / "export.parquet", index=False)
    path, mapped = write(frame.assign(バッチ=7), MAP + "episodes: {column: バッチ}\n")
    assert read((tmp_path / "export.parquet", mapped)).batch[0] == read((path, mapped)).batch[0] == "7"


@pytest.mark.parametrize(("good", "bad_row"), [("192", 10), ("0", 0)])
def test_zero_is_good_or_bad_as_the_map_says(frame, write, good, bad_row) -> None:
    frame["反応器温度_状態"] = ["192"] * 10 + ["0"] * (len(frame) - 10)
    export = read(write(frame, MAP.replace("正常", f'"{good}"')))
    assert export.bad["T"][[bad_row]].tolist() == [True]
    assert export.bad["T"].sum() in (10, len(frame) - 10)


def test_whole_numbers_are_codes_also_where_one_is_missing(frame, write, tmp_path) -> None:
    _, mapped = write(frame, MAP.replace("正常", '"192"'))
    frame["反応器温度_状態"] = [192.0] * 5 + [float("nan")] + [192.0] * (len(frame) - 6)
    frame.to_parquet(tmp_path / "export.parquet", index=False)
    assert np.flatnonzero(read((tmp_path / "export.parquet", mapped)).bad["T"]).tolist() == [5]


def test_an_empty_cell_among_texts_of_a_parquet_file_is_no_reading(frame, write, tmp_path) -> None:
    _, mapped = write(frame)
    frame.loc[3, "反応器温度"] = None
    frame.to_parquet(tmp_path / "export.parquet", index=False)
    assert np.flatnonzero(np.isnan(read((tmp_path / "export.parquet", mapped)).values["T"])).tolist() == [3]


def test_a_time_that_pandas_made_an_index_is_a_column_like_any_other(frame, write, tmp_path) -> None:
    path, mapped = write(frame)
    frame.set_index("日時").to_parquet(tmp_path / "export.parquet")
    assert read((tmp_path / "export.parquet", mapped)).time.tolist() == read((path, mapped)).time.tolist()


def test_a_parquet_file_without_rows_or_with_a_column_twice_is_refused(frame, write, tmp_path) -> None:
    _, mapped = write(frame)
    other = tmp_path / "export.parquet"
    frame.head(0).to_parquet(other, index=False)
    with pytest.raises(LogError, match=r"export.parquet: found a table without rows, expected samples"):
        read((other, mapped))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(pa.table([*table.columns, table["反応器温度"]], names=[*table.column_names, "反応器温度"]), other)
    with pytest.raises(LogError, match=r"'反応器温度' more than once \(columns 3 and 7\)"):
        read((other, mapped))
    notes = table["反応器温度_状態"]
    pq.write_table(pa.table([*table.columns, notes, notes], names=[*table.column_names, "備考", "備考"]), other)
    assert len(read((other, mapped)).time) == len(frame)


@pytest.mark.parametrize("content", ["", "\n\n", ",,\n"])
def test_a_file_without_column_names_says_so(frame, write, content) -> None:
    path, mapped = write(frame)
    path.write_text(content)
    with pytest.raises(LogError, match=r"export.csv: found no column names in line 1, expected a header there"):
        read((path, mapped))


@pytest.mark.parametrize("text", ["1e39", "-1e200"])
def test_a_number_that_the_log_cannot_hold_is_refused_with_its_row(frame, write, text) -> None:
    frame.loc[10, "反応器温度"] = text
    with pytest.raises(LogError, match=r"row 12, column 反応器温度: found .*, expected a number up to 3.403e\+38"):
        read(write(frame))


@pytest.mark.parametrize("year", ["2569", "1500"])
def test_a_year_that_the_log_cannot_hold_is_refused_with_its_row(frame, write, year) -> None:
    frame["日時"] = [text.replace("2026", year) for text in frame["日時"]]
    with pytest.raises(
        LogError, match=rf"row 2, column 日時: found '{year}/.*, expected a year from 1678 to 2261.*543"
    ):
        read(write(frame))


@pytest.mark.parametrize(("value", "told"), [(None, "nothing"), (1767225600000, "'1767225600000'")])
def test_a_time_that_is_none_is_shown_as_it_stands(frame, write, tmp_path, value, told) -> None:
    _, mapped = write(frame, MAP.replace(', format: "%Y/%m/%d %H:%M:%S"', ""))
    frame["日時"] = value
    frame.to_parquet(tmp_path / "export.parquet", index=False)
    with pytest.raises(LogError, match=rf"row 1, column 日時: found {told}, expected a time as in 2026"):
        read((tmp_path / "export.parquet", mapped))
