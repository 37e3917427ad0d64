"""A log is turned into what the policy would have seen, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fpo_pilot.errors import LogError
from fpo_pilot.learn.logged import read_logged
from fpo_pilot.learn.stretches import rows_before
from fpo_pilot.logs.reader import read_steps, segments
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields.build import build_stack
from fpo_pilot.shields.verdict import ShieldContext
from fpo_pilot.specs.training import WarmStart
from tests.learn.conftest import driven, plant_of

Write = Callable[..., Path]


def replayed(name: str, episodes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Drive the same episodes again; return observations, next observations and applied actions as a training sees them."""
    plant = plant_of(name)
    assert plant.safety is not None
    simulation = Simulation(plant, episodes, seed=7, autoreset=False)
    shield, incumbent = build_stack(plant.safety, plant.spec, dynamics=Prediction(plant)), incumbent_controller(plant)
    obs = simulation.reset()
    incumbent.reset(episodes)
    shield.reset()
    seen, after, done = [], [], []
    for _ in range(plant.horizon):
        asked = incumbent.act(simulation.signals(), simulation.applied)
        context = ShieldContext.read(simulation, fallback=asked, period=plant.period, incumbent=asked)
        moved = simulation.step(shield(context, asked).action)
        seen.append(obs)
        after.append(moved.final_observation)
        done.append(plant.to_normalised(moved.applied))
        obs = moved.final_observation
    return torch.stack(seen), torch.stack(after), torch.stack(done).to(torch.float32)


