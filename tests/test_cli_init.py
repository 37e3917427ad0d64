"""A new project holds every file that its plant is made of, wherever the dynamics stood."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from fpo_pilot import cli, load_plant
from fpo_pilot.specs.content import shipped_root


def init(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fpo-pilot", "init", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which the plant ``variant`` takes dynamics, model and an included file from its neighbour's folder."""
    own = tmp_path / "own"
    neighbour, folder = own / "envs" / "cartpole_balance", own / "envs" / "variant"
    shutil.copytree(shipped_root() / "envs" / "cartpole_balance", neighbour)
    (own / "safety").mkdir()
    folder.mkdir()
    model = neighbour / "cartpole_balance.xml"
    text = model.read_text("utf-8")
    (neighbour / "parts").mkdir()
    (neighbour / "parts" / "visual.xml").write_text('<mujoco><visual><map znear="0.02"/></visual></mujoco>', "utf-8")
    end = text.index(">", text.index("<mujoco")) + 1
    model.write_text(f'{text[:end]}\n  <include file="parts/visual.xml"/>{text[end:]}', "utf-8")
    spec = (neighbour / "plant.yaml").read_text("utf-8")
    spec = spec.replace("id: cartpole_balance", "id: variant")
    spec = spec.replace("file: cartpole_balance.py", "file: ../cartpole_balance/cartpole_balance.py")
    (folder / "plant.yaml").write_text(spec, "utf-8")
    monkeypatch.chdir(own)
    return own


def test_a_model_in_a_neighbours_folder_comes_along(variant: Path, tmp_path: Path, monkeypatch) -> None:
    before = load_plant("variant")
    hash_before = before.dynamics_hash
    assert {path.name for path in before.source_files} == {"cartpole_balance.py", "cartpole_balance.xml", "visual.xml"}
    assert init(monkeypatch, str(tmp_path / "mine"), "--from", "variant") == 0
    shutil.rmtree(variant)  # nothing of the old project may be needed
    monkeypatch.chdir(tmp_path / "mine")
    after = load_plant("variant")
    folder = tmp_path / "mine" / "envs" / "variant"
    assert all(path.is_relative_to(folder) for path in after.source_files)
    assert (folder / "parts" / "visual.xml").is_file()
    assert after.dynamics_hash == hash_before


def test_a_model_that_cannot_come_along_is_refused_before_anything_is_made(
    variant: Path, tmp_path: Path, monkeypatch
) -> None:
    neighbour = variant / "envs" / "cartpole_balance"
    shutil.move(neighbour / "parts", variant / "parts")
    model = neighbour / "cartpole_balance.xml"
    model.write_text(model.read_text("utf-8").replace("parts/visual.xml", "../../parts/visual.xml"), "utf-8")
    assert init(monkeypatch, str(tmp_path / "mine"), "--from", "variant") == 2
    assert not (tmp_path / "mine").exists()
