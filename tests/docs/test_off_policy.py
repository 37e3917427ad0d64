"""docs/off-policy: both languages have the same commands, tables and headings."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_both_languages_have_the_same_of_everything() -> None:
    english, japanese = ((DOCS / name).read_text("utf-8") for name in ("off-policy.md", "off-policy.ja.md"))
    for what in (r"^```\w+\n.*?^```$", r"^\|", r"^\*\*", r"\]\([a-z-]+", r"`[a-z]+[a-z_ .-]*`"):
        count = [len(re.findall(what, text, re.MULTILINE | re.DOTALL)) for text in (english, japanese)]
        assert count[0] == count[1] > 0, what
