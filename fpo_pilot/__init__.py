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
    from fpo_pilot.plants.check import check_plant
    from fpo_pilot.plants.load import load_plant

try:
    __version__ = version("fpo-pilot")
except PackageNotFoundError:  # a source tree that nobody installed
    __version__ = "0+unknown"

__all__ = ["__version__", "check_plant", "load_plant"]

_LAZY = {"check_plant": "fpo_pilot.plants.check", "load_plant": "fpo_pilot.plants.load"}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fpo_pilot' has no attribute {name!r}; it has {', '.join(__all__)}")


if find_spec("gymnasium") is not None:
    from fpo_pilot.plants.registration import register_all

    register_all()
