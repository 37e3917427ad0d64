"""Exact batched projection onto half-spaces and a box: the smallest correction of a proposal that satisfies them."""

from fpo_pilot.shields.projection.nearest import project

__all__ = ["project"]
