"""One cell of an evaluation: its key, how it is run, and the tables it leaves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import torch

from fpo_pilot.certification.stacks import plant_stack
from fpo_pilot.evaluate.arms import (
    Actor,
    Arm,
    PolicyActor,
    SequenceActor,
    controller_actor,
)
from fpo_pilot.evaluate.episodes import Conditions, EpisodeBatch, run_episodes
from fpo_pilot.evaluate.oracle import NoPlan, Plan, plan_episode
from fpo_pilot.evaluate.store import STAGE, CellTables
from fpo_pilot.learn.step_record import end_reasons
from fpo_pilot.logs import code_hash, episode_schema, step_schema, to_table
from fpo_pilot.logs.schema import goal_verbs, reward_term_names
from fpo_pilot.plants.controllers import incumbent_controller
from fpo_pilot.specs import spec_hash
from fpo_pilot.specs.evaluation import Scenario

if TYPE_CHECKING:
    from fpo_pilot.learn.policy import Deployment
    from fpo_pilot.plants.plant import Plant


@dataclass(frozen=True)
class Cell:
    """One arm in one mode, with or without shield, in one scenario, on one set of seeds."""

    arm: Arm
    scenario: Scenario
    shield: bool
    seed: int
    episodes: int
    deployment: Deployment | None = None
    log_episodes: int = 0
    purpose: Literal["report", "choice"] = "report"

    @property
    def mode(self) -> str:
        """Label of the deployment; empty for what has none."""
        return "" if self.deployment is None else self.deployment.label

    @property
    def title(self) -> str:
        """A few words for progress."""
        shield = "shield on" if self.shield else "shield off"
        words = ("choose" if self.purpose == "choice" else "", self.arm.name, self.mode, shield, self.scenario.name)
        return ", ".join(word for word in words if word)


@dataclass
class Bench:
    """What all cells of an evaluation share: the plant, its hashes and schemas, and the plans of the oracle."""

    plant: Plant
    plans: dict[str, Plan | NoPlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Compute hashes and schemas once."""
        plant = self.plant
        self.hashes: dict[str, str | None] = {
            "plant": spec_hash(plant.spec),
            "safety": None if plant.safety is None else spec_hash(plant.safety),
            "code": code_hash(),
            "dynamics": plant.dynamics_hash,
        }
        metadata = {f"{name}_hash": value for name, value in self.hashes.items() if value is not None}
        self.step_schema: pa.Schema = step_schema(
            plant.spec, plant.safety, metadata={**metadata, "clock": "simulated; every episode starts at 1970-01-01"}
        )
        self.episode_schema: pa.Schema = episode_schema(
            reward_term_names(plant.spec), tuple(limit.id for limit in plant.limits), goal_verbs(plant.spec)
        )

    def key(self, cell: Cell) -> str:
        """Hash everything that the result of a cell depends on."""
        facts = {
            "hashes": self.hashes,
            "arm": [cell.arm.name, cell.arm.kind, cell.arm.fingerprint],
            "deployment": None if cell.deployment is None else repr(cell.deployment),
            "scenario": cell.scenario.model_dump(mode="json"),
            "shield": cell.shield,
            "seed": cell.seed,
            "episodes": cell.episodes,
            "purpose": cell.purpose,
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def plan(self, scenario: Scenario) -> Plan | NoPlan:
        """Return the oracle's plan for a scenario, made at the first call."""
        key = scenario.model_dump_json()
        if key not in self.plans:
            self.plans[key] = plan_episode(self.plant, scenario)
        return self.plans[key]

    def run(self, cell: Cell) -> CellTables | NoPlan:
        """Run one cell; NoPlan where there is no oracle."""
        flown = self._fly(cell)
        if isinstance(flown, NoPlan):
            return flown
        return CellTables(self._episode_table(cell, flown), self._step_table(cell, flown))

    def trace(self, cell: Cell, last_episode: int) -> pa.Table:
        """Return every step of the episodes of a cell up to ``last_episode``; none where there is no oracle."""
        wanted = replace(cell, log_episodes=last_episode + 1)
        flown = self._fly(wanted)
        return self.step_schema.empty_table() if isinstance(flown, NoPlan) else self._step_table(wanted, flown)

    def _fly(self, cell: Cell) -> EpisodeBatch | NoPlan:
        actor = self._actor(cell)
        if isinstance(actor, NoPlan):
            return actor
        plant = self.plant
        shield = None
        if cell.shield and plant.safety is not None:
            shield = plant_stack(plant, plant.safety)
        return run_episodes(
            plant,
            actor,
            Conditions(cell.scenario, cell.seed, cell.episodes, cell.log_episodes),
            shield=shield,
            incumbent=None if plant.safety is None else incumbent_controller(plant),
        )

    def _actor(self, cell: Cell) -> Actor | NoPlan:
        arm = cell.arm
        if arm.kind == "oracle":
            plan = self.plan(cell.scenario)
            return plan if isinstance(plan, NoPlan) else SequenceActor(plan.actions)
        if arm.policy is not None and cell.deployment is not None:
            generator = torch.Generator().manual_seed(cell.seed)
            return PolicyActor(self.plant, arm.policy, cell.deployment, generator)
        return controller_actor(self.plant, "hold" if arm.kind == "hold" else "incumbent", cell.episodes)

    def _labels(self, cell: Cell) -> dict[str, Any]:
        return {
            "stage": STAGE,
            "arm": cell.arm.name,
            "mode": cell.mode,
            "shield": cell.shield,
            "scenario": cell.scenario.name,
            "cell": self.key(cell),
        }

    def _episode_table(self, cell: Cell, batch: EpisodeBatch) -> pa.Table:
        columns = {
            **self._labels(cell),
            "episode_id": np.arange(cell.episodes),
            "seed": cell.seed + np.arange(cell.episodes),
            "steps": batch.steps,
            "return": batch.returns,
            "terminated": batch.terminated,
            "truncated": batch.truncated,
            "end_reason": end_reasons(batch.terminated, batch.truncated, batch.tripped),
            "violations_hard": batch.violations_hard,
            "violations_soft": batch.violations_soft,
            "interventions": batch.interventions,
            **{f"reward.{name}": value for name, value in batch.terms.items()},
            **{f"margin_min.{name}": value for name, value in batch.margin_min.items()},
            **{f"goal.{name}": value for name, value in batch.goals.satisfaction.items()},
            **{f"robustness.{name}": value for name, value in batch.goals.robustness.items()},
        }
        return to_table(self.episode_schema, columns, cell.episodes)

    def _step_table(self, cell: Cell, batch: EpisodeBatch) -> pa.Table:
        rows = len(batch.log["step"]) if batch.log else 0
        if rows == 0:
            return self.step_schema.empty_table()
        columns = {
            **batch.log,
            **self._labels(cell),
            "seq": np.arange(rows),
            "flow_steps": None if cell.deployment is None else cell.deployment.steps,
            "model_hash": cell.arm.fingerprint or None,
            "plant_hash": self.hashes["plant"],
            "safety_hash": self.hashes["safety"],
        }
        return to_table(self.step_schema, columns, rows)
