"""The reactor with a safety spec of its own, and a policy whose every number is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fpo_pilot.learn.policy import Deployment
from fpo_pilot.plants.load import build_plant, load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.plant import PlantSpec, Uniform
from fpo_pilot.specs.safety import SafetySpec

SAFETY: dict[str, Any] = {
    "schema_version": 1,
    "plant": "cstr",
    "limits": (
        {"id": "T_trip", "signal": "T", "high": 350.0, "kind": "hard"},
        {"id": "T_alarm", "signal": "T", "high": 328.0, "kind": "soft"},
    ),
    "actions": {"Tc": {"low": 295.0, "high": 302.0, "fallback": 300.0}},
    "incumbent": {
        "kind": "proportional",
        "loops": ({"action": "Tc", "measurement": "Ca", "reference": "Ca_sp", "gain": 160.0, "bias": 300.25},),
    },
}


class Linear(nn.Module):
    """Proportional control in normalised actions, with noise of a tenth of the half span; not clipped."""

    def __init__(self, gain: float = 100.0, bias: float = 300.25, broken: bool = False) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([gain, bias]))
        self.broken = broken

    def modes(self, method="euler", steps=None) -> tuple[Deployment, ...]:
        return (Deployment(noise_scale=0.0, steps=5), Deployment(noise_scale=1.0, steps=5))

    def deploy(self, deployment: Deployment) -> Acting:
        return Acting(self, deployment)


class Acting:
    def __init__(self, policy: Linear, deployment: Deployment) -> None:
        self.policy, self.deployment = policy, deployment

    def act(self, obs: Tensor, generator: torch.Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        noise = torch.randn(obs.shape[0], generator=generator)
        error = 0.05 * obs[:, 2]  # the third entry of the observation is Ca − Ca_sp, over 0.05
        gain, bias = self.policy.weights
        action = (bias + gain * error - 298.5) / 3.5 + 0.1 * self.deployment.noise_scale * noise
        return (torch.full_like(action, torch.nan) if self.policy.broken else action).unsqueeze(-1), {}


@pytest.fixture(scope="session")
def make_plant() -> Callable[..., Plant]:
    shipped = load_plant("cstr")

    def make(*, horizon: int = 12, spread: float = 0.0, safety: bool = True, **changes: Any) -> Plant:
        timing = shipped.spec.timing.model_copy(update={"horizon": horizon})
        spec: PlantSpec = shipped.spec.model_copy(update={"timing": timing})
        if spread:
            start = {**spec.episode.start, "Ca": Uniform(low=0.8 - spread, high=0.8 + spread)}
            spec = spec.model_copy(update={"episode": spec.episode.model_copy(update={"start": start})})
        own = SafetySpec.model_validate({**SAFETY, **changes}) if safety else None
        return build_plant(spec, own, shipped.dynamics, dynamics_file=shipped.dynamics_file)

    return make


@pytest.fixture(scope="session")
def reactor(make_plant: Callable[..., Plant]) -> Plant:
    """Its episodes are cut to 12 steps."""
    return make_plant()


@pytest.fixture(scope="session")
def full_reactor(make_plant: Callable[..., Plant]) -> Plant:
    """The benchmark: 60 steps, three set points."""
    return make_plant(horizon=60)


@pytest.fixture(scope="session")
def spread_reactor(make_plant: Callable[..., Plant]) -> Plant:
    """Its episodes start with a concentration drawn between 0.75 and 0.85 mol/L."""
    return make_plant(spread=0.05)


@pytest.fixture(scope="session")
def linear() -> type[Linear]:
    """A policy with a gain in K per mol/L and a bias in K."""
    return Linear
