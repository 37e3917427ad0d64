"""An ingested episode is the one that the simulation logged; gaps cut, old readings are held, and ends are told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion import Ingested, ingest, quality_report, read_export
from fpo_pilot.ingestion.account import markdown, warnings
from fpo_pilot.ingestion.declared import DeclaredPlant
from fpo_pilot.specs import load_ingestion_map, load_plant_spec, load_safety_spec
from fpo_pilot.specs.safety import Limit
from tests.ingestion.conftest import MAP, PLANT

SPEC = load_plant_spec(PLANT)
SAFETY = load_safety_spec(PLANT, SPEC)
DECLARED = DeclaredPlant(SPEC, SAFETY)


def take(*paths, declared: DeclaredPlant = DECLARED) -> Ingested:
    wanted = load_ingestion_map(paths[0][1], SPEC)
    return ingest([read_export(path, wanted, SPEC) for path, _ in paths], wanted, declared)


def test_readings_actions_rewards_and_margins_are_those_of_the_simulation(frame, write, logged) -> None:
    found = take(write(frame))
    columns = found.columns
    assert (found.episodes, found.rows, found.gaps, found.no_reward) == (1, 60, (), ())
    np.testing.assert_allclose(columns["obs.T"], logged["T"], rtol=1e-12)
    np.testing.assert_allclose(columns["act.applied.Tc"], logged["Tc"], rtol=1e-12)
    np.testing.assert_allclose(columns["ref.Ca_sp"], logged["Ca_sp"], rtol=1e-12)
    np.testing.assert_allclose(columns["reward.total"], logged["reward"], rtol=1e-5, atol=1e-9)
    for name in (key for key in logged if key.startswith("margin.")):
        np.testing.assert_allclose(columns[name], logged[name], rtol=1e-9)
    assert columns["step"].tolist() == list(range(60))
    assert columns["truncated"].tolist() == [False] * 59 + [True]
    assert columns["end_reason"][-1] == "horizon"
    assert columns["act.incumbent.Tc"].tolist() == columns["act.applied.Tc"].tolist()


def test_the_first_step_of_an_episode_has_no_change_of_action(frame, write) -> None:
    """Cut at step 20: as in the simulation, nothing is known of the action before."""
    whole = take(write(frame)).columns["reward.total"]
    cut = take(write(frame, MAP + "episodes: {steps: 20}\n"))
    assert cut.episodes == 3
    assert cut.columns["episode_id"].tolist() == [0] * 20 + [1] * 20 + [2] * 20
    same = np.isclose(cut.columns["reward.total"], whole, rtol=1e-12)
    assert not same[20]
    assert same[21:40].all()


def test_a_gap_cuts_and_is_named_and_a_short_one_is_held(frame, write) -> None:
    short = frame.drop(index=[10])
    found = take(write(short))
    assert found.episodes == 1
    assert found.columns["obs.T"][10] == found.columns["obs.T"][9]
    long = frame.drop(index=range(10, 14))
    found = take(write(long))
    assert found.episodes == 2
    assert [gap.seconds for gap in found.gaps] == [130.0]
    assert found.columns["end_reason"][8] == "gap"
    assert found.rows == 9 + 46  # the last row before a gap shows what came of the step before, and has none of its own


def test_a_gap_inside_a_batch_is_a_hole_and_one_longer_than_an_episode_cuts(frame, write) -> None:
    frame["バッチ"] = "A"
    long = frame.drop(index=range(10, 14))
    found = take(write(long, MAP + "episodes: {column: バッチ}\n"))
    assert [gap.seconds for gap in found.gaps] == [130.0]
    assert (found.episodes, found.without_value) == (1, 4)  # nothing is filled in; what came of step 9 is not known
    assert found.columns["step"].tolist() == [*range(9), *range(14, 60)]
    cut = take(write(long))
    for name in ("obs.T", "reward.total"):
        np.testing.assert_array_equal(found.columns[name], cut.columns[name], err_msg=name)
    found = take(write(frame.drop(index=range(10, 40)), MAP + "episodes: {column: バッチ, steps: 30}\n"))
    assert found.episodes == 2
    assert found.columns["step"].tolist() == [*range(9), *range(20)]


def test_between_samples_readings_are_held_or_on_a_line_and_actions_always_held(frame, write) -> None:
    sparse = frame.iloc[::2]
    held = take(write(sparse)).columns
    line = take(write(sparse, MAP + "resampling: {method: linear}\n")).columns
    assert held["obs.T"][1] == held["obs.T"][0]
    assert line["obs.T"][1] == pytest.approx((line["obs.T"][0] + line["obs.T"][2]) / 2, rel=1e-12)
    assert line["act.applied.Tc"][1] == line["act.applied.Tc"][0]


def test_bad_readings_are_held_while_they_are_young_and_then_a_hole_whose_steps_are_counted(
    frame, write, logged
) -> None:
    frame.loc[10:16, "反応器温度_状態"] = "異常"
    found = take(write(frame))
    columns, steps = found.columns, [*range(12), *range(17, 60)]  # what came of step 12 is not known
    assert found.quality["T"][8:18].tolist() == [0, 0, 2, 2, 2, 1, 1, 1, 1, 0]
    assert (found.episodes, found.without_value) == (1, 4)
    assert columns["step"].tolist() == steps
    assert columns["obs.T"][11] == columns["obs.T"][9]
    assert np.isfinite(columns["obs.T"]).all()
    np.testing.assert_allclose(columns["ref.Ca_sp"], logged["Ca_sp"][steps], rtol=1e-12)
    true = np.isclose(columns["reward.total"], logged["reward"][steps], rtol=1e-5, atol=1e-9)
    assert np.flatnonzero(~true).tolist() == [12]  # step 17: as at a beginning, nothing is known of the action before
    assert columns["truncated"].tolist() == [False] * 54 + [True]
    frame.loc[30, "反応器温度"] = "500"
    assert take(write(frame)).quality["T"][30] == 3


def test_a_reading_is_good_only_while_it_is_younger_than_a_period(frame, write) -> None:
    """Samples every 70 s on a grid of 26 s: of the grid's times 0, 26, 52, 78, 104, 130 s the first and 78 s (8 s old) are fresh."""
    start = pd.Timestamp("2026-04-01 08:00:00")
    slow = frame.head(20).copy()
    slow["日時"] = [(start + pd.Timedelta(seconds=70 * row)).strftime("%Y/%m/%d %H:%M:%S") for row in range(20)]
    for more in ("", "resampling: {method: linear}\n"):
        found = take(write(slow, MAP + more))
        assert found.quality["T"][:7].tolist() == [0, 2, 2, 0, 2, 2, 0]  # 156 s is 16 s after 140 s
    assert found.quality["Tc"][:7].tolist() == [0, 2, 2, 0, 2, 2, 0]


