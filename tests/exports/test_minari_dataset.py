"""Minari reads back what the step log says: one observation more than actions, and a cut is no termination."""

from __future__ import annotations

import json
from pathlib import Path

import minari
import numpy as np
import pytest

from fpo_pilot.exports.choice import Action, Choice, Observations
from fpo_pilot.exports.episodes import read_log
from fpo_pilot.exports.minari_dataset import dataset_id, write_minari
from tests.exports.conftest import Make, logged, plant

SIGNALS = Choice(observations=Observations.SIGNALS)


def exported(run: Path, folder: Path, choice: Choice) -> minari.MinariDataset:
    write_minari(read_log(run, choice), folder)
    return minari.MinariDataset(folder / "data")


def test_rows_are_those_of_the_log_and_a_cut_episode_ends_with_its_true_last_reading(run, tmp_path) -> None:
    dataset, log = exported(run, tmp_path / "cstr", SIGNALS), logged(run)
    episodes = list(dataset.iterate_episodes())
    assert dataset.total_episodes == len(episodes) == 3
    assert dataset.total_steps == 3 + 3 + 2
    for one, first, rows in zip(episodes, (0, 3, 7), (3, 4, 3), strict=True):
        seen = log.loc[first : first + rows - 1, ["obs.Ca", "obs.T", "ref.Ca_sp"]].to_numpy()
        np.testing.assert_array_equal(one.observations[:rows], seen)
        steps = len(one.actions)
        assert len(one.observations) == steps + 1
        of_steps = log.loc[first : first + steps - 1]
        np.testing.assert_array_equal(one.actions, of_steps[["act.applied.Tc"]].to_numpy())
        np.testing.assert_array_equal(one.rewards, of_steps["reward.total"].to_numpy())
        assert one.observations.dtype == one.actions.dtype == np.float32
    tripped, whole, cut = episodes
    np.testing.assert_array_equal(tripped.observations[3], tripped.observations[2])  # nothing was read after the trip
    assert tripped.terminations.tolist() == [False, False, True]
    assert not tripped.truncations.any()
    for one in (whole, cut):
        assert not one.terminations.any()
        assert one.truncations.tolist() == [False] * (len(one.actions) - 1) + [True]


def test_what_a_policy_saw_is_as_computed_by_hand(run, tmp_path) -> None:
    dataset = exported(run, tmp_path / "cstr", Choice(arms=("incumbent",)))
    first = next(iter(dataset.iterate_episodes()))
    # Ca 0.80 to 0.95 · T 315 to 335 K · error ±0.05 · set point in 1 and 3 steps, 0.84 to 0.91 · last Tc 290 to 310 · progress
    ahead = 2.0 * (0.85 - 0.84) / 0.07 - 1.0
    wanted = [
        [-1.0, -0.5, -1.0, ahead, ahead, 0.0, -1.0],
        [-1.0 + 2 / 15, -0.4, -0.8, ahead, ahead, 0.0, -1.0 + 2 / 60],
        [-1.0 + 4 / 15, -0.3, -0.6, ahead, ahead, 0.1, -1.0 + 4 / 60],
    ]
    np.testing.assert_allclose(first.observations[:3], wanted, atol=2e-6)
    np.testing.assert_allclose(first.actions[:, 0], [0.0, 0.1, 0.2], atol=1e-6)


