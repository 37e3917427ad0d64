"""A log is turned into what the policy would have seen, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fpo_pilot.errors import LogError
from fpo_pilot.learn.logged import read_logged
from fpo_pilot.logs.reader import segments
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.shields.build import build_stack
from fpo_pilot.shields.verdict import ShieldContext
from fpo_pilot.specs.training import WarmStart
from tests.learn.conftest import plant_of

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
