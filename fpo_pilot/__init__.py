"""fpo-pilot: a learned control policy into a real plant, safely, in steps, with evidence that a manager can sign.

Importing this package is light: it registers the shipped plants with Gymnasium as string entry points, if Gymnasium is
installed, and loads everything else when it is first asked for. An auditor's laptop needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fpo_pilot.plants.load import load_plant

try:
    __version__ = version("fpo-pilot")
except PackageNotFoundError:  # a source tree that nobody installed
    __version__ = "0+unknown"

__all__ = ["__version__", "load_plant"]

_LAZY = {"load_plant": "fpo_pilot.plants.load"}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fpo_pilot' has no attribute {name!r}; it has {', '.join(__all__)}")


def _register_plants() -> None:
    """Register every shipped plant as ``fpo_pilot/<name>-v0``, by string, so that nothing heavy is imported."""
    from gymnasium.envs.registration import register, registry

    from fpo_pilot.specs.content import list_plants

    for name in list_plants():
        env_id = f"fpo_pilot/{name}-v0"
        if env_id not in registry:
            register(
                id=env_id,
                entry_point="fpo_pilot.plants.env:PlantEnv",
                vector_entry_point="fpo_pilot.plants.vector_env:PlantVectorEnv",
                kwargs={"plant": name},
                disable_env_checker=False,
            )


if find_spec("gymnasium") is not None:
    _register_plants()
