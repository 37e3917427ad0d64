"""One episode of a plant as a picture: the incumbent, and a policy if a run is given, both behind the shield."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from fpo_pilot.evaluate.arms import Actor, PolicyActor, controller_actor
from fpo_pilot.evaluate.episodes import Conditions, run_episodes
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.reporting.drawing import Role
from fpo_pilot.reporting.figures import draw
from fpo_pilot.reporting.labels import arm_label
from fpo_pilot.reporting.page import Figure
from fpo_pilot.reporting.phrases import Verbatim
from fpo_pilot.reporting.texts import load_speaker
from fpo_pilot.reporting.trajectories import Path as Trajectory
from fpo_pilot.reporting.trajectories import Process, episode_panels
from fpo_pilot.reporting.views import PlantView, SafetyView
from fpo_pilot.shields.build import build_stack
from fpo_pilot.specs.evaluation import Scenario

SEED = 1000
MOST_POINTS = 250
"""Points of a line; more would not be seen, and would be bytes in the repository."""


def draw_episode(plant: Plant, run_dir: Path | None = None) -> str:
    """Return an SVG, the same to the byte for the same plant on the same machine."""
    actors: dict[str, tuple[Role, Actor]] = {"incumbent": ("incumbent", controller_actor(plant, "incumbent", 1))}
    if run_dir is not None:
        actors["policy"] = ("policy", policy_actor(plant, run_dir))
    paths = [
        Trajectory(name, "", arm_label(name), role, episode(plant, actor)) for name, (role, actor) in actors.items()
    ]
    safety = None if plant.safety is None else SafetyView.model_validate(plant.safety.model_dump(mode="json"))
    process = Process(PlantView.model_validate(plant.spec.model_dump(mode="json", by_alias=True)), safety)
    who = "the controller in charge today" + ("" if run_dir is None else " and a trained policy")
    figure = Figure(
        id=f"episode-{plant.name}",
        caption=Verbatim(f"{plant.spec.plant.title.en}: one episode"),
        description=Verbatim(f"Measured signals with limits and set points, and applied actions, under {who}."),
        drawing=episode_panels(process, paths),
        sources=(),
    )
    svg = str(draw(figure, load_speaker("en")))
    return (
        svg.replace("<svg ", '<svg font-family="sans-serif" ', 1) + "\n"
    )  # on its own there is no page to give a font


def episode(plant: Plant, actor: Actor) -> pa.Table:
    """Run one nominal episode, and return every few of its steps."""
    batch = run_episodes(
        plant,
        actor,
        Conditions(Scenario(), SEED, episodes=1, log_episodes=1),
        shield=None if plant.safety is None else build_stack(plant.safety, plant.spec, dynamics=Prediction(plant)),
        incumbent=None if plant.safety is None else incumbent_controller(plant),
    )
    wanted = [name for name in batch.log if name == "step" or name.startswith(("obs.", "ref.", "act.applied."))]
    table = pa.table({name: batch.log[name] for name in wanted})
    return table.take(list(range(0, table.num_rows, 1 + table.num_rows // MOST_POINTS)))


def policy_actor(plant: Plant, run_dir: Path) -> Actor:
    """Return the policy of a run as it is deployed without noise."""
    import torch

    from fpo_pilot.learn import load_policy

    policy = load_policy(run_dir)
    mode = min(policy.modes(), key=lambda one: one.noise_scale)
    return PolicyActor(plant, policy, mode, torch.Generator().manual_seed(SEED))
