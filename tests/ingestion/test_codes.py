"""Quality codes are judged over all files of a record: a sensor may be bad for a whole day, and a map may name the wrong codes."""

from __future__ import annotations

import numpy as np
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion import quality_report
from fpo_pilot.ingestion.account import warnings
from tests.ingestion.conftest import MAP
from tests.ingestion.test_episodes import BATCH, DECLARED, take


def test_a_sensor_that_is_bad_in_a_whole_file_has_bad_readings_there_like_any_others(frame, write) -> None:
    """Without the file, the batch would begin at step 0 where it is at step 31."""
    frame["バッチ"] = "B7"
    frame.loc[:30, "反応器温度_状態"] = "異常"
    early, late = write(frame.iloc[:31], BATCH, name="a.csv"), write(frame.iloc[31:], BATCH, name="b.csv")
    found = take(early, late)
    whole = take(write(frame, BATCH))
    assert found.columns["step"].tolist() == whole.columns["step"].tolist() == list(range(31, 60))
    np.testing.assert_array_equal(found.columns["reward.total"], whole.columns["reward.total"])
    report = quality_report(found, DECLARED, (early[0], late[0]), {"Tc": (295.0, 302.0)}, "none")
    assert any(
        "T: every reading in a.csv is bad (most often with the code '異常')" in line for line in warnings(report, "en")
    )
    assert any("T：a.csvでは" in line for line in warnings(report, "ja"))


def test_a_record_of_which_no_reading_is_good_is_refused_with_its_codes(frame, write) -> None:
    frame["反応器温度_状態"] = ["GOOD"] * (len(frame) - 1) + ["Bad"]
    told = r"a.csv: row 2, column 反応器温度_状態: found 'GOOD' \(60 times\), 'Bad' \(1 times\) in 2 files, expected '正常'"
    with pytest.raises(LogError, match=told):
        take(write(frame.iloc[:31], name="a.csv"), write(frame.iloc[31:], name="b.csv"))


def test_zero_and_192_are_never_both_good_also_where_each_is_in_a_file_of_its_own(frame, write) -> None:
    """One of them is bad in any scheme: 192 is good in OPC DA, where 0 is bad."""
    frame["反応器温度_状態"] = ["192"] * 10 + ["0"] * (len(frame) - 10)
    both = MAP.replace("正常", '"0", "192"')
    told = r"column 反応器温度_状態: found 0 and 192 in one column, both good \(the other one in row"
    with pytest.raises(LogError, match=rf"export\.csv: row 2, {told} 12\), expected only one of them under `good:`"):
        take(write(frame, both))
    with pytest.raises(LogError, match=rf"b\.csv: row 2, {told} 2 of .*a\.csv\), expected only one"):
        take(write(frame.iloc[:10], both, name="a.csv"), write(frame.iloc[10:], both, name="b.csv"))
    frame["反応器温度_状態"] = "192"
    assert take(write(frame, both)).rows == 60