def test_every_time_of_the_grid_is_in_the_account(frame, write) -> None:
    """A step before a hole was missing from it."""
    frame.loc[10:16, "反応器温度_状態"] = "異常"  # no value from 13 to 16
    frame.loc[30:36, "ジャケット温度"] = ""  # nor from 33 to 36
    path = write(frame.drop(index=range(50, 55)), MAP + "episodes: {at_least: 7}\n")
    found = take(path)
    assert (found.rows, found.without_value, found.without_outcome, found.dropped_rows) == (12 + 15 + 12, 8, 2, 5)
    assert found.rows + found.without_value + found.without_outcome + found.dropped_rows + 2 == 56  # 2 that end a piece
    report = quality_report(found, DECLARED, (path[0],), {"Tc": (295.0, 302.0)}, "none")
    assert "Left out, too, are 2 steps right before a hole" in markdown(report, "en")
    assert "欠落の直前の2周期も" in markdown(report, "ja")


def test_where_an_action_is_not_known_an_episode_has_a_hole(frame, write) -> None:
    frame.loc[20:30, "ジャケット温度"] = ""
    found = take(write(frame))
    assert found.columns["step"].tolist() == [*range(22), *range(31, 60)]  # held for three periods, 20 to 22
    assert np.isfinite(found.columns["act.applied.Tc"]).all()


def test_an_episode_that_goes_on_from_another_begins_where_something_is_known(frame, write) -> None:
    frame.loc[15:25, "反応器温度_状態"] = "異常"  # unknown from 18 to 25
    found = take(write(frame, MAP + "episodes: {steps: 20}\n"))
    steps = found.columns["step"].tolist()
    assert steps == [*range(17), *range(20), *range(14)]
    ends = [reason for reason in found.columns["end_reason"] if reason]
    assert ends == ["gap", "cut", "gap"]  # the first has its end in the hole


def test_a_trip_right_after_a_hole_is_not_lost(frame, write) -> None:
    assert SAFETY is not None
    frame.loc[10:16, "反応器温度_状態"] = "異常"
    frame.loc[18, "反応器温度"] = "90"  # 363.15 K, after the step from 17
    limit = Limit(id="T.trip", signal="T", high=360.0, kind="hard")
    found = take(write(frame), declared=DeclaredPlant(SPEC, SAFETY.model_copy(update={"limits": (limit,)})))
    row = found.columns["step"].tolist().index(17)
    assert found.columns["end_reason"][row] == "trip"


