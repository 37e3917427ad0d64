"""Which signals a picture of an episode shows, and that it can be drawn of a plant alone."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fpo_pilot.reporting.labels import arm_label
from fpo_pilot.reporting.spec_views import PlantView, SafetyView
from fpo_pilot.reporting.trajectories import Path, Process, episode_panels, key_signals
from fpo_pilot.specs import load_plant_spec, load_safety_spec


def process_of(name: str) -> Process:
    spec = load_plant_spec(name)
    safety = load_safety_spec(name, spec)
    assert safety is not None
    return Process(
        PlantView.model_validate(spec.model_dump(mode="json", by_alias=True)),
        SafetyView.model_validate(safety.model_dump(mode="json")),
    )


@pytest.mark.parametrize(
    ("plant", "signals", "actions"),
    [
        ("web_line", ["v4", "T1", "T2", "T3"], ["u1", "u2"]),  # set point and hard limit before set point alone
        ("cstr", ["Ca", "T"], ["Tc"]),
        ("poly_semibatch", ["TR", "Tad", "mA", "mP"], ["mF", "TinM"]),
    ],
)
def test_signals_with_a_set_point_and_a_hard_limit_come_first(plant, signals, actions) -> None:
    assert key_signals(process_of(plant)) == (signals, actions)


def test_an_episode_is_drawn_with_limits_and_set_points() -> None:
    steps = pa.table(
        {
            "step": [0, 1, 2],
            "obs.Ca": [0.8, 0.82, 0.85],
            "obs.T": [330.0, 328.0, 326.0],
            "ref.Ca_sp": [0.85, 0.85, 0.9],
            "act.applied.Tc": [300.0, 299.0, 298.0],
        }
    )
    drawing = episode_panels(process_of("cstr"), [Path("incumbent", "", arm_label("incumbent"), "incumbent", steps)])
    concentration, temperature, jacket = drawing.panels
    assert concentration.target is not None
    assert concentration.target.y == (0.85, 0.85, 0.9)
    assert concentration.series[0].x == pytest.approx((0.0, 26 / 60, 52 / 60))  # an episode of 26 min, in minutes
    assert [(level.value, level.kind) for level in temperature.levels if level.kind == "hard"] == [(350.0, "hard")]
    assert [level.value for level in jacket.levels] == [295.0, 302.0]
    assert jacket.series[0].held
