"""docs/safety: the table of mutations is that of the list, each text occurs once in the code, and each test is one that pytest finds."""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDIES, TESTS = ROOT / "docs" / "studies", ROOT / "tests" / "shields"
LISTED: list[dict[str, str]] = tomllib.loads((STUDIES / "mutations.toml").read_text("utf-8"))["mutation"]
RECORD = pd.read_parquet(STUDIES / "mutations.parquet")


def test_every_text_occurs_once_in_the_code_and_is_changed() -> None:
    wrong = []
    for one in LISTED:
        count = (ROOT / "fpo_pilot" / "shields" / one["file"]).read_text("utf-8").count(one["find"])
        if count != 1 or one["find"] == one["put"]:
            wrong.append((one["file"], one["find"], count))
    assert wrong == []
    assert len(LISTED) >= 30


def test_the_record_is_of_this_list_and_every_mutation_was_found() -> None:
    keys = ["layer", "file", "find", "put", "test"]
    listed = Counter(tuple(one[key] for key in keys) for one in LISTED)
    assert max(listed.values()) == 1
    assert Counter(RECORD[keys].itertuples(index=False, name=None)) == listed
    assert RECORD.fell.all()
    assert (RECORD.failed <= RECORD.cases).all()


@pytest.mark.parametrize(("page", "language"), [("safety.md", "en"), ("safety.ja.md", "ja")])
def test_both_pages_have_the_table_of_the_record(page: str, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    import mutations

    text = (ROOT / "docs" / page).read_text("utf-8")
    shown = text.split("<!-- mutations: begin -->")[1].split("<!-- mutations: end -->")[0]
    assert shown.strip().splitlines() == mutations.lines(language, RECORD)
    for name in ("mutations", "results_page"):
        sys.modules.pop(name, None)


def test_pytest_finds_every_test_that_is_named() -> None:
    class Collected:
        def __init__(self) -> None:
            self.names: set[str] = set()

        def pytest_collection_modifyitems(self, items: list[Any]) -> None:
            self.names = {item.nodeid.rsplit("/", 1)[-1] for item in items}

    collected, named = Collected(), {one["test"] for one in LISTED}
    files = [str(TESTS / name) for name in sorted({test.split("::")[0] for test in named})]
    options = (
        "--collect-only",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
        "-o",
        "addopts=--import-mode=importlib",
    )
    assert pytest.main([*options, *files], plugins=[collected]) == 0
    known = collected.names | {name.split("[")[0] for name in collected.names}
    assert sorted(named - known) == []