def test_the_report_tells_of_actions_that_are_missing_and_of_those_beyond_their_limits(frame, write) -> None:
    frame["ジャケット温度"] = "27"
    frame.loc[5:9, "ジャケット温度"] = "28.85"  # 302 K, the limit
    frame.loc[20:26, "ジャケット温度"] = ""  # held at 20, 21, 22; no value at 23 to 26
    frame.loc[40:49, "ジャケット温度"] = "60"  # 333.15 K
    path = write(frame)
    report = quality_report(take(path), DECLARED, (path[0],), {"Tc": (295.0, 302.0)}, "none")
    told = next(one for one in report.signals if one.signal == "Tc")
    assert (told.missing, told.held, told.outside) == (4 / 61, 3 / 61, 10 / 61)
    assert told.saturated == 5 / 55  # of the logged steps: beyond a limit is not at it
    assert any("Tc: no good reading in 11.5% of steps" in line for line in warnings(report, "en"))
    assert "At 4 times a reading, an action" in markdown(report, "en")


def test_a_hard_limit_ends_an_episode_as_a_trip(frame, write) -> None:
    assert SAFETY is not None
    hottest = np.array([float(value) for value in frame["反応器温度"]]) + 273.15
    crossed = int(np.argmax(hottest > np.sort(hottest)[30]))
    limit = Limit(id="T.trip", signal="T", high=float(np.sort(hottest)[30]), kind="hard")
    found = take(write(frame), declared=DeclaredPlant(SPEC, SAFETY.model_copy(update={"limits": (limit,)})))
    row = crossed - 1  # the step after which the reading is beyond the limit
    assert found.columns["terminated"][row]
    assert found.columns["end_reason"][row] == "trip"
    assert found.columns["margin.T.trip"][row] < 0.0


def test_files_are_put_in_order(frame, write) -> None:
    late, early = write(frame.iloc[30:], name="b.csv"), write(frame.iloc[:30], name="a.csv")
    found = take(late, early)
    assert np.all(np.diff(found.columns["t"].astype(np.int64)) > 0)


BATCH = MAP + "episodes: {column: バッチ}\n"


@pytest.mark.parametrize("text", [MAP, BATCH], ids=["no column", "one batch"])
def test_an_episode_that_crosses_two_files_is_the_one_of_a_single_file(frame, write, text) -> None:
    frame["バッチ"] = "B7"
    whole = take(write(frame, text))
    parts = [write(frame.iloc[30:], text, name="b.csv"), write(frame.iloc[:30], text, name="a.csv")]
    found = take(*parts)
    assert (found.episodes, found.rows, found.gaps) == (1, 60, ())
    assert found.columns["step"].tolist() == list(range(60))
    assert found.file.tolist() == [1] * 30 + [0] * 30
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(np.asarray(found.columns[name]), np.asarray(column), err_msg=name)


def test_a_gap_between_two_files_is_a_hole_in_a_batch_and_another_batch_begins_anew(frame, write) -> None:
    frame["バッチ"] = "B7"
    late = frame.iloc[34:].copy()
    found = take(write(frame.iloc[:30], BATCH, name="a.csv"), write(late, BATCH, name="b.csv"))
    assert found.episodes == 1
    assert [(gap.file, gap.seconds) for gap in found.gaps] == [(0, 130.0)]
    assert found.columns["step"].tolist() == [*range(29), *range(34, 60)]
    late["バッチ"] = "B8"
    found = take(write(frame.iloc[:30], BATCH, name="a.csv"), write(late, BATCH, name="b.csv"))
    assert found.columns["step"].tolist() == [*range(29), *range(26)]


def test_an_episode_that_the_map_cuts_has_not_reached_the_horizon(frame, write) -> None:
    """Whoever asks for the return of the task takes an episode that reached its horizon for a whole one."""
    cut = take(write(frame, MAP + "episodes: {steps: 20}\n")).columns["end_reason"]
    assert [reason for reason in cut if reason] == ["cut", "cut", "cut"]
    whole = take(write(frame, MAP + "episodes: {steps: 60}\n")).columns["end_reason"]
    assert [reason for reason in whole if reason] == ["horizon"]


def test_single_samples_between_gaps_are_counted_as_dropped(frame, write) -> None:
    lonely = frame.drop(index=[*range(20, 30), *range(31, 40), *range(41, 50)])
    found = take(write(lonely))
    assert (found.rows, found.dropped_episodes, found.dropped_rows) == (19 + 10, 2, 2)


def test_nothing_long_enough_is_refused(frame, write) -> None:
    with pytest.raises(LogError, match="found no episode of 100 steps"):
        take(write(frame, MAP + "episodes: {at_least: 100}\n"))


