"""Contradictions between trip and reset: found for bounds on signals, never claimed for anything else."""

from __future__ import annotations

import pytest

from fpo_pilot.specs.contradiction import can_both_hold
from fpo_pilot.specs.expression import parse

UNITS = {"T": "K", "TC": "degC", "p": "bar"}


@pytest.mark.parametrize(
    ("trip", "reset", "both"),
    [
        ("T > 345 K", "T < 340 K", False),
        ("T > 345 K", "T < 350 K", True),
        ("T > 345 K", "T <= 345 K", False),
        ("T >= 345 K", "T <= 345 K", True),
        ("345 K < T", "T < 76.85 degC", True),
        ("TC > 80 degC", "TC < 345 K", False),
        ("T > 345 K or p > 5 bar", "T < 340 K and p < 4 bar", False),
        ("T > 345 K or p > 5 bar", "T < 340 K and p < 6 bar", True),
        ("T > 345 K", "T < 350 K and p < 4 bar", True),
        ("T > 345 K and p > 5 bar", "T < 350 K and p < 6 bar", True),
        ("T > 345 K and p > 5 bar", "T < 350 K and p < 4 bar", False),
        ("T > 345 K", "p < 4 bar", False),  # independent signals: nothing to say
        ("abs(T - 300 K) > 45 K", "T < 350 K", False),  # not bounds: nothing to say
        ("not T < 345 K", "T < 350 K", False),
    ],
)
def test_trip_and_reset(trip: str, reset: str, both: bool) -> None:
    assert can_both_hold(parse(trip), parse(reset), UNITS, 1.0) is both
