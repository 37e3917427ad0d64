"""docs/history: the map in it is one, and both languages have the same of it."""

from __future__ import annotations

import re
from pathlib import Path

from fpo_pilot.specs import load_ingestion_map, load_plant_spec

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def test_the_map_loads_and_both_languages_have_the_same_blocks_and_keys(tmp_path) -> None:
    english, japanese = ((DOCS / name).read_text("utf-8") for name in ("history.md", "history.ja.md"))
    assert BLOCK.findall(english) == BLOCK.findall(japanese)
    assert len(re.findall(r"^\| `", english, re.MULTILINE)) == len(re.findall(r"^\| `", japanese, re.MULTILINE)) == 7
    spec = load_plant_spec("cstr")
    path = tmp_path / "map.yaml"
    path.write_text(dict(BLOCK.findall(english))["yaml"], encoding="utf-8")
    assert load_ingestion_map(path, spec).resampling.max_gap == 120.0
