"""Libraries that only an export needs."""

from __future__ import annotations

import importlib
from typing import Any

from fpo_pilot.errors import ExportError


def library(option: str, name: str, extra: str) -> Any:
    """Import a library of an extra.

    Args:
        option: that asked for it, such as ``--minari``.
        name: of the module.
        extra: that installs it.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise ExportError(
            f"{option}: found no {name.split('.')[0]}, expected the extra `{extra}`. "
            f"Install it with `pip install 'fpo-pilot[{extra}]'`."
        ) from problem
