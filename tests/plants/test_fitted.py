"""A fitted model computed by hand, and its file: read whole or refused, hashed with the plant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.fitted import FittedModel, Weights, advance, pack_weights, regressors
from fpo_pilot.plants.sources import data_files


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def weights(**changes: object) -> Weights:
    """Return a model of one signal and one action that looks at two rows."""
    arrays = {
        "centre": tensor(1.0, 0.0, 0.0, 0.0),  # x, its change, u, u before
        "scale": tensor(2.0, 1.0, 1.0, 1.0),
        "gain": tensor(0.5, 0.25, 2.0, 1.0).unsqueeze(1),
        "bias": tensor(0.1),
        "unit": tensor(10.0),
        "low": tensor(-100.0),
        "high": tensor(100.0),
        "seen_low": tensor(-1.0, -1.0, -1.0, -1.0),
        "seen_high": tensor(1.0, 1.0, 1.0, 1.0),
    }
    return Weights(**{**arrays, **changes})  # type: ignore[arg-type]


def test_a_step_of_second_order_is_computed_by_hand() -> None:
    state, action = torch.stack([tensor(3.0, 0.4, -0.2)]), torch.stack([tensor(0.5)])
    assert regressors(state, action, 1).tolist() == [[3.0, 0.4, 0.5, -0.2]]
    # scaled 1, 0.4, 0.5, −0.2: 0.5 + 0.1 + 1 − 0.2 + 0.1 = 1.5, times 10
    assert advance(weights(), state, action)[0].tolist() == pytest.approx([18.0, 15.0, 0.5])


def test_third_order_shifts_changes_and_actions_by_one() -> None:
    still = weights(
        centre=torch.zeros(6).double(),
        scale=torch.ones(6).double(),
        gain=torch.zeros(6, 1).double(),
        bias=tensor(0.2),
    )
    state = torch.stack([tensor(3.0, 0.4, 0.3, -0.2, -0.1)])  # x, d1, d2, u1, u2
    assert advance(still, state, torch.stack([tensor(0.5)]))[0].tolist() == pytest.approx([5.0, 2.0, 0.4, 0.5, -0.2])


def test_a_prediction_stays_in_the_range_of_the_signal() -> None:
    state, action = torch.stack([tensor(3.0, 0.4, -0.2)]), torch.stack([tensor(0.5)])
    assert advance(weights(high=tensor(4.0)), state, action)[0].tolist() == pytest.approx([4.0, 1.0, 0.5])


def test_outside_what_was_seen_the_network_stays_that_of_the_edge() -> None:
    layer = (torch.ones(1, 4).double(), torch.zeros(1).double())
    model = weights(layers=(layer,), gain=torch.zeros(4, 1).double(), bias=tensor(0.0))
    near, far = (
        advance(model, torch.stack([tensor(x, 0.0, 0.0)]), torch.zeros(1, 1).double())[0, 0] - x for x in (3.0, 50.0)
    )
    assert near == pytest.approx(10.0)  # scaled x is 1, the edge
    assert far == pytest.approx(10.0)


def test_a_state_that_is_not_finite_does_not_become_finite() -> None:
    state = torch.stack([tensor(torch.nan, 0.0, 0.0)])
    assert advance(weights(), state, torch.zeros(1, 1).double())[0, 0].isnan()


def test_a_file_gives_back_what_was_packed_in_any_type_and_on_meta(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    layers = (
        (torch.randn(3, 4).double(), torch.randn(3).double()),
        (torch.randn(1, 3).double(), torch.randn(1).double()),
    )
    packed = weights(layers=layers)
    file.write_bytes(pack_weights(packed, 2.0, {"order": 2}))
    model = FittedModel(file)
    state, action = torch.randn(5, 3).double(), torch.randn(5, 1).double()
    assert torch.equal(model.advance(state, action, 2.0), advance(packed, state, action))
    single = model.advance(state.float(), action.float(), 2.0)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), advance(packed, state, action), rtol=1e-5, atol=1e-4)
    assert model.advance(state.to("meta"), action.to("meta"), 2.0).device.type == "meta"
    assert pack_weights(packed, 2.0, {"order": 2}) == file.read_bytes()


def test_another_period_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(pack_weights(weights(), 2.0, {}))
    with pytest.raises(PlantError, match="the period is 4 s, expected 2 s"):
        FittedModel(file).advance(torch.zeros(1, 3).double(), torch.zeros(1, 1).double(), 4.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no whole file"),
        (b"", "found no whole file"),
        (pack_weights(weights(), 2.0, {})[:-9], "found no whole file"),
        (
            pack_weights(weights(gain=torch.zeros(3, 1).double()), 2.0, {}),
            r"a gain of shape \(3, 1\), expected .*\[4, 1\]",
        ),
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "model.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PlantError, match=message):
        FittedModel(file)


def test_the_weights_are_a_source_file_of_the_plant(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(pack_weights(weights(), 2.0, {}))

    @dataclass(frozen=True)
    class Dynamics:
        model: ClassVar[FittedModel] = FittedModel(file)

    assert data_files(Dynamics()) == (file.resolve(),)
