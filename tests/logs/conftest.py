from __future__ import annotations

import pytest

from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec


@pytest.fixture(scope="session")
def tank_plant() -> PlantSpec:
    return PlantSpec.model_validate(
        {
            "schema_version": 1,
            "plant": {"id": "tank", "title": {"en": "Tank", "ja": "タンク"}},
            "dynamics": {"file": "tank.py", "class": "Tank"},
            "timing": {"period": 2.0, "horizon": 3},
            "signals": {
                "level": {
                    "tag": "T1.LI01;PV=1",
                    "unit": "m",
                    "range": (0.0, 3.0),
                    "role": "state",
                    "label": {"en": "Level", "ja": "液位"},
                },
                "hidden": {"unit": "m", "range": (0.0, 3.0), "role": "state", "measured": False},
                "inflow": {"unit": "m3/s", "range": (0.0, 0.1), "role": "action", "start": 0.05},
                "level_sp": {"unit": "m", "range": (0.0, 3.0), "role": "reference"},
            },
            "observations": ({"signal": "level"},),
            "reward": ({"name": "quality", "expression": "abs(level - level_sp)", "weight": -1.0},),
            "episode": {"start": {"level": {"kind": "fixed", "value": 1.0}, "hidden": {"kind": "fixed", "value": 1.0}}},
        }
    )


@pytest.fixture(scope="session")
def tank_safety() -> SafetySpec:
    return SafetySpec.model_validate(
        {
            "schema_version": 1,
            "plant": "tank",
            "limits": ({"id": "overflow", "signal": "level", "high": 2.5, "kind": "hard"},),
            "actions": {"inflow": {"low": 0.0, "high": 0.1, "fallback": 0.0}},
            "incumbent": {"kind": "constant", "values": {"inflow": 0.05}},
        }
    )
