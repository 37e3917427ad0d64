"""What the quality codes of a record tell about the map: of all files together, since a sensor may be bad for a whole day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion.export import Export
from fpo_pilot.specs.ingestion import IngestionMap


@dataclass(frozen=True)
class AllBad:
    """A file in which every reading of a signal is bad."""

    signal: str
    file: int
    code: str
    """The one that comes most often."""


def require_good_codes(exports: Sequence[Export], wanted: IngestionMap) -> None:
    """Refuse a record in which no reading of a signal is good.

    Raises:
        LogError: `good:` names none of the codes of a signal.
    """
    for name, entry in wanted.signals.items():
        if entry.quality is None:
            continue
        counts = Counter[str]()
        for one in exports:
            counts.update(one.codes[name])
        if counts.keys() & set(wanted.good):
            continue
        told = ", ".join(f"{code!r} ({count} times)" for code, count in counts.most_common(5))
        more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
        files = f" in {len(exports)} files" if len(exports) > 1 else ""
        raise LogError(
            f"{exports[0].path}: row {exports[0].row[0]}, column {entry.quality}: found {told}{more}{files}, expected "
            f"{', '.join(map(repr, wanted.good))} somewhere, as `good:` says: no reading of {name} can be used. Correct `good:` in the "
            "map, or export a time in which the sensor worked."
        )


def all_bad(exports: Sequence[Export], wanted: IngestionMap) -> tuple[AllBad, ...]:
    """Return signals and files in which no reading of the signal is good."""
    return tuple(
        AllBad(name, number, max(codes, key=lambda code: codes[code]))
        for number, one in enumerate(exports)
        for name, codes in one.codes.items()
        if not codes.keys() & set(wanted.good)
    )
