"""What must hold in map.yaml, and between it and the plant."""

from __future__ import annotations

import math
from collections.abc import Iterator
from zoneinfo import ZoneInfo, available_timezones

from fpo_pilot.errors import Words
from fpo_pilot.specs.findings import Finding, did_you_mean
from fpo_pilot.specs.ingestion import IngestionMap
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant_rules import NOTHING, duplicate_findings, measured_names, names_of, unknown
from fpo_pilot.specs.units import UnitError, convert_point, parse_unit, same_dimension


def ingestion_findings(wanted: IngestionMap, plant: PlantSpec) -> Iterator[Finding]:
    """Find everything that is wrong with a map whose fields are sound one by one."""
    if wanted.plant != plant.plant.id:
        yield Finding(
            ("plant",), wanted.plant, f"{plant.plant.id}, the id in plant.yaml", "Name the plant of this map."
        )
    yield from _reading(wanted)
    yield from _quality(wanted)
    yield from _signals(wanted, plant)
    steps, horizon = wanted.episodes.steps, plant.timing.horizon
    if steps is not None and steps > horizon:
        expected = f"{horizon} or fewer, the horizon in plant.yaml: no policy of the plant knows a later step"
        yield Finding(("episodes", "steps"), steps, expected, "Leave `steps` out, or write fewer.")
    columns = [entry.column for entry in wanted.signals.values()]
    yield from duplicate_findings([*columns, wanted.time.column], ("signals",), None)
    yield from _density(wanted)


def _density(wanted: IngestionMap) -> Iterator[Finding]:
    if wanted.behavior_density == "fitted":
        expected = (
            "none or known: what a fit leaves over is not the chance that the weights of importance sampling ask for"
        )
        fix = "Write `none`, FQE needs no density; or log that of the moves that were made, and write `known`: docs/history.md."
        yield Finding(("behavior_density",), "fitted", expected, fix)
        return
    known = wanted.behavior_density == "known"
    if known != (wanted.log_density is not None):
        found = NOTHING if wanted.log_density is None else wanted.log_density
        expected = "`log_density:` exactly where `behavior_density: known`"
        yield Finding(("log_density",), found, expected, "Add the column, or say `behavior_density: none`.")
    if known != (wanted.density_of is not None):
        found = NOTHING if wanted.density_of is None else wanted.density_of
        expected = "`density_of:` exactly where `behavior_density: known`"
        fix = (
            "Write `density_of: normalised` if each action was mapped to −1 … 1 over its limits before its density was taken, "
            "`density_of: engineering` if it is that of the action in the unit of its column."
            if known
            else "Leave it out, or say `behavior_density: known`."
        )
        yield Finding(("density_of",), found, expected, fix)


def _reading(wanted: IngestionMap) -> Iterator[Finding]:
    try:
        "text".encode(wanted.encoding)  # base64 and the like are codecs, but of bytes
    except (LookupError, UnicodeError):
        expected = "the name of a text encoding"
        yield Finding(("encoding",), wanted.encoding, expected, "Write utf-8, utf-8-sig, or cp932 for Shift-JIS.")
    if wanted.delimiter == wanted.decimal:
        expected = "another sign than `delimiter`"
        yield Finding(("decimal",), wanted.decimal, expected, "With a decimal comma columns are usually parted by `;`.")
    try:
        ZoneInfo(wanted.time.zone)
    except (ValueError, OSError, KeyError):
        zones = tuple(sorted(available_timezones()))
        fix = did_you_mean(wanted.time.zone, zones, "Write, for example, Asia/Tokyo or UTC.")
        yield Finding(("time", "zone"), wanted.time.zone, "a time zone", fix)


def _quality(wanted: IngestionMap) -> Iterator[Finding]:
    judged = [name for name, entry in wanted.signals.items() if entry.quality is not None]
    if judged and not wanted.good:
        expected = f"the codes of a reading that can be used, since {', '.join(judged)} has a quality column"
        fix = (
            'Write `good: ["192"]` for OPC DA, where 0 is bad, `good: ["0"]` for OPC UA, where 0 is good, or the words of '
            "your historian, such as `good: [Good]`."
        )
        yield Finding(("good",), NOTHING, expected, fix)


def _signals(wanted: IngestionMap, plant: PlantSpec) -> Iterator[Finding]:
    known = (*measured_names(plant), *names_of(plant, "action", "reference"))
    for name, entry in wanted.signals.items():
        path = ("signals", name)
        if name not in known:
            yield unknown(path, name, known, "a measured signal, an action or a reference")
        elif entry.unit is not None:
            yield from _unit(entry.unit, plant.signals[name].unit, (*path, "unit"))
    for name in (*measured_names(plant), *names_of(plant, "action")):
        if name not in wanted.signals:
            what = "an action" if name in names_of(plant, "action") else "a measured signal"
            fix = f"Add `{name}: {{column: …}}`; without it neither reward nor policy can be computed."
            yield Finding(("signals", name), NOTHING, f"a column for {what} of the plant", fix)
    for name in names_of(plant, "reference"):
        schedule = plant.signals[name].schedule
        if name not in wanted.signals and len(schedule) > 1:
            found = Words(f"no column, and {len(schedule)} values in plant.yaml")
            fix = f"Add `{name}: {{column: …}}`: a log does not follow the schedule of an exercise."
            yield Finding(("signals", name), found, "the set point that was in force", fix)


def _unit(text: str, wanted: str, path: tuple[str, ...]) -> Iterator[Finding]:
    try:
        unit = parse_unit(text)
    except UnitError as error:
        yield Finding(path, text, "a unit of measurement", error.fix)
        return
    if not same_dimension(unit, parse_unit(wanted)):
        yield Finding(path, text, f"a unit that converts to {wanted}", "Correct the unit, or the column.")
        return
    try:
        zero, one, ten = (convert_point(value, unit, parse_unit(wanted)) for value in (0.0, 1.0, 10.0))
    except UnitError as error:
        yield Finding(path, text, f"a unit that readings convert from to {wanted}", f"{error}. {error.fix}")
        return
    if not math.isclose(ten - zero, 10.0 * (one - zero), rel_tol=1e-6):
        expected = f"a unit that is linear in {wanted}; this one is logarithmic"
        yield Finding(path, text, expected, f"Export the column in {wanted}, or another unit that is linear.")
