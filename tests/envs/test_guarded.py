"""Plants whose safety spec alone differs: the same plant, what the backup can hold, and records that speak for the specs."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from fpo_pilot.certification.record import read_record, status_of
from fpo_pilot.certification.validate import binding_of
from fpo_pilot.plants.load import load_plant
from fpo_pilot.specs import content

FOLDER = content.shipped_root() / "safety/certificates"
RECORDS = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize(("guarded", "plain"), [("quad_tank_guarded", "quad_tank_minus"), ("vdv_guarded", "vdv_cstr")])
def test_the_plant_is_the_same(guarded: str, plain: str) -> None:
    one, other = (load_plant(name).spec.model_dump() for name in (guarded, plain))
    one.pop("plant"), other.pop("plant")
    one["dynamics"].pop("file"), other["dynamics"].pop("file")
    assert one == other
    assert load_plant(guarded).dynamics_hash == load_plant(plain).dynamics_hash


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_shipped_record_speaks_for_the_specs_as_they_are(path) -> None:
    status, changed = status_of(path, binding_of(load_plant(path.stem)), plant=path.stem)
    assert status in ("valid", "refused")
    assert changed == ()


def test_the_certified_ones_passed_no_limit_that_is_passed_without_their_shield() -> None:
    certified = [record for record in map(read_record, RECORDS) if record.verdict == "certified"]
    assert {"cstr_late", "quad_tank_guarded"} <= {record.plant for record in certified}
    for record in certified:
        covered = record.covered()
        assert sum(row.shielded.violations for row in covered) == 0
        assert sum(row.unshielded.violations for row in covered) > 0


def test_the_backup_of_the_two_route_reactor_cools_and_leaves_the_jacket_warm_in_every_corner() -> None:
    plant = load_plant("vdv_guarded")
    assert plant.safety is not None
    names, backup = plant.parameter_names, [plant.safety.actions[name].fallback for name in plant.action_names]
    parameters = plant.nominal_parameters_like(torch.zeros(1, 4, dtype=torch.float64)).repeat(4, 1)
    for row, (rate, activation) in zip(parameters, product((0.9, 1.1), (0.95, 1.05)), strict=True):
        row[names.index("rate_constant_b")] *= rate
        row[names.index("activation_d")] *= activation
    state = torch.tensor([[2.14, 1.0903, 114.194, 112.91]] * 4, dtype=torch.float64)
    for _ in range(200):  # an hour
        state, tripped = plant.step(state, torch.tensor([backup] * 4, dtype=torch.float64), None, parameters)
        assert not tripped.any()
    assert 90.0 < state[:, 2].min().item() < state[:, 2].max().item() < 120.0
    assert state[:, 3].min().item() > 70.0
