"""Logs are read as they are, or refused with row and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.identification import read_log
from fpo_pilot.logs import StepLog, step_schema


def frame(episodes: int = 2, steps: int = 5) -> pd.DataFrame:
    """Return a flat log whose values tell episode, step and column: x = 1.03 is episode 1, step 3."""
    episode, step = np.divmod(np.arange(episodes * steps), steps)
    value = episode + step / 100
    return pd.DataFrame({"episode": episode, "step": step, "x": value, "y": -value, "u": step / 10, "v": -step / 10})


def write(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_flat_table_is_read(tmp_path: Path, spec, name: str) -> None:
    log = read_log(write(frame(), tmp_path / name), spec())
    assert (log.signals, log.actions, log.episodes, log.rows) == (("x", "y"), ("u", "v"), 2, 10)
    assert [s.episode for s in log.stretches] == [0, 1]
    assert log.stretches[1].measured[3].tolist() == pytest.approx([1.03, -1.03])
    assert log.stretches[1].applied[3].tolist() == pytest.approx([0.3, -0.3])


def test_times_count_the_steps(tmp_path: Path, spec) -> None:
    table = frame().drop(columns="step")
    seconds = [0.0, 2.0, 4.0, 8.0, 10.0] * 2  # the period is 2 s; the sample at 6 s is missing
    log = read_log(write(table.assign(time=np.array(seconds) + 100.0), tmp_path / "log.csv"), spec())
    assert [len(s.measured) for s in log.stretches] == [3, 2, 3, 2]
    assert log.gaps == 2
    dates = pd.Timestamp("2026-04-01 08:00:00") + pd.to_timedelta(seconds, unit="s")
    dated = read_log(write(table.assign(time=dates.astype(str)), tmp_path / "dated.csv"), spec())
    assert [len(s.measured) for s in dated.stretches] == [3, 2, 3, 2]


def test_bad_readings_are_cut_out_and_counted(tmp_path: Path, spec) -> None:
    quality = [0] * 10
    quality[2] = 1
    table = frame().assign(**{"quality.x": quality})
    table.loc[2, "x"] = np.nan  # missing, and marked as such
    table.loc[9, "v"] = 1.5  # beyond the actuator's range
    log = read_log(write(table, tmp_path / "log.parquet"), spec())
    assert (log.rows_bad, log.gaps) == (2, 1)
    assert [len(s.measured) for s in log.stretches] == [2, 2, 4]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop(columns="v"), r"found no column v, expected one for each"),
        (lambda t: t.drop(columns="episode"), r"found no column episode"),
        (lambda t: t.drop(columns="step"), r"found no column step.*Add a column step, or time"),
        (lambda t: t.assign(y=t.y.where(t.index != 3)), r"row 4, column y: found nan, expected a number.*quality\.y"),
        (lambda t: t.assign(u=t.u.where(t.index != 6)), r"row 7, column u: found nan, expected the action"),
        (
            lambda t: t.assign(x=t.x.astype(object).where(t.index != 1, "bad")),
            r"row 2, column x: found 'bad', expected a nu",
        ),
        (lambda t: t.assign(step=t.step.where(t.index != 4, 3)), r"row 5, column step: found step 3 a second time"),
        (lambda t: t.iloc[[0, 2, 1, 3, 4]], r"row 3, column step: found step 1 after step 2, expected steps that grow"),
        (lambda t: t.assign(step=t.step + 0.5), r"row 1, column step: found 0.5, expected a whole number"),
        (lambda t: t.assign(episode=t.episode.where(t.index != 8)), r"row 9, column episode: found nothing"),
        (
            lambda t: t.drop(columns="step").assign(time=t.step * 1.7),
            r"row 2, column time: found 1.7 s.*the period, 2 s",
        ),
        (lambda t: t.drop(columns="step").assign(time="noon"), r"row 1, column time: found 'noon', expected seconds"),
        (lambda t: t.assign(y=t.y + 273.15), r"10 of 10 rows .* because of y, .* unit and the range of y"),
        (lambda t: t.iloc[:0], r"found a table without rows"),
    ],
)
def test_a_bad_log_is_refused_with_row_and_column(tmp_path: Path, spec, spoil, message: str) -> None:
    for name in ("log.csv", "log.parquet"):
        path = tmp_path / name
        if name == "log.parquet" and "'bad'" in message:
            continue  # Parquet columns have one type
        with pytest.raises(LogError, match=message):
            read_log(write(spoil(frame()), path), spec())


def test_files_that_are_no_log_are_refused(tmp_path: Path, spec) -> None:
    with pytest.raises(LogError, match=r"nothing\.csv: found no file"):
        read_log(tmp_path / "nothing.csv", spec())
    (tmp_path / "log.txt").write_text("a", "utf-8")
    with pytest.raises(LogError, match=r"expected \.parquet or \.csv"):
        read_log(tmp_path / "log.txt", spec())
    (tmp_path / "log.parquet").write_text("a", "utf-8")
    with pytest.raises(LogError, match="no readable table"):
        read_log(tmp_path / "log.parquet", spec())
    with pytest.raises(LogError, match="found no a step log"):
        read_log(tmp_path, spec())


def write_step_log(run: Path, spec, arms: tuple[str, ...] = ("flow", "incumbent")) -> None:
    """Write a step log of two arms with an episode each of the same number, and one episode of another scenario."""
    with StepLog(run, "offline", step_schema(spec(), None)) as log:
        for number, (arm, scenario) in enumerate([*((arm, "nominal") for arm in arms), (arms[0], "clogged")]):
            steps = np.arange(4)
            log.append(
                {
                    "t": (steps * 2_000_000_000).astype("datetime64[ns]"),
                    "episode_id": np.zeros(4, np.int64),
                    "step": steps,
                    "arm": arm,
                    "scenario": scenario,
                    "terminated": False,
                    "truncated": steps == 3,
                    "obs.x": number + steps / 100,
                    "obs.y": steps / 100,
                    "quality.x": np.array([0, 0, 0, 2]),
                    "act.applied.u": steps / 10,
                    "act.applied.v": steps / 10,
                }
            )


def test_our_own_step_log_is_read_episode_by_episode(tmp_path: Path, spec) -> None:
    write_step_log(tmp_path, spec)
    for path in (tmp_path, tmp_path / "steps", tmp_path / "steps" / "stage=offline"):
        log = read_log(path, spec())
        assert (log.episodes, log.rows, log.rows_elsewhere, log.rows_bad) == (2, 12, 4, 2)
        assert [s.measured[:, 0].round(6).tolist() for s in log.stretches] == [[0, 0.01, 0.02], [1, 1.01, 1.02]]
    segment = next((tmp_path / "steps" / "stage=offline").glob("*.parquet"))
    assert read_log(segment, spec()).episodes == 2


def test_a_log_with_another_period_is_refused(tmp_path: Path, spec) -> None:
    write_step_log(tmp_path, spec)
    with pytest.raises(LogError, match=r"2 s between two rows, expected 3 s"):
        read_log(tmp_path, spec(timing={"period": 3.0, "horizon": 60}))
