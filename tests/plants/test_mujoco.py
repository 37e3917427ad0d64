"""A MuJoCo model advances a batch as one environment after another would, and refuses what it cannot do."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.mujoco import MujocoModel
from fpo_pilot.plants.sources import data_files

PENDULUM = """<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <geom type="plane" size="2 2 .1" pos="0 0 -.4"/>
    <body>
      <joint name="turn" type="hinge" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 .4 0 .1" size=".05"/>
      <body pos=".4 0 .1">
        <joint name="slide" type="slide" axis="1 0 0" range="-.2 .2" limited="true"/>
        <geom name="tip" type="sphere" size=".1"/>
        <site name="tip" size=".2"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="turn" gear="5"/><motor joint="slide"/></actuator>
  <sensor><touch site="tip"/><jointvel joint="turn"/></sensor>
</mujoco>"""


@pytest.fixture
def model(tmp_path: Path) -> MujocoModel:
    return written(tmp_path, PENDULUM)


def written(folder: Path, text: str) -> MujocoModel:
    (folder / "model.xml").write_text(text, "utf-8")
    return MujocoModel(folder / "model.xml")


def random_inputs(batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn((batch, size), dtype=torch.float64, generator=generator) for size in (4, 2)]
    return 1.5 * draw[0], draw[1]


def one_after_another(model: MujocoModel, state: torch.Tensor, control: torch.Tensor, steps: int) -> np.ndarray:
    made, rows = model.compiled, []
    data = mujoco.MjData(made)
    for x, u in zip(state.numpy(), control.numpy(), strict=True):
        mujoco.mj_resetData(made, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = x[: made.nq], x[made.nq : made.nq + made.nv], u
        for _ in range(steps):
            mujoco.mj_step(made, data)
        rows.append(np.concatenate((data.qpos, data.qvel, data.sensordata)))
    return np.array(rows)


@pytest.mark.parametrize("batch", [1, 5, 40])
def test_a_batch_is_one_environment_after_another(model: MujocoModel, batch: int) -> None:
    state, control = random_inputs(batch)
    got = model.advance(state, control, 0.05)
    assert got.shape == (batch, 4 + 2)
    assert np.abs(got.numpy() - one_after_another(model, state, control, 5)).max() < 1e-12


def test_contacts_and_limits_were_among_what_was_compared(model: MujocoModel) -> None:
    state, control = random_inputs(40)
    touched = model.advance(state, control, 0.01)[:, 4]
    assert 0 < int((touched > 0.0).sum()) < 40
    assert int((state[:, 1].abs() > 0.2).sum()) > 0


def test_the_type_comes_back_and_further_columns_are_not_read(model: MujocoModel) -> None:
    state, control = random_inputs(3)
    wide = torch.cat((state, torch.full((3, 2), torch.nan, dtype=torch.float64)), dim=1)
    assert torch.equal(model.advance(wide, control, 0.01), model.advance(state, control, 0.01))
    single = model.advance(state.float(), control.float(), 0.01)
    assert single.dtype == torch.float32
    assert torch.allclose(single, model.advance(state, control, 0.01).float(), atol=1e-3)


def test_the_inputs_are_not_written_to(model: MujocoModel) -> None:
    state, control = random_inputs(20)
    kept = state.clone(), control.clone()
    control[3], kept[1][3] = torch.nan, torch.nan
    model.advance(state, control, 0.05)
    assert torch.equal(state, kept[0])
    assert torch.equal(control.nan_to_num(), kept[1].nan_to_num())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e300])
def test_a_row_that_is_not_finite_is_nan_and_leaves_the_others_alone(model: MujocoModel, bad: float) -> None:
    state, control = random_inputs(20)
    whole = model.advance(state, control, 0.05)
    state[2, 1], control[7, 0] = bad, bad
    got = model.advance(state, control, 0.05)
    lost = torch.zeros(20, dtype=torch.bool)
    lost[[2, 7]] = True
    assert bool(got[lost].isnan().all())
    assert torch.equal(got[~lost], whole[~lost])


def test_a_simulation_that_diverges_is_nan_and_not_reset(
    model: MujocoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file where it stands
    state, control = random_inputs(10)
    state[4, 2] = 1e9
    assert bool(model.advance(state, control, 0.5)[4].isnan().all())


def test_the_device_meta_gets_shapes_only(model: MujocoModel) -> None:
    got = model.advance(torch.empty((7, 4), device="meta"), torch.empty((7, 2), device="meta"), 0.05)
    assert (got.shape, got.device.type) == ((7, 6), "meta")


def test_another_device_is_refused(model: MujocoModel) -> None:
    there: Any = SimpleNamespace(device=torch.device("cuda", 0))
    with pytest.raises(PlantError, match="on cuda:0, expected the CPU"):
        model.advance(there, there, 0.05)


@pytest.mark.parametrize(
    ("shapes", "period", "message"),
    [
        (((3, 3), (3, 2)), 0.05, "the state has shape"),
        (((3, 4), (3, 1)), 0.05, "the control has shape"),
        (((3, 4), (2, 2)), 0.05, "the control has shape"),
        (((3, 4), (3, 2)), 0.015, "a multiple of the model's time step"),
        (((3, 4), (3, 2)), 0.001, "a multiple of the model's time step"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(model: MujocoModel, shapes: Any, period: float, message: str) -> None:
    state, control = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
    with pytest.raises(PlantError, match=message):
        model.advance(state, control, period)


def test_a_missing_a_broken_and_a_stateful_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match="found no file"):
        MujocoModel(tmp_path / "absent.xml")
    with pytest.raises(PlantError, match="expected a model that compiles"):
        _ = written(tmp_path, "<mujoco><worldbody><geom/></worldbody></mujoco>").compiled
    filtered = PENDULUM.replace('<motor joint="slide"/>', '<general joint="slide" dyntype="filter" dynprm="1"/>')
    with pytest.raises(PlantError, match="1 hidden state values"):
        _ = written(tmp_path, filtered).compiled


def test_a_copy_and_a_new_process_start_their_own_threads(model: MujocoModel) -> None:
    state, control = random_inputs(40)
    got = model.advance(state, control, 0.05)
    first = model._runner
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301  # written a moment ago
        assert other == model
        assert torch.equal(other.advance(state, control, 0.05), got)
        assert other._runner is not first
    first.process = -1  # as after a fork
    assert torch.equal(model.advance(state, control, 0.05), got)
    assert model._runner is not first


def test_calls_from_several_threads_do_not_mix(model: MujocoModel) -> None:
    inputs = [random_inputs(40, seed) for seed in range(8)]
    alone = [model.advance(state, control, 0.05) for state, control in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: model.advance(*pair, 0.05), inputs))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_included_files_belong_to_the_model(tmp_path: Path) -> None:
    (tmp_path / "option.xml").write_text('<mujoco><option timestep="0.01"/></mujoco>', "utf-8")
    model = written(tmp_path, PENDULUM.replace('<option timestep="0.01"/>', '<include file="option.xml"/>'))
    assert [file.name for file in data_files(SimpleNamespace(model=model, other=3))] == ["model.xml", "option.xml"]
    assert data_files(object()) == ()


def test_the_hash_of_a_plant_changes_with_its_model(tmp_path: Path) -> None:
    shipped = load_plant("reacher_hard")
    assert [file.name for file in shipped.source_files] == ["reacher_hard.py", "reacher_hard.xml"]
    folder = tmp_path / "envs" / "reacher_hard"
    folder.mkdir(parents=True)
    for file in (*shipped.source_files, shipped.source_files[0].with_name("plant.yaml")):
        (folder / file.name).write_bytes(file.read_bytes())
    same = load_plant(folder)
    assert same.dynamics_hash == shipped.dynamics_hash
    xml = folder / "reacher_hard.xml"
    xml.write_text(xml.read_text("utf-8").replace('damping="0.01"', 'damping="0.02"'), "utf-8")
    assert load_plant(folder).dynamics_hash != shipped.dynamics_hash


def test_a_plant_without_a_model_keeps_the_hash_of_its_file() -> None:
    import hashlib

    plant = load_plant("cstr")
    assert plant.dynamics_file is not None
    assert plant.dynamics_hash == hashlib.sha256(plant.dynamics_file.read_bytes()).hexdigest()


def test_importing_the_module_does_not_import_mujoco() -> None:
    code = "import sys, fpo_pilot.plants.mujoco, fpo_pilot.plants.load; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
