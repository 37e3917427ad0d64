"""The tank of tests/plants, with an uncertain drain and a predictive shield: emptying it is the backup."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fpo_pilot.certification import validate as validation
from fpo_pilot.certification.conditions import CampaignCondition, campaign_conditions
from fpo_pilot.plants.load import build_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.safety import SafetySpec

PREDICTIVE: dict[str, Any] = {
    "kind": "predictive",
    "horizon": 6,
    "terminal_set": {"level": {"high": 2.8}},
    "margin": {"level": 0.02},
}


def _tank() -> ModuleType:
    file = Path(__file__).parent.parent / "plants" / "conftest.py"
    name = "tests_plants_tank"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def make_tank() -> Callable[..., Plant]:
    """Return a function that builds the tank: ``make_tank(predictive={...} or None, half_width=..., safety={...})``."""

    def make(
        *,
        predictive: dict[str, Any] | None = PREDICTIVE,
        half_width: float | None = 0.1,
        safety: Any = None,
        **changes: Any,
    ) -> Plant:
        tank = _tank()
        drain: dict[str, Any] = {"value": 0.25, "unit": "m**2/s"}
        if half_width is not None:
            drain["uncertainty"] = {"half_width": half_width}
        shields: list[dict[str, Any]] = [{"kind": "integrity"}, {"kind": "box_rate"}]
        if predictive is not None:
            shields.insert(1, predictive)
        limits = tank.tank_safety(
            **{
                "shields": shields,
                "limits": ({"id": "level.high", "signal": "level", "high": 3.0, "kind": "hard"},),
                "uncertainty": {"states": {"level": 0.05}},
                "fallback": {"kind": "value"},
            }
            | (safety or {})
        )
        spec = tank.tank_spec(
            parameters={"area": {"value": 2.0, "unit": "m**2"}, "drain": drain},
            signal_outflow={"measured": False},
            timing={"period": 2.0, "horizon": 12},
            **changes,
        )
        return build_plant(spec, limits, tank.Tank(), dynamics_file=Path(tank.__file__ or ""))

    return make


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the nominal plant and the worst corner only: enough where a campaign shall fail."""

    def few(plant: Plant, safety: SafetySpec, *, corners: int) -> tuple[CampaignCondition, ...]:
        return tuple(
            one for one in campaign_conditions(plant, safety, corners=corners) if one.name in ("nominal", "corner -")
        )

    monkeypatch.setattr(validation, "campaign_conditions", few)
