"""docs/export: both languages have the same of it, the warning comes first, and names and figures are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fpo_pilot.exports import d3rlpy_file, lerobot_dataset
from fpo_pilot.exports.target import MARK
from fpo_pilot.learn.graph import ACTION, NOISE, OBSERVATION, TOLERANCE

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def test_both_languages_have_the_same_blocks_rows_and_names() -> None:
    english, japanese = page("export.md"), page("export.ja.md")
    assert BLOCK.findall(english) == BLOCK.findall(japanese) != []
    rows = [re.findall(r"^\| (.+?) \|", text, re.MULTILINE) for text in (english, japanese)]
    assert len(rows[0]) == len(rows[1]) == 42
    code = [sorted(re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))) for text in (english, japanese)]
    assert code[0] == code[1]
    assert [len(re.findall("^## ", text, re.MULTILINE)) for text in (english, japanese)] == [2, 2]


@pytest.mark.parametrize(("name", "warning"), [("export.md", "Only the box is inside"), ("export.ja.md", "上下限だけ")])
def test_the_warning_comes_first_and_names_and_bound_are_those_of_the_code(name: str, warning: str) -> None:
    text = page(name)
    assert warning in "\n".join(text.splitlines()[:3])
    for one in (OBSERVATION, NOISE, ACTION):
        assert f"| `{one}` |" in text
    assert f"{TOLERANCE:.0e}".replace("e-0", "e-") in text


@pytest.mark.parametrize("name", ["export.md", "export.ja.md"])
def test_names_and_layouts_of_the_data_sets_are_those_that_are_written(name: str) -> None:
    text = page(name)
    columns = [getattr(lerobot_dataset, one) for one in ("STATE", "ACTION", "REWARD", "DONE", "TRUNCATED")]
    for one in (*columns, *(f"{column}_i" for column in d3rlpy_file.COLUMNS), MARK, d3rlpy_file.FACTS):
        assert f"`{one}`" in text
    assert lerobot_dataset.LAYOUT in text
    assert f" {d3rlpy_file.LAYOUT} |" in text
