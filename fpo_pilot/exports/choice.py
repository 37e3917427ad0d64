"""What of a step log is exported. Light to import: the command line says these names in its help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ALL = "all"
"""As the name of a scenario: every one."""
NOMINAL = "nominal"
"""The scenario of rows that name none, too, as those of an ingested log."""


class Action(StrEnum):
    """Which action of a row."""

    APPLIED = "applied"
    """As the actuator reported it: what moved the plant, and what the next reading follows from."""
    PROPOSED = "proposed"
    """What was asked for, before the shield."""


class Observations(StrEnum):
    """What stands for the plant's state."""

    POLICY = "policy"
    """What a policy sees, as in training: mapped to −1 … +1, with history and set points as plant.yaml lays them out."""
    SIGNALS = "signals"
    """Readings and set points of the row in engineering units, nothing added."""


@dataclass(frozen=True)
class Choice:
    """Which rows and columns; a name is as the log has it, and an empty tuple is every name, but those of a training."""

    stages: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = (NOMINAL,)
    shielded: bool = False
    """Pass over episodes that say that their shield was off."""
    action: Action = Action.APPLIED
    observations: Observations = Observations.POLICY
