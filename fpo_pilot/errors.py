"""Every error that fpo-pilot raises on purpose.

::

    FpoPilotError                what the command line turns into exit code 2
    ├── SpecError                one fault of a declarative file: file:line, YAML path, found, expected, fix
    ├── SpecErrors               all faults of one file at once
    ├── PlantError               a plant or its dynamics cannot be built, or breaks its contract
    ├── ShieldError              a shield cannot be built, or breaks its promise
    ├── PolicyError              a policy cannot be built, or does not fit the plant
    ├── CheckpointError          a checkpoint is missing, cut short or from something else
    ├── TrainingError            a training cannot start or cannot go on
    ├── LogError                 a log of a run is missing, cut short or of another schema
    ├── CertificateError         a safety record is missing, is none, or cannot be made
    ├── RolloutError             a roll-out cannot start or was asked for a forbidden transition
    ├── ReportError              a report cannot be made from a run
    └── ExportError              a policy or a log cannot be written for another tool

Every message says where, what was found, what was expected, and how to put it right.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class Words(str):
    """A finding told in words, such as *nothing*: it is printed without the quotes of a value that was read."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class FpoPilotError(Exception):
    """Base of all errors of fpo-pilot."""


class SpecError(FpoPilotError, ValueError):
    """A spec is wrong at one place.

    Args:
        where: its YAML path, such as ``actions.Tc.rate`` or ``signals.T.range[1]``.
        found: the value that was read, or :class:`Words`.
        expected: what would be accepted there.
        fix: one sentence that says what to do.
        file: the file it was read from, if any.
        line: its line, counted from 1.
    """

    def __init__(
        self, where: str, found: object, expected: str, fix: str, *, file: Path | None = None, line: int | None = None
    ) -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.fix = fix
        self.file = file
        self.line = line
        super().__init__(self.place + f"{where}: found {_shorten(found)}, expected {expected}. {fix}")

    @property
    def place(self) -> str:
        """``file:line: `` as editors and compilers write it, or nothing if the spec is not from a file."""
        if self.file is None:
            return ""
        return f"{self.file}: " if self.line is None else f"{self.file}:{self.line}: "

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error pass between processes with all that it knows."""
        return (_rebuild, (self.where, self.found, self.expected, self.fix, self.file, self.line))


class SpecErrors(FpoPilotError, ValueError):  # noqa: N818  # a plural: many errors of one file
    """All faults of one file, in the order of their lines; one a line when printed."""

    def __init__(self, errors: Iterable[SpecError]) -> None:
        self.errors: tuple[SpecError, ...] = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))

    def __reduce__(self) -> tuple[object, ...]:
        """Let the errors pass between processes."""
        return (SpecErrors, (self.errors,))


class PlantError(FpoPilotError):
    """A plant or its dynamics cannot be built, or breaks its contract."""


class ShieldError(FpoPilotError):
    """A shield cannot be built, or breaks its promise."""


class PolicyError(FpoPilotError):
    """A policy cannot be built, or does not fit the plant."""


class CheckpointError(FpoPilotError):
    """A checkpoint is missing, cut short, or belongs to something else."""


class TrainingError(FpoPilotError):
    """A training cannot start or cannot go on."""


class LogError(FpoPilotError):
    """A log of a run is missing, cut short or of another schema."""


class CertificateError(FpoPilotError):
    """A safety record is missing, is none, or cannot be made."""


class RolloutError(FpoPilotError):
    """A roll-out cannot start, or was asked for a transition that its plan forbids."""


class ReportError(FpoPilotError):
    """A report cannot be made from a run."""


class ExportError(FpoPilotError):
    """A policy or a log cannot be written for another tool."""


def _rebuild(where: str, found: object, expected: str, fix: str, file: Path | None, line: int | None) -> SpecError:
    return SpecError(where, found, expected, fix, file=file, line=line)


def _shorten(found: object, longest: int = 120) -> str:
    text = repr(found)
    return text if len(text) <= longest else text[: longest - 1] + "…"
