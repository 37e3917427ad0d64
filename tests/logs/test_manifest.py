from __future__ import annotations

import json
import platform
import socket
from pathlib import Path

import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.manifest import Manifest, TrainingRecord, code_hash
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.training import FpoSpec


@pytest.fixture
def manifest(tank_plant: PlantSpec, tank_safety: SafetySpec) -> Manifest:
    return Manifest.collect(
        run_id="tank-fpo-0",
        algorithm="fpo",
        command="fpo-pilot train tank",
        seed=3,
        device="cpu",
        plant_spec=tank_plant,
        safety_spec=tank_safety,
        training_spec=FpoSpec(),
    )


def test_it_holds_specs_hashes_and_versions(manifest: Manifest, tank_plant: PlantSpec) -> None:
    assert manifest.plant == "tank"
    assert PlantSpec.model_validate(manifest.plant_spec) == tank_plant
    assert manifest.hashes["plant"] == spec_hash(tank_plant)
    assert manifest.hashes["training"] == spec_hash(FpoSpec())
    assert manifest.hashes["code"] == code_hash()
    assert manifest.hashes["model"] is None
    assert manifest.python == platform.python_version()
    assert {"numpy", "pyarrow"} <= manifest.versions.keys()
    assert manifest.created.endswith("+00:00")
    assert manifest.machine.cores >= 1


def test_what_is_written_is_read_back(manifest: Manifest, tmp_path: Path) -> None:
    done = manifest.updated(model_hash="ab" * 32, training=TrainingRecord(steps=10, best_return=float("nan")))
    done.write(tmp_path)
    read = Manifest.read(tmp_path)
    assert read.hashes["model"] == "ab" * 32
    assert read.hashes["plant"] == manifest.hashes["plant"]
    assert read.training is not None
    assert (read.training.steps, read.training.best_return) == (10, None)
    assert read.updated(training=read.training) == read


def test_it_names_no_host_and_no_path_of_the_machine(manifest: Manifest, tmp_path: Path) -> None:
    manifest.write(tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    assert socket.gethostname() not in json.loads(text)["machine"].values()
    assert str(Path(__file__).resolve().parent.parent.parent) not in text
    assert str(Path.home()) not in json.loads(text)["machine"].values()


def test_a_missing_or_broken_manifest_says_where_and_what(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"manifest\.json: found no file"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema_version": 1, "run_id": 5}')
    with pytest.raises(LogError, match="run_id: found '5'"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(LogError, match="document"):
        Manifest.read(tmp_path)


def test_the_code_hash_covers_names_and_contents_of_python_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "sub" / "b.py").write_text("y = 2")
    first = code_hash(tmp_path)
    (tmp_path / "note.txt").write_text("no code")
    assert code_hash(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    renamed = code_hash(tmp_path)
    (tmp_path / "c.py").write_text("x = 2")
    assert len({first, renamed, code_hash(tmp_path)}) == 3
