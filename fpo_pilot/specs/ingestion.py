"""The map from a historian's export to the signals of a plant: map.yaml of ``fpo-pilot ingest``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fpo_pilot.specs.base import Name, Positive, Spec

Count = Annotated[int, Field(ge=0)]


class TimeColumn(Spec):
    """Where the time stands, and how it is written."""

    column: str
    format: str | None = None
    """As for strptime, such as ``%Y/%m/%d %H:%M:%S``; ISO 8601 if left out."""
    zone: str = "UTC"
    """Of times without one, such as ``Asia/Tokyo``."""


class SignalColumn(Spec):
    """Where a signal stands."""

    column: str
    unit: str | None = None
    """Of the column; that of the signal if left out."""
    quality: str | None = None
    """Column with the quality code of each reading."""


class Resampling(Spec):
    """How irregular samples come onto the grid of the control period."""

    method: Literal["hold", "linear"] = "hold"
    """Of readings: the last one, or a line between two. Actions and set points are always held."""
    max_gap: Positive | None = None
    """Seconds between two samples over which nothing is filled in: an episode ends there. Three periods if left out."""


class Episodes(Spec):
    """Where an episode ends, besides a gap, a trip and the declared end of the task. It does not end where a file does."""

    column: str | None = None
    """Changes where another batch, shift or day begins; told in every row."""
    steps: Annotated[int, Field(ge=2)] | None = None
    """Longest episode, up to the horizon of the plant, which it is if left out. What is cut earlier is no whole episode."""
    at_least: Annotated[int, Field(ge=2)] = 2
    """Shorter ones are dropped, and counted."""


class IngestionMap(Spec):
    """A whole map.yaml."""

    schema_version: Literal[1]
    plant: Name
    encoding: str = "utf-8"
    """Of CSV files: ``cp932`` is the Shift-JIS of Japanese exports."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    decimal: Literal[".", ","] = "."
    skip_before: Count = 0
    """Lines before the line of column names."""
    skip_after: Count = 0
    """Lines after it that are no data, such as one of units."""
    time: TimeColumn
    signals: dict[Name, SignalColumn]
    good: tuple[str, ...] = ()
    """Quality codes of a reading that can be used; every other one is bad. Without a default: 0 is good in OPC UA and bad in OPC DA."""
    missing: tuple[str, ...] = ("", "NaN", "nan", "NULL", "Bad", "BAD", "----")
    """Texts that stand for no reading."""
    resampling: Resampling = Resampling()
    episodes: Episodes = Episodes()
    behavior_density: Literal["none", "known", "fitted"] = "none"
    """Whether the log says how likely its actions were; that of a PID loop or a person is not known. ``fitted`` is refused."""
    log_density: str | None = None
    """Column with the natural logarithm of that density; with ``behavior_density: known``."""
    density_of: Literal["normalised", "engineering"] | None = None
    """Of which actions that density is: of those in −1 … 1 over the limits of each, as policies propose them, or of those in the units of
    their columns. The log has that of the normalised ones."""