def test_the_report_names_what_is_worth_a_look_in_both_languages(frame, write) -> None:
    frame.loc[5:40, "反応器濃度"] = frame.loc[5, "反応器濃度"]
    frame.loc[45, "反応器温度"] = "500"
    other = frame.copy()
    other["日時"] = [text.replace("2026/04/01", "2026/04/02") for text in other["日時"]]
    other["反応器温度"] = [repr(float(value) + 8.0) for value in other["反応器温度"]]
    paths = [write(frame, name="a.csv"), write(other, name="b.csv")]
    found = take(*paths)
    report = quality_report(found, DECLARED, tuple(path for path, _ in paths), {"Tc": (290.0, 310.0)}, "none")
    by_name = {one.signal: one for one in report.signals}
    assert by_name["Ca"].longest_stuck == 36
    assert by_name["T"].outside == 2 / 122  # of all times of two files
    assert report.episodes == 4  # a reading of 773 K is beyond the hard limit: each file ends an episode there
    drift = {one.signal: one for one in report.drift}
    assert drift["T"].distance > 0.2
    assert drift["Tc"].distance == 0.0
    pair = next(one for one in report.coverage if (one.measured, one.action) == ("T", "Tc"))
    assert 0.0 < pair.visited < 0.5
    english, japanese = warnings(report, "en"), warnings(report, "ja")
    assert len(english) == len(japanese) >= 3
    assert any("Ca: the same value for 36 steps" in line for line in english)
    assert "importance sampling is off" in markdown(report, "en")
    assert "重点サンプリング" in markdown(report, "ja")
    assert markdown(report, "en").count("|") == markdown(report, "ja").count("|")


@pytest.mark.parametrize(
    ("unit", "scale"), [("degC", 1.0), ("degF", 1.8), ("mK", 1000.0)], ids=["same size", "smaller", "much smaller"]
)
def test_a_density_in_engineering_units_becomes_that_of_normalised_actions(frame, write, unit, scale) -> None:
    """Uniform over the limits 295 to 302 K: the density is 1/7 per K, 1/12.6 per °F, 1/7000 per mK, and 1/2 per normalised unit."""
    assert DECLARED.action_limits == {"Tc": (295.0, 302.0)}
    kelvin = np.array([float(value) for value in frame["ジャケット温度"]]) + 273.15
    frame["ジャケット温度"] = {"degC": kelvin - 273.15, "degF": kelvin * 1.8 - 459.67, "mK": kelvin * 1000.0}[unit]
    frame["密度"] = -np.log(7.0 * scale)
    text = (
        MAP.replace("ジャケット温度, unit: degC", f"ジャケット温度, unit: {unit}")
        + "behavior_density: known\nlog_density: 密度\n"
    )
    of_engineering = take(write(frame, text + "density_of: engineering\n")).columns["log_density"]
    np.testing.assert_allclose(of_engineering, np.log(0.5), rtol=1e-12)
    as_it_is = take(write(frame, text + "density_of: normalised\n")).columns["log_density"]
    np.testing.assert_allclose(as_it_is, -np.log(7.0 * scale), rtol=1e-12)


DENSITY = MAP + "behavior_density: known\nlog_density: 密度\ndensity_of: normalised\n"


def test_a_density_is_that_of_one_draw_and_held_actions_have_none(frame, write) -> None:
    """Samples every second period: an action that is held was not drawn again."""
    frame["密度"] = -1.0 - np.arange(len(frame)) / 100.0
    path = write(frame.iloc[::2], DENSITY)
    found = take(path)
    density = found.columns["log_density"]
    np.testing.assert_allclose(density[::2], frame["密度"][:60:2], rtol=1e-12)
    assert np.isnan(density[1::2]).all()
    report = quality_report(found, DECLARED, (path[0],), {"Tc": (295.0, 302.0)}, "known")
    assert report.without_density == 30
    assert "30 steps lack" in markdown(report, "en")
    assert "30周期" in markdown(report, "ja")


def test_a_row_has_no_density_where_its_action_has_no_value_of_its_own(frame, write) -> None:
    frame["密度"] = -1.0 - np.arange(len(frame)) / 100.0
    frame.loc[5, "ジャケット温度"] = ""
    density = take(write(frame, DENSITY)).columns["log_density"]
    assert np.flatnonzero(np.isnan(density)).tolist() == [5]
    np.testing.assert_allclose(np.delete(density, 5), np.delete(frame["密度"].to_numpy()[:60], 5), rtol=1e-12)


def test_a_reward_that_the_log_cannot_hold_is_refused_with_its_time(frame, write) -> None:
    frame.loc[10, "反応器濃度"] = "1e30"  # its square is in the reward
    with pytest.raises(
        LogError, match=r"found reward.* at 2026-03-31T23:0.* UTC, expected a number that the log can hold"
    ):
        take(write(frame))
