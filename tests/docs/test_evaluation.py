"""docs/evaluation: both languages have the same of everything, and the kinds and numbers in it are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from fpo_pilot.evaluate.grid import FAULT_SHARE, KINDS, MOST_CORNERS, NOISE_FACTORS, SLOW_SHARE
from fpo_pilot.evidence.verdict import LEAST_PAIRS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_both_languages_have_the_same_of_everything() -> None:
    english, japanese = ((DOCS / name).read_text("utf-8") for name in ("evaluation.md", "evaluation.ja.md"))
    for what in (r"^```\w+\n.*?^```$", r"^\|", r"\*\*", r"^## ", r"\]\([a-z-]+", r"`[a-z]+[a-z_ .-]*`"):
        count = [len(re.findall(what, text, re.MULTILINE | re.DOTALL)) for text in (english, japanese)]
        assert count[0] == count[1] > 0, what


def test_the_kinds_and_numbers_are_those_of_the_code() -> None:
    english = (DOCS / "evaluation.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", english, re.MULTILINE) == list(KINDS)
    assert (LEAST_PAIRS, MOST_CORNERS, NOISE_FACTORS) == (20, 64, (0, 2, 4))
    assert (FAULT_SHARE, SLOW_SHARE) == (0.03, 0.25)
    for words in ("fewer than 20 pairs", "up to 64", "times 0, 2 and 4", "are 3 % of", "a quarter of its rate"):
        assert words in english, words
