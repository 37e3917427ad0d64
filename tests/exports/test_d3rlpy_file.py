"""d3rlpy's file holds every row: it takes the next observation from the row after, and none at a termination."""

from __future__ import annotations

import json

import h5py
import numpy as np

from fpo_pilot.exports.choice import Choice, Observations
from fpo_pilot.exports.d3rlpy_file import write_d3rlpy
from fpo_pilot.exports.episodes import read_log
from tests.exports.conftest import logged


def test_each_episode_has_its_rows_of_the_log_and_says_whether_it_terminated(run, tmp_path) -> None:
    write_d3rlpy(read_log(run, Choice(observations=Observations.SIGNALS)), tmp_path / "cstr.h5")
    log = logged(run)
    with h5py.File(tmp_path / "cstr.h5") as file:
        assert file["version"][()] == b"2.1"
        assert file["num_episodes"][()] == 3
        assert [one.decode() for one in file["columns"][()]] == ["observations", "actions", "rewards", "terminated"]
        assert [bool(file[f"terminated_{i}"][()]) for i in range(3)] == [True, False, False]
        for i, (first, last) in enumerate(((0, 2), (3, 6), (7, 9))):
            rows = log.loc[first:last]
            np.testing.assert_array_equal(file[f"observations_{i}"], rows[["obs.Ca", "obs.T", "ref.Ca_sp"]].to_numpy())
            np.testing.assert_array_equal(file[f"actions_{i}"], rows[["act.applied.Tc"]].to_numpy())
            np.testing.assert_array_equal(file[f"rewards_{i}"], rows[["reward.total"]].to_numpy())
            assert file[f"actions_{i}"].dtype == file[f"rewards_{i}"].dtype == np.float32
            facts = json.loads(file[f"observations_{i}"].attrs["fpo_pilot"])
            assert (facts["seq_first"], facts["seq_last"]) == (first, last)
        assert json.loads(file.attrs["fpo_pilot"])["rows"] == 10
