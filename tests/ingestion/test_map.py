"""A map that does not fit is refused with file, line and path."""

from __future__ import annotations

import pytest

from fpo_pilot.errors import SpecErrors
from fpo_pilot.specs import load_ingestion_map, load_plant_spec
from fpo_pilot.specs.findings import dotted
from fpo_pilot.specs.ingestion import IngestionMap, SignalColumn, TimeColumn
from fpo_pilot.specs.ingestion_rules import ingestion_findings
from tests.ingestion.conftest import MAP, PLANT

SPEC = load_plant_spec(PLANT)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("unit: degC, quality", "unit: kg, quality", r"map.yaml:7.* signals.T.unit: found 'kg', expected a unit that converts to K"),
        ("unit: mol/m**3", "unit: mol/m^^3", r"signals.Ca.unit"),
        ("  Tc: {column: ジャケット温度, unit: degC}\n", "", r"signals.Tc: found nothing, expected a column for an action"),
        ("  Ca_sp: {column: 濃度設定値}\n", "", r"signals.Ca_sp: .*expected the set point that was in force"),
        ("  Ca_sp:", "  Ca_set:", r"signals.Ca_set"),
        ("zone: Asia/Tokyo", "zone: Asia/Tokio", r"time.zone: .*Did you mean `Asia/Tokyo`"),
        ("unit: degC, quality", "unit: delta_degC, quality", r"map.yaml:7.* signals.T.unit: found 'delta_degC', .*is a difference"),
        ("encoding: cp932", "encoding: base64", r"encoding: found 'base64'.*cp932 for Shift-JIS"),
        ("encoding: cp932", "encoding: shift-jisx", r"encoding: .*cp932 for Shift-JIS"),
        ("plant: cstr", "plant: reactor", r"plant: found 'reactor', expected cstr"),
        ("good: [正常]", "good: [正常]\ndelimiter: ';'\ndecimal: ';'", r"decimal"),
        ("good: [正常]", "", r'good: found nothing, expected the codes .*T has a quality column.*"192".* for OPC DA, where 0 is bad'),
        ("good: [正常]", "good: [正常]\nbehavior_density: known", r"log_density: found nothing, expected `log_density:`"),
        ("good: [正常]", "good: [正常]\nbehavior_density: known\nlog_density: d", r"density_of: found nothing, .*density_of: normalised"),
        ("good: [正常]", "good: [正常]\ndensity_of: normalised", r"density_of: found 'normalised', .*Leave it out"),
        ("good: [正常]", "good: [正常]\nbehavior_density: fitted", r"behavior_density: found 'fitted', expected none or known"),
        ("column: 濃度設定値", "column: 反応器温度", r"each name once"),
        ("good: [正常]", "good: [正常]\nepisodes: {steps: 61}", r"episodes.steps: found 61, expected 60 or fewer, the horizon"),
        ("good: [正常]", "good: [正常]\nresampling: {max_gap: 2 K}", r"resampling.max_gap"),
    ],
)  # fmt: skip
def test_a_fault_of_a_map_says_where_and_what(tmp_path, old, new, message) -> None:
    assert MAP.count(old) == 1
    path = tmp_path / "map.yaml"
    path.write_text(MAP.replace(old, new), encoding="utf-8")
    with pytest.raises(SpecErrors, match=message):
        load_ingestion_map(path, SPEC)


def test_a_gap_may_be_given_in_minutes(tmp_path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(MAP + "resampling: {max_gap: 5 min}\n", encoding="utf-8")
    assert load_ingestion_map(path, SPEC).resampling.max_gap == 300.0


def test_a_logarithmic_unit_is_refused_since_readings_are_converted_along_a_line() -> None:
    """10 dB are a factor of 10, and became 3.59."""
    share = SPEC.signals["T"].model_copy(update={"unit": "1"})
    spec = SPEC.model_copy(update={"signals": {**SPEC.signals, "T": share}})
    entry = SignalColumn(column="T", unit="dB")
    wanted = IngestionMap(schema_version=1, plant=PLANT, time=TimeColumn(column="t"), signals={"T": entry})
    found = {dotted(finding.path): finding for finding in ingestion_findings(wanted, spec)}
    assert "this one is logarithmic" in found["signals.T.unit"].expected
