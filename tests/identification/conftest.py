"""A known linear system: x+ = A x + B u + c with two signals and two actions, and logs of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fpo_pilot.identification import PlantLog, Stretch
from fpo_pilot.specs.plant import PlantSpec

A = np.array([[0.9, 0.1], [-0.2, 0.8]])
B = np.array([[0.5, 0.0], [0.1, 0.3]])
C = np.array([0.05, -0.02])

MakeLog = Callable[..., PlantLog]


def plant_spec(**changes: Any) -> PlantSpec:
    """Return the spec of the system, with top-level parts replaced."""
    data: dict[str, Any] = {
        "schema_version": 1,
        "plant": {"id": "pair", "title": {"en": "Pair", "ja": "対"}},
        "dynamics": {"file": "pair.py", "class": "Pair"},
        "timing": {"period": 2.0, "horizon": 60},
        "signals": {
            "x": {"unit": "m", "range": (-20.0, 20.0), "role": "state"},
            "y": {"unit": "degC", "range": (-20.0, 20.0), "role": "state"},
            "u": {"unit": "V", "range": (-1.0, 1.0), "role": "action", "start": 0.0},
            "v": {"unit": "V", "range": (-1.0, 1.0), "role": "action", "start": 0.0},
        },
        "observations": ({"signal": "x"}, {"signal": "y"}),
        "reward": ({"name": "error", "expression": "abs(x) / 1 [m]", "weight": -1.0},),
        "episode": {"start": {"x": {"kind": "fixed", "value": 0.0}, "y": {"kind": "fixed", "value": 0.0}}},
    }
    return PlantSpec.model_validate(data | changes)


def make_log(
    episodes: int = 40,
    steps: int = 60,
    *,
    noise: float = 0.0,
    still: bool = False,
    feedback: bool = False,
    seed: int = 0,
) -> PlantLog:
    """Simulate and measure the system.

    Args:
        episodes: how many.
        steps: rows of each.
        noise: standard deviation of the measurement noise.
        still: the second action hardly moves.
        feedback: the second action is a fixed function of the measurements.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    stretches = []
    for episode in range(episodes):
        x, measured, applied = random.normal(size=2), [], []
        for _ in range(steps):
            seen = x + noise * random.normal(size=2)
            action = random.uniform(-1.0, 1.0, size=2)
            if still:
                action[1] = 0.4 + 1e-4 * action[1]
            if feedback:
                action[1] = 0.3 * seen[0] - 0.5 * seen[1]
            measured.append(seen)
            applied.append(action)
            x = A @ x + B @ action + C
        stretches.append(Stretch(episode, np.array(measured), np.array(applied)))
    return PlantLog(("x", "y"), ("u", "v"), tuple(stretches), episodes, episodes * steps, 0, 0, 0)


@pytest.fixture
def log() -> MakeLog:
    """Return the function that makes logs."""
    return make_log


@pytest.fixture
def spec() -> Callable[..., PlantSpec]:
    """Return the function that makes the spec."""
    return plant_spec


@pytest.fixture
def true_system() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A, B and c."""
    return A, B, C
