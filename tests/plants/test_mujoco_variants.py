"""Parameters of a MuJoCo model, one set for each environment: masses, lengths and friction as if the file had said so."""

from __future__ import annotations

import copy
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants import mujoco_variants
from fpo_pilot.plants.mujoco import MujocoModel

PENDULUM = """<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="turn" type="hinge" axis="0 1 0" damping="{damping}"/>
      <geom name="bob" type="sphere" size=".05" pos="0 0 -{length}" mass="{mass}"/>
    </body>
  </worldbody>
  <actuator><motor joint="turn"/></actuator>
  <sensor><jointvel joint="turn"/></sensor>
</mujoco>"""
ROWS = [(1.0, 2.0, 0.1), (0.5, 1.0, 0.0), (1.0, 2.0, 0.3)]


def vary(source: mujoco.MjSpec, row: np.ndarray) -> None:
    length, mass, damping = row.tolist()
    source.geom("bob").pos = [0.0, 0.0, -length]
    source.geom("bob").mass = mass
    source.joint("turn").damping[0] = damping


def written(folder: Path, length: float = 1.0, mass: float = 2.0, damping: float = 0.1) -> Path:
    file = folder / f"{length}-{mass}-{damping}.xml"
    file.write_text(PENDULUM.format(length=length, mass=mass, damping=damping), "utf-8")
    return file


@pytest.fixture
def model(tmp_path: Path) -> MujocoModel:
    return MujocoModel(written(tmp_path), vary)


def inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state, control = (torch.randn((batch, size), dtype=torch.float64, generator=generator) for size in (2, 1))
    return state, control


def test_a_row_of_parameters_is_a_file_with_these_numbers(model: MujocoModel, tmp_path: Path) -> None:
    state, control = inputs(3)
    got = model.advance(state, control, 0.1, torch.tensor(ROWS, dtype=torch.float64))
    for index, (length, mass, damping) in enumerate(ROWS):
        alone = MujocoModel(written(tmp_path, length, mass, damping))
        row = slice(index, index + 1)
        assert torch.equal(got[row], alone.advance(state[row], control[row], 0.1))


def test_one_row_is_for_all_and_that_of_the_file_changes_nothing(model: MujocoModel) -> None:
    state, control = inputs(20)
    as_written = model.advance(state, control, 0.1)
    assert torch.equal(model.advance(state, control, 0.1, torch.tensor([ROWS[0]], dtype=torch.float64)), as_written)
    spread = torch.tensor([ROWS[0]], dtype=torch.float64).expand(20, -1)
    assert torch.equal(model.advance(state, control, 0.1, spread), as_written)


def test_a_row_that_is_not_finite_is_nan_and_leaves_the_others_alone(model: MujocoModel) -> None:
    state, control = inputs(3)
    rows = torch.tensor(ROWS, dtype=torch.float64)
    whole = model.advance(state, control, 0.1, rows)
    rows[1, 2] = torch.nan
    got = model.advance(state, control, 0.1, rows)
    assert bool(got[1].isnan().all())
    assert torch.equal(got[[0, 2]], whole[[0, 2]])
    assert bool(model.advance(state, control, 0.1, rows[1:2]).isnan().all())


def test_a_model_is_compiled_once_for_each_row_and_forgotten_last(
    model: MujocoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []

    def counting(source: mujoco.MjSpec, row: np.ndarray) -> None:
        made.append(float(row[0]))
        vary(source, row)

    monkeypatch.setattr(mujoco_variants, "KEPT", 3)
    counted = MujocoModel(model.xml, counting)
    state, control = inputs(2)
    for pair in ([1.0, 2.0], [2.0, 1.0], [3.0, 2.0], [3.0, 4.0], [2.0, 1.0]):
        rows = torch.tensor([[length, 1.0, 0.0] for length in pair], dtype=torch.float64)
        counted.advance(state, control, 0.01, rows)
    # a fourth model, of length 4, put out the one of length 1, which had not been used for the longest time
    assert made == [1.0, 2.0, 3.0, 4.0, 1.0]


def test_controls_may_differ_in_each_time_step(model: MujocoModel) -> None:
    state, control = inputs(4)
    course = torch.stack((control, 2.0 * control, -control), dim=1)  # [B, T, U]
    stepwise = state
    for step in range(3):
        stepwise = model.advance(stepwise, course[:, step], 0.01)
    assert torch.allclose(model.advance(state, course, 0.03), stepwise, atol=1e-13)
    assert torch.equal(
        model.advance(state, control[:, None].expand(-1, 3, -1), 0.03), model.advance(state, control, 0.03)
    )
    with pytest.raises(PlantError, match="the control has shape"):
        model.advance(state, course, 0.02)


def test_a_copy_has_models_of_its_own(model: MujocoModel) -> None:
    state, control = inputs(3)
    rows = torch.tensor(ROWS, dtype=torch.float64)
    got = model.advance(state, control, 0.1, rows)
    other = copy.deepcopy(model)
    assert other == model
    assert torch.equal(other.advance(state, control, 0.1, rows), got)


def test_parameters_that_give_no_model_are_refused(model: MujocoModel) -> None:
    state, control = inputs(1)
    with pytest.raises(PlantError, match="expected none: the model has nothing that writes them"):
        MujocoModel(model.xml).advance(state, control, 0.1, torch.tensor([ROWS[0]]))
    with pytest.raises(PlantError, match=r"with the parameters \[1.0, 0.0, 0.0\] MuJoCo says"):
        model.advance(state, control, 0.1, torch.tensor([[1.0, 0.0, 0.0]]))

    def another(source: mujoco.MjSpec, row: np.ndarray) -> None:
        source.worldbody.add_body().add_freejoint()
        source.bodies[-1].add_geom(size=[row[0], 0.0, 0.0])

    with pytest.raises(PlantError, match=r"\(8, 7, 1, 1\), expected \(1, 1, 1, 1\)"):
        MujocoModel(model.xml, another).advance(state, control, 0.1, torch.tensor([ROWS[0]]))
