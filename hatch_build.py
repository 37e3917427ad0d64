"""Packs the content folders into the wheel as data; an editable install finds them at the root of the checkout instead."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CONTENT = ("envs", "safety", "reports")


class ContentHook(BuildHookInterface):
    """Top-level packages of these names would clash with others on the index, so they go under the one import root."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Include the folders, but not in an editable wheel, where a second copy would go stale."""
        included = {} if version == "editable" else {name: f"fpo_pilot/_content/{name}" for name in CONTENT}
        build_data["force_include"].update(included)