def test_a_path_that_is_not_absolute_will_do(run, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert exported(run, Path("cstr"), SIGNALS).total_episodes == 3


def test_the_environment_of_the_log_comes_back_with_the_spaces_of_the_data(run, tmp_path) -> None:
    dataset = exported(run, tmp_path / "cstr", Choice())
    env = dataset.recover_environment()
    assert env.action_space == dataset.action_space
    assert env.observation_space.shape == dataset.observation_space.shape
    env.close()
    assert exported(run, tmp_path / "other", SIGNALS).env_spec is None  # its numbers are of other spaces


def test_proposals_are_exported_on_request_and_the_space_holds_them(run, tmp_path) -> None:
    dataset = exported(run, tmp_path / "cstr", Choice(action=Action.PROPOSED))
    asked = np.concatenate([one.actions[:, 0] for one in dataset.iterate_episodes()])
    np.testing.assert_allclose(asked * 10, [0, 2, 4, 6, 8, 10, 14, 16], atol=1e-5)
    assert asked.max() > 1.0, "the case must go beyond the limits"
    for one in dataset.iterate_episodes():
        assert all(dataset.action_space.contains(action) for action in one.actions)
        assert all(dataset.observation_space.contains(seen) for seen in one.observations)


def test_origin_units_and_rows_are_in_the_metadata(run, tmp_path) -> None:
    dataset = exported(run, tmp_path / "cstr-v3", Choice())
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    facts = dataset.storage.metadata["fpo_pilot"]
    assert facts == json.loads((tmp_path / "cstr-v3" / "fpo_pilot.json").read_text("utf-8"))
    assert facts["plant_sha256"] == manifest["hashes"]["plant"]
    assert facts["safety_sha256"] == manifest["hashes"]["safety"]
    assert len(facts["ledger_root"]) == 64
    assert facts["action"] == [
        {"name": "Tc", "unit": "K", "low": -1.0, "high": 1.0, "minus_one": 290.0, "plus_one": 310.0}
    ]
    assert facts["observation"][1]["minus_one"] == pytest.approx(315.0)
    assert facts["ends"] == {"termination": 1, "truncation": 1, "cut": 1}
    assert dataset.spec.dataset_id == "cstr-v3"
    of_episodes = [json.loads(one["fpo_pilot"]) for one in dataset.storage.get_episode_metadata(range(3))]
    assert [(one["arm"], one["seq_first"], one["seq_last"], one["end"]) for one in of_episodes] == [
        ("incumbent", 0, 2, "termination"),
        ("incumbent", 3, 6, "truncation"),
        ("flow", 7, 9, "cut"),
    ]
    assert [one["end_reason"] for one in of_episodes] == ["trip", "horizon", None]
    assert [one["shield"] for one in of_episodes] == [True, True, False]


def test_behind_a_gap_the_history_of_a_policy_is_waited_for(make: Make) -> None:
    def lose(rows: dict) -> None:
        rows["step"] = np.array([0, 1, 2, 0, 1, 2, 3, 1, 2, 3, 0, 1])  # of the third episode, step 0

    run = make(change=lose)
    seen = read_log(run, Choice())
    assert [one.facts["seq_first"] for one in seen.episodes] == [0, 3, 8]
    assert seen.rows_left_out == 1
    late = seen.episodes[2]
    assert (late.rows, late.transitions, late.facts["step_first"]) == (2, 1, 2)
    np.testing.assert_allclose(late.observations[:, 1], [0.3, 0.4], atol=1e-6)
    raw = read_log(run, SIGNALS)
    assert [one.facts["seq_first"] for one in raw.episodes] == [0, 3, 7]
    assert raw.rows_left_out == 0


def test_a_row_without_one_after_it_is_no_transition(make: Make) -> None:
    def lose(rows: dict) -> None:
        rows["step"] = np.array([0, 1, 2, 0, 1, 2, 3, 0, 2, 3, 0, 1])  # of the third episode, step 1

    raw = read_log(make(change=lose), SIGNALS)
    assert [one.facts["seq_first"] for one in raw.episodes] == [0, 3, 8]
    assert raw.rows_left_out == 1


@pytest.mark.parametrize(
    ("name", "wanted"), [("cstr", "cstr-v0"), ("cstr-v2", "cstr-v2"), ("plant 1.5", "plant-1-5-v0"), ("v1", "v1-v0")]
)
def test_an_id_is_made_of_the_folder_and_is_one_that_minari_takes(name: str, wanted: str) -> None:
    assert dataset_id(name) == wanted
    assert minari.dataset.minari_dataset.parse_dataset_id(wanted)[2] == int(wanted[-1])


def test_the_plant_of_the_tests_has_the_limits_that_they_compute_with() -> None:
    assert (plant().action_low, plant().action_high) == ((290.0,), (310.0,))