@pytest.mark.parametrize("name", ["quad_tank", "cstr_safety"])
def test_the_observation_is_rebuilt_as_the_simulation_made_it(logged_incumbent: Write, name: str) -> None:
    plant = plant_of(name)
    logged = read_logged(logged_incumbent(name), plant, WarmStart())
    obs, after, action = replayed(name, 4)
    steps = logged.obs.shape[0]
    assert logged.kept.all()
    assert steps == plant.horizon - 1 or bool(logged.terminated[-1].all())
    torch.testing.assert_close(logged.obs, obs[:steps], atol=2e-5, rtol=1e-5)  # the log holds float32
    torch.testing.assert_close(logged.next_obs[:-1], after[: steps - 1], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(logged.action, action[:steps], atol=2e-5, rtol=1e-5)
    assert logged.truncated[-1].all() or logged.terminated[-1].all()
    assert not (logged.truncated[:-1] | logged.terminated[:-1]).any()
    assert logged.source.episodes == 4
    assert logged.source.rows == int(logged.kept.sum())


def test_after_a_gap_an_observation_waits_for_its_history(logged_incumbent: Write) -> None:
    plant = plant_of("quad_tank")
    whole = read_logged(logged_incumbent(episodes=3), plant, WarmStart())

    def lose(columns: dict[str, Any]) -> None:
        kept = np.flatnonzero(~((columns["episode_id"] == 1) & (columns["step"] == 10)))
        for key, value in columns.items():
            if not isinstance(value, str):
                columns[key] = [value[i] for i in kept] if isinstance(value, list) else value[kept]

    folder = logged_incumbent("quad_tank_minus", episodes=3, change=lose)
    gapped_plant = plant_of("quad_tank_minus")
    gapped = read_logged(folder, gapped_plant, WarmStart())
    history = max(term.history for term in gapped_plant.spec.observations)
    horizon = gapped_plant.horizon
    assert whole.kept.sum(dim=0).tolist() == [plant.horizon - 1] * 3
    assert gapped.kept.sum(dim=0).tolist() == [horizon - 1, 9, horizon - 11 - history - 1, horizon - 1]
    assert gapped.truncated[8, 1]
    assert gapped.terminated[9:, 1].all()  # what is filled up counts for nothing
    assert gapped.reward[9:, 1].eq(0.0).all()


def unshielded(columns: dict[str, Any]) -> None:
    columns["shield"] = columns["episode_id"] != 1


def test_an_episode_with_the_shield_off_can_be_left_out(logged_incumbent: Write) -> None:
    plant, settings = plant_of("quad_tank"), WarmStart(least_episodes=1)
    folder = logged_incumbent(episodes=3, change=unshielded)
    assert read_logged(folder, plant, settings).source.episodes == 3
    assert read_logged(folder, plant, settings, shielded=True).source.episodes == 2


def missing(columns: dict[str, Any]) -> None:
    columns["act.applied.v1"] = np.full(len(columns["step"]), np.nan)


def unread(columns: dict[str, Any]) -> None:
    columns["obs.h1"] = columns["obs.h1"].copy()
    columns["obs.h1"][5] = np.nan


def moved_set_point(columns: dict[str, Any]) -> None:
    columns["ref.h3_sp"] = columns["ref.h3_sp"] + 0.5


def old_rows(columns: dict[str, Any]) -> None:
    columns["plant_hash"] = "0" * 64


def others(columns: dict[str, Any]) -> None:
    columns["arm"] = "hold"


def elsewhere(columns: dict[str, Any]) -> None:
    columns["scenario"] = "pump_derate"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (missing, "act.applied.v1: found nan"),
        (unread, "column obs.h1: found nan"),
        (moved_set_point, "the schedule of plant.yaml"),
        (old_rows, "another version of plant.yaml"),
        (others, "there are hold"),
        (elsewhere, "nominal scenario"),
    ],
)
def test_a_log_that_cannot_be_learned_from_is_refused_with_the_reason(
    logged_incumbent: Write, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    with pytest.raises(LogError, match=told):
        read_logged(logged_incumbent(change=change), plant_of("quad_tank"), WarmStart())


def test_a_log_of_another_plant_is_refused(logged_incumbent: Write) -> None:
    with pytest.raises(LogError, match="found a log of plant quad_tank "):
        read_logged(logged_incumbent(), plant_of("cstr_safety"), WarmStart())


def test_too_few_episodes_are_refused(logged_incumbent: Write) -> None:
    with pytest.raises(LogError, match="found 2 episodes"):
        read_logged(logged_incumbent(episodes=2), plant_of("quad_tank"), WarmStart())


def test_a_log_that_was_changed_after_its_ledger_is_refused(logged_incumbent: Write) -> None:
    folder = logged_incumbent()
    path = segments(folder, "offline")[0]
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(LogError, match="not as the ledger"):
        read_logged(folder, plant_of("quad_tank"), WarmStart())
    (folder / "ledger.jsonl").unlink()
    with pytest.raises(LogError, match="found no ledger"):
        read_logged(folder, plant_of("quad_tank"), WarmStart())


def test_rows_of_other_stages_and_deployments_are_passed_over_and_a_name_that_is_not_there_is_refused(
    logged_incumbent: Write,
) -> None:
    folder, plant = logged_incumbent(), plant_of("quad_tank")
    assert read_logged(folder, plant, WarmStart(), keep={"stage": ("offline",), "mode": ()}).kept.any()
    with pytest.raises(LogError, match="found no row of stage 'full', expected one of offline"):
        read_logged(folder, plant, WarmStart(), keep={"stage": ("full",)})
    with pytest.raises(LogError, match="found no row of mode 'noise 1', expected one of none"):
        read_logged(folder, plant, WarmStart(), keep={"mode": ("noise 1",)})


def test_a_window_that_is_shorter_than_an_episode_does_not_end_it(logged_incumbent: Write) -> None:
    plant = plant_of("quad_tank")
    steps = len(driven("quad_tank", 4)["step"])

    def windows(columns: dict[str, Any]) -> None:
        half = np.asarray(columns["step"]) < plant.horizon // 2
        for name, value in columns.items():
            if len(np.atleast_1d(value)) == steps:
                columns[name] = (
                    [one for one, kept in zip(value, half, strict=True) if kept]
                    if isinstance(value, list)
                    else value[half]
                )
        last = np.asarray(columns["step"]) == plant.horizon // 2 - 1
        columns["truncated"] = last
        columns["end_reason"] = ["horizon" if one else None for one in last]

    short = read_logged(logged_incumbent(change=windows), plant, WarmStart(), horizon_ends=True)
    assert not short.terminated[short.kept].any()
    assert short.truncated[short.kept].sum() == 4


def test_a_history_goes_on_across_the_cut_between_two_episodes(logged_incumbent: Write) -> None:
    plant = plant_of("quad_tank")
    moment = np.arange(len(driven("quad_tank", 4)["step"]))

    def of_history(columns: dict[str, Any]) -> None:
        columns["t"] = np.round(moment * plant.period * 1e9).astype(np.int64).astype("datetime64[ns]")

    simulated = read_logged(logged_incumbent(), plant, WarmStart())
    start = plant.to_normalised(torch.tensor([plant.action_start])).float()
    torch.testing.assert_close(simulated.previous[0], start.expand(4, -1))
    history = read_logged(logged_incumbent(change=of_history, stage="history"), plant, WarmStart())
    torch.testing.assert_close(history.previous[0, 0], start[0])  # nobody knows what was before
    lasts = read_steps(logged_incumbent(), "offline").to_pandas().query(f"step == {plant.horizon - 1}")
    names = [f"act.applied.{name}" for name in plant.action_names]
    known = plant.to_normalised(torch.tensor(lasts[names].to_numpy().copy())).float()
    torch.testing.assert_close(history.previous[0, 1:], known[:-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(history.previous[1:][history.kept[1:]], history.action[:-1][history.kept[1:]])
    assert not torch.equal(history.obs[0, 1:], simulated.obs[0, 1:])


def test_rows_before_end_at_a_hole_and_at_what_did_not_come_right_before() -> None:
    times = pd.to_datetime([0, 10, 20, 40, 50, 60], unit="s", utc=True)
    frame = pd.DataFrame({"stage": "history", "t": times})
    assert rows_before(frame, 5, 4, 10.0).tolist() == [3, 4]
    assert rows_before(frame, 5, 1, 10.0).tolist() == [4]
    assert rows_before(frame, 3, 4, 10.0).tolist() == []
    assert rows_before(frame, 0, 4, 10.0).tolist() == []
    assert rows_before(frame.assign(stage="full"), 5, 4, 10.0).tolist() == []
