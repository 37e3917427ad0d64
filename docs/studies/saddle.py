"""Draws what policies do at the saddle of ``grid_world``: noise particles on their way to actions, at the middle of the square.

Run after ``family.py``, whose run folders it reads: ``python docs/studies/saddle.py``. Writes ``family/saddle.svg`` and prints
the share of actions that go up and down.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from fpo_pilot.commands.console import say
from fpo_pilot.evaluate.comparison import Job
from fpo_pilot.learn import load_policy
from fpo_pilot.learn.gaussian_policy import GaussianPolicy

FOLDER = Path(__file__).resolve().parent
ALGORITHMS = ("fpo_plus_plus", "fpo", "gaussian_ppo")
PARTICLES, SEED = 200, 0
CLEAR = 0.3
"""A step of more than this in y counts as up or down."""


@torch.no_grad()
def way(policy: object, noise: Tensor) -> Tensor:
    """Return the points ``[K+1, P, 2]`` of particles on their way, at x = y = 0; a Gaussian has only start and end."""
    obs = torch.zeros(len(noise), 2)
    if isinstance(policy, GaussianPolicy):
        return torch.stack((noise, policy.sample(obs, noise, 1.0)))
    field = policy.network.condition(policy.normaliser(obs))  # type: ignore[attr-defined]  # a flow
    points, steps = [noise], policy.spec.flow_steps  # type: ignore[attr-defined]
    for k in range(steps):
        points.append(points[-1] + field(points[-1], torch.full((1,), k / steps)) / steps)
    return torch.stack(points)


def main() -> None:
    """Draw."""
    noise = torch.randn(PARTICLES, 2, generator=torch.Generator().manual_seed(SEED))
    figure, axes = plt.subplots(1, len(ALGORITHMS), figsize=(10, 3.8), sharex=True, sharey=True)
    for axis, name in zip(axes, ALGORITHMS, strict=True):
        points = way(load_policy(Job("grid_world", name, SEED).folder(Path("runs/study/family"))), noise)
        end = points[-1]
        if name != "gaussian_ppo":
            axis.plot(points[..., 0], points[..., 1], color="0.75", linewidth=0.5, zorder=1)
        axis.scatter(*noise.T, s=5, color="0.6", zorder=2, label="noise")
        axis.scatter(*end.T, s=7, color="#0b5fa5", zorder=3, label="action")
        up, down = float((end[:, 1] > CLEAR).float().mean()), float((end[:, 1] < -CLEAR).float().mean())
        axis.set_title(f"{name}: up {up:.0%}, down {down:.0%}", fontsize=10)
        axis.set_xlabel("step in x")
        axis.axhline(0.0, color="0.8", linewidth=0.8)
        say(f"{name}: up {up:.3f}, down {down:.3f} of {PARTICLES}")
    axes[0].set_ylabel("step in y")
    axes[0].legend(loc="lower left", fontsize=8)
    figure.tight_layout()
    figure.savefig(FOLDER / "family" / "saddle.svg", metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
