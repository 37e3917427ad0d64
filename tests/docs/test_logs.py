"""docs/logs.md: its queries answer, and both languages say the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow as pa

from fpo_pilot.logs.query import query
from fpo_pilot.logs.tables import write_table_atomic
from fpo_pilot.logs.writer import StepLog

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (DOCS / "logs.md", DOCS / "logs.ja.md")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def test_both_languages_have_the_same_commands_sections_and_rows() -> None:
    english, japanese = (page.read_text("utf-8") for page in PAGES)
    assert BLOCK.findall(english) == BLOCK.findall(japanese)
    for pattern in (r"^(#+) ", r"^\|(-)", r"^(\|) ", r"^(```)"):
        found = [re.findall(pattern, text, re.MULTILINE) for text in (english, japanese)]
        assert found[0] == found[1]
    assert english.count("\n\n") == japanese.count("\n\n")
    assert re.findall(r"`[^`\n]+`", english).count("`verify`") == re.findall(r"`[^`\n]+`", japanese).count("`verify`")


def test_the_queries_of_the_page_answer(tmp_path: Path) -> None:
    with StepLog(
        tmp_path, "full", pa.schema([("seq", pa.int64()), ("stage", pa.string()), ("obs.T", pa.float32())])
    ) as log:
        log.append({"obs.T": [350.0, 361.0]})
    events = {"t": pa.array([0], pa.timestamp("ns", tz="UTC")), "kind": ["note"], "reason": ["a remark"]}
    write_table_atomic(tmp_path / "events.parquet", pa.table(events))
    lines = [line for block in BLOCK.findall(PAGES[0].read_text("utf-8")) for line in block.splitlines()]
    queries = [words[words.index("--sql") + 1] for words in map(shlex.split, lines) if "--sql" in words]
    answers = [query(tmp_path, sql, limit=5).rows for sql in queries]
    assert answers[0] == (("full", 2, 361.0),)
    assert [row[1:] for row in answers[1]] == [("note", "a remark")]
