"""What the quality codes of a record tell about the map: of all files together, since a sensor may be bad for a whole day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fpo_pilot.errors import LogError
from fpo_pilot.ingestion.export import Export
from fpo_pilot.specs.ingestion import IngestionMap

_SCHEMES = ("0", "192")
"""The good codes of OPC UA and of OPC DA: what is good in one is bad in the other."""


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
            counts.update({code: seen.count for code, seen in one.codes[name].items()})
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


def require_one_scheme(exports: Sequence[Export], wanted: IngestionMap) -> None:
    """Refuse a record in which both 0 and 192 count as good readings of a signal, in whatever files.

    Raises:
        LogError: they do.
    """
    both = [code for code in _SCHEMES if code in wanted.good]
    for name, entry in wanted.signals.items():
        if entry.quality is None or len(both) < 2:
            continue
        found = [next((one for one in exports if code in one.codes[name]), None) for code in both]
        at = [(one.path, one.codes[name][code].row) for one, code in zip(found, both, strict=True) if one is not None]
        if len(at) < 2:
            continue
        (path, row), (other, behind) = at if found[0] is not found[1] else sorted(at, key=lambda one: one[1])
        elsewhere = f" of {other}" if other != path else ""
        raise LogError(
            f"{path}: row {row}, column {entry.quality}: found {' and '.join(both)} in one column, both good (the other one in row "
            f"{behind}{elsewhere}), expected only one of them under `good:`: 192 is good in OPC DA, where 0 is bad, and 0 is good in OPC "
            "UA. Name the one of yours."
        )


def all_bad(exports: Sequence[Export], wanted: IngestionMap) -> tuple[AllBad, ...]:
    """Return signals and files in which no reading of the signal is good."""
    return tuple(
        AllBad(name, number, max(codes, key=lambda code: codes[code].count))
        for number, one in enumerate(exports)
        for name, codes in one.codes.items()
        if not codes.keys() & set(wanted.good)
    )
