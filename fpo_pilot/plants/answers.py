"""What a check of a plant answers: questions are asked one by one, and nothing that a user's code raises ends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from fpo_pilot.errors import FpoPilotError


@dataclass(frozen=True)
class CheckResult:
    """The answer to one question about a plant."""

    name: str
    passed: bool
    detail: str
    """What was found; where it is wrong, with the signal and the step."""
    expected: str = ""


class Answer(NamedTuple):
    """Whether it is as it should be, what was found, and what was expected."""

    passed: bool
    found: str
    expected: str = ""


Subject = TypeVar("Subject")
Question = Callable[[Subject], Answer | tuple[bool, str]]


def ask(questions: Sequence[tuple[str, Question[Subject]]], subject: Subject) -> list[CheckResult]:
    """Ask every question of ``subject``; what is raised is the answer."""
    results = []
    for name, question in questions:
        try:
            answer = Answer(*question(subject))
        except FpoPilotError as error:
            answer = Answer(False, str(error))
        except Exception as error:  # noqa: BLE001  # the dynamics are the user's: whatever they raise is the answer
            answer = Answer(False, f"{type(error).__name__}: {error}")
        results.append(CheckResult(name, answer.passed, answer.found, answer.expected))
    return results
