"""Errors of a spec carry their parts, print on one line, and survive a trip between processes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from fpo_pilot import errors
from fpo_pilot.errors import FpoPilotError, SpecError, SpecErrors, Words


def test_a_spec_error_says_place_path_finding_expectation_and_fix() -> None:
    error = SpecError(
        "actions.Tc.rate", -2, "a number above 0 in K/step", "Leave it out for none.", file=Path("a.yaml"), line=7
    )
    assert (
        str(error) == "a.yaml:7: actions.Tc.rate: found -2, expected a number above 0 in K/step. Leave it out for none."
    )
    assert (error.where, error.found, error.file, error.line) == ("actions.Tc.rate", -2, Path("a.yaml"), 7)


def test_without_a_file_there_is_no_place() -> None:
    assert str(SpecError("x", "a", "b", "C.")) == "x: found 'a', expected b. C."
    assert str(SpecError("x", "a", "b", "C.", file=Path("f"))).startswith("f: x: ")


def test_words_are_printed_without_quotes_and_long_findings_are_cut() -> None:
    assert "found nothing," in str(SpecError("x", Words("nothing"), "b", "C."))
    assert len(str(SpecError("x", "y" * 10_000, "b", "C."))) < 200


def test_all_errors_of_a_file_are_printed_one_a_line() -> None:
    both = SpecErrors([SpecError("x", 1, "2", "A."), SpecError("y", 3, "4", "B.")])
    assert str(both).splitlines() == ["x: found 1, expected 2. A.", "y: found 3, expected 4. B."]
    assert [error.where for error in both.errors] == ["x", "y"]


def test_errors_can_be_copied_with_all_they_know() -> None:
    both = SpecErrors([SpecError("x", 1, "2", "A.", file=Path("f"), line=3)])
    same = copy.copy(both)
    assert str(same) == str(both)
    assert copy.copy(both.errors[0]).line == 3


@pytest.mark.parametrize(
    "name", ["SpecError", "SpecErrors", "PlantError", "ShieldError", "PolicyError", "CheckpointError", "TrainingError",
             "LogError", "RolloutError", "ReportError"]
)  # fmt: skip
def test_every_error_is_an_fpo_pilot_error_and_is_in_the_tree_of_the_docstring(name: str) -> None:
    assert issubclass(getattr(errors, name), FpoPilotError)
    assert f"── {name} " in (errors.__doc__ or "")


def test_the_tree_of_the_docstring_is_complete() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, FpoPilotError)]
    assert all(f"{c.__name__} " in (errors.__doc__ or "") for c in classes)


def test_faults_of_a_spec_are_value_errors() -> None:
    assert issubclass(SpecError, ValueError)
    assert issubclass(SpecErrors, ValueError)
