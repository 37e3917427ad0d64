"""Two files may both have the samples at their border, if they are the same; they are taken once, and counted."""

from __future__ import annotations

import numpy as np
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion import quality_report
from fpo_pilot.ingestion.account import markdown
from tests.ingestion.conftest import MAP
from tests.ingestion.test_episodes import BATCH, DECLARED, DENSITY, take


@pytest.mark.parametrize("border", [31, 35])
@pytest.mark.parametrize("text", [MAP, BATCH, DENSITY], ids=["plain", "batch", "density"])
def test_samples_that_two_files_both_have_are_taken_once_and_counted(frame, write, border, text) -> None:
    frame["バッチ"], frame["密度"] = "B7", -1.5
    frame.loc[30, ["反応器温度", "密度"]] = "", np.nan  # nothing equals nothing
    frame.loc[31, "反応器温度_状態"] = "異常"
    whole = take(write(frame, text))
    late, early = write(frame.iloc[30:], text, name="b.csv"), write(frame.iloc[:border], text, name="a.csv")
    found = take(late, early)
    assert found.repeated == border - 30
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(np.asarray(found.columns[name]), np.asarray(column), err_msg=name)
    report = quality_report(found, DECLARED, (late[0], early[0]), {"Tc": (295.0, 302.0)}, "none")
    assert f"the same in every column: {border - 30}; each" in markdown(report, "en")
    assert whole.repeated == 0


def test_a_file_inside_others_and_one_given_twice_add_nothing(frame, write) -> None:
    whole = take(write(frame))
    parts = [
        write(frame.iloc[rows], name=f"{index}.csv")
        for index, rows in enumerate((slice(0, 30), slice(28, 61), slice(25, 35)))
    ]
    found = take(*parts, parts[0])
    assert found.repeated == 2 + 10 + 30
    np.testing.assert_array_equal(found.columns["reward.total"], whole.columns["reward.total"])


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("反応器温度", "50", r"found 323\.15 at 2026-04-01 08:13:00\+09:00, expected 3.*, as in row 32 of .*a\.csv"),
        ("反応器温度", "", r"found nothing at .*, expected 3"),
        ("反応器温度_状態", "異常", r"found a bad reading at .*, expected a good one"),
        ("バッチ", "B8", r"found B8 at .*, expected B7"),
        ("密度", "-2", r"found -2 at .*, expected -1\.5"),
    ],
)
def test_another_sample_at_the_same_time_is_refused_with_its_column(frame, write, column, value, told) -> None:
    frame["バッチ"], frame["密度"] = "B7", "-1.5"
    late = frame.iloc[30:].copy()
    late.iloc[0, late.columns.get_loc(column)] = value
    text = DENSITY + "episodes: {column: バッチ}\n"
    early = write(frame.iloc[:31], text, name="a.csv")
    with pytest.raises(LogError, match=rf"b\.csv: row 2, column {column}: {told}.*Cut the part that both have"):
        take(early, write(late, text, name="b.csv"))


def test_a_sample_that_only_one_of_two_overlapping_files_has_is_refused(frame, write) -> None:
    early, late = write(frame.iloc[:35], name="a.csv"), write(frame.iloc[30:].drop(index=32), name="b.csv")
    with pytest.raises(
        LogError,
        match=r"a\.csv: row 34, column 日時: found a sample at 2026-04-01 08:13:52\+09:00, .*b\.csv does not have",
    ):
        take(early, late)
    early, late = write(frame.iloc[:35].drop(index=32), name="a.csv"), write(frame.iloc[30:], name="b.csv")
    with pytest.raises(LogError, match=r"b\.csv: row 4, column 日時: found a sample at .*a\.csv does not have"):
        take(early, late)


def test_a_sample_that_a_third_file_has_where_two_have_none_is_refused(frame, write) -> None:
    """Row 21 lies between what was taken of the first and what was taken of the second."""
    parts = [
        write(frame.iloc[:21], name="a.csv"),
        write(frame.iloc[18:].drop(index=21), name="b.csv"),
        write(frame.iloc[19:25], name="c.csv"),
    ]
    with pytest.raises(LogError, match=r"c\.csv: row 4, column 日時: found a sample at 2026-04-01 08:09:06"):
        take(*parts)


def test_a_file_that_fills_what_is_missing_between_two_others_is_taken(frame, write) -> None:
    parts = [write(frame.iloc[rows], name=f"{rows.start}.csv") for rows in (slice(0, 20), slice(21, 61), slice(18, 25))]
    found = take(*parts)
    assert (found.rows, found.repeated) == (60, 2 + 4)
