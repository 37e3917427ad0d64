from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from fpo_pilot.reporting import write_report

Make = Callable[..., Path]
ENGLISH = re.compile(r"[A-Za-z][a-z]+(?:[ ,.]+[A-Za-z][a-z]+){1,}")
NAMES = {"PASS", "FAIL", "INCONCLUSIVE"}


def words_of(page: str) -> str:
    """What a reader of Japanese reads: without ids, tags and commands (code), style and what is marked as English."""
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    page = re.sub(r"<code>.*?</code>", "", page, flags=re.DOTALL)
    page = re.sub(r'<span lang="en".*?</span>', "", page, flags=re.DOTALL)
    glossary = page.index('id="table-glossary"')
    page = page[:glossary] + re.sub(r"<tr class=\"plain\"><td>.*?</td>", "<tr>", page[glossary:])
    return unescape(re.sub(r"<[^>]+>", "\n", page))


@pytest.mark.parametrize("parts", [{}, {"rolled_out": False}, {"evaluated": False}])
def test_no_english_sentence_is_left_in_the_japanese_report(make_run: Make, parts: dict[str, bool]) -> None:
    text = words_of(write_report(make_run(**parts), ("ja",))[0].read_text(encoding="utf-8"))
    assert len(text) > 2000
    assert ENGLISH.findall(text) == []


def test_the_english_report_would_not_pass_that_test(pages: dict[str, str]) -> None:
    text = words_of(pages["report.en.html"])
    assert len(ENGLISH.findall(text)) > 100


def test_plant_words_are_those_of_the_control_room(pages: dict[str, str]) -> None:
    page = pages["report.ja.html"]
    for word in (
        "現行制御",
        "インターロック",
        "切戻し",
        "シャドー運転",
        "制限付き自動運転",
        "全権自動運転",
        "安全計装システム",
        "承認欄",
    ):
        assert word in page
    assert "発熱ジャケット付き反応器" in page
