"""Ids of the plants in Gymnasium: ``fpo_pilot/<name>-v0``."""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

from fpo_pilot.specs.content import list_plants

ENTRY_POINT = "fpo_pilot.plants.env:PlantEnv"
VECTOR_ENTRY_POINT = "fpo_pilot.plants.vector_env:PlantVectorEnv"


def env_id(name: str) -> str:
    """Return the Gymnasium id of a plant."""
    return f"fpo_pilot/{name}-v0"


def register_all() -> tuple[str, ...]:
    """Register every plant that can be found from here, by strings: nothing heavy is imported. Return their ids."""
    ids = []
    for name in list_plants():
        ids.append(env_id(name))
        if env_id(name) not in registry:
            register(
                id=env_id(name),
                entry_point=ENTRY_POINT,
                vector_entry_point=VECTOR_ENTRY_POINT,
                kwargs={"plant": name},
            )
    return tuple(ids)
