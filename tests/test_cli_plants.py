"""``fpo-pilot plants``: sizes that are those of the simulation, and scores that are shown with what has changed since."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fpo_pilot import cli
from fpo_pilot.commands.plants import describe
from fpo_pilot.evaluate.scores import Score, Scores, plant_hashes, write_scores
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs import content


def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["fpo-pilot", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("name", sorted(content.list_plants()))
def test_the_size_is_that_of_the_simulation(name: str) -> None:
    plant = load_plant(name)
    simulation = Simulation(plant, 1)
    told = describe(content.find_plant(name))
    found = (told["states"], told["actions"], told["observations"])
    assert found == (simulation.state.shape[1], simulation.action_size, simulation.observation_size)
    assert len(told["hard_limits"]) == sum(limit.kind == "hard" for limit in plant.limits)


def test_scores_are_listed_and_stale_ones_say_so(monkeypatch, capfd, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, capfd, "init", "mine", "--from", "cstr")
    monkeypatch.chdir(tmp_path / "mine")
    file = Path("envs/cstr/plant.yaml").resolve()
    plant = load_plant(file)
    hold = Score(mean=-95.79, low=-95.79, high=-95.79)
    scores = Scores(plant="cstr", steps=1000, episodes=8, hashes=plant_hashes(plant), scores={"hold": hold})
    write_scores(file, scores)
    rows = {row["plant"]: row for row in json.loads(call(monkeypatch, capfd, "plants", "--json"))}
    assert rows["cstr"]["scores"]["stale"] == []
    assert rows["cstr"]["scores"]["scores"]["hold"]["mean"] == -95.79
    assert "hold -95.79" in call(monkeypatch, capfd, "plants")
    dynamics = file.parent / "cstr.py"
    dynamics.write_text(dynamics.read_text("utf-8") + "# changed\n", "utf-8")
    out = call(monkeypatch, capfd, "plants")
    assert "stale" in out
    assert "dynamics" in out
