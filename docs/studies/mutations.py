"""Does a test notice? Each mutation of ``mutations.toml`` breaks one shield a little; the test that it names must fail by an assertion.

The tree is copied to a temporary folder, and the test of each mutation runs there in a process of its own. What the tests do when
nothing is broken is asked first: they must pass. A mutation whose text is not found exactly once stops the study, so that none is lost
when code moves.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from results_page import put

from fpo_pilot.commands.console import note

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIST, RECORD = HERE / "mutations.toml", HERE / "mutations.parquet"
SHIELDS = "fpo_pilot/shields"
COPIED = ("fpo_pilot", "envs", "safety", "reports", "tests", "pyproject.toml")
KEPT = ("layer", "file", "find", "put", "test")
LAYERS = {
    "integrity": "健全性確認",
    "sequence": "シーケンス",
    "interlock": "インターロック",
    "predictive": "予測",
    "barrier": "バリア",
    "projection": "射影（バリアの計算）",
    "box and rate": "上下限・変化率",
    "re-verification": "再検証と最後の手段",
    "operator": "運転員の操作",
    "candidates": "候補",
    "wrapper": "ラッパー",
}
"""In the order of the page, and their names on the Japanese one."""


class Mutation(NamedTuple):
    """One of the list; see the head of ``mutations.toml``."""

    layer: str
    file: str
    find: str
    put: str
    test: str
    en: str
    ja: str

    def applied(self, tree: Path) -> tuple[Path, str, str]:
        """Return the file, its text and what becomes of it; the text must be found exactly once."""
        path = tree / SHIELDS / self.file
        text = path.read_text("utf-8")
        found = text.count(self.find)
        if found != 1:
            raise SystemExit(
                f"{LIST.name}: found {self.find!r} {found} times in {SHIELDS}/{self.file}, expected it once. "
                "Correct `find`, so that the mutation means what it says."
            )
        return path, text, text.replace(self.find, self.put)


def mutations() -> list[Mutation]:
    """Read the list, in the order of the page."""
    listed = [Mutation(**entry) for entry in tomllib.loads(LIST.read_text("utf-8"))["mutation"]]
    order = list(LAYERS)
    return sorted(listed, key=lambda one: order.index(one.layer))


class Tree:
    """A copy of the repository in which code is broken, and a process that answers for its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, self.folder / name)
        # By content: a mutated file of the same size and second must not be taken from the cache.
        compiler = (sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash")
        subprocess.run([*compiler, str(self.folder / "fpo_pilot")], check=True)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._judge = subprocess.Popen(
            [sys.executable, str(HERE / "mutation_judge.py"), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment | {"OMP_NUM_THREADS": "1"},
        )

    def ask(self, tests: list[str]) -> dict[str, Any]:
        """Run tests; see ``mutation_judge.py`` for the answer."""
        assert self._judge.stdin is not None  # noqa: S101  # both are pipes
        assert self._judge.stdout is not None  # noqa: S101
        self._judge.stdin.write(json.dumps(tests) + "\n")
        self._judge.stdin.flush()
        answer: dict[str, Any] = json.loads(self._judge.stdout.readline())
        return answer

    def try_out(self, one: Mutation) -> dict[str, Any]:
        """Break the code, ask, and mend it."""
        path, text, broken = one.applied(self.folder)
        path.write_text(broken, "utf-8")
        answer = self.ask([one.test])
        path.write_text(text, "utf-8")
        return answer

    def close(self) -> None:
        """End the process."""
        self._judge.communicate()


def run(listed: list[Mutation]) -> pd.DataFrame:
    """Try every test unmutated, and then every mutation."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder))
        tests = list(dict.fromkeys(one.test for one in listed))
        whole = tree.ask(tests)
        if whole["code"] or whole["fell"] or whole["broke"]:
            raise SystemExit(f"unmutated: found {whole}, expected that every test passes. Mend the tests first.")
        note(f"{len(tests)} tests, {whole['ran']} cases: all pass unmutated")
        for one in listed:
            answer = tree.try_out(one)
            fell = answer["fell"] > 0
            rows.append(
                {name: getattr(one, name) for name in KEPT}
                | {"fell": fell, "cases": answer["ran"], "failed": answer["fell"]}
            )
            note(f"{'found' if fell else 'SURVIVED':8s}  {one.layer}: {one.en} {answer['broke']}")
        tree.close()
    return pd.DataFrame(rows)


def lines(language: str, record: pd.DataFrame) -> list[str]:
    """Return the table of one language."""
    english = language == "en"
    found = int(record.fell.sum())
    fell = {(row.file, row.find, row.put): row.fell for row in record.itertuples()}
    head = ("layer", "what is broken", "test that fails") if english else ("層", "壊した箇所", "失敗するテスト")
    rows = ["| " + " | ".join(head) + " |", "|---|---|---|"]
    for one in mutations():
        what, layer = (one.en, one.layer) if english else (one.ja, LAYERS[one.layer])
        survived = "**none: it survives**" if english else "**なし（検出されない）**"
        test = f"`{one.test}`" if fell[one.file, one.find, one.put] else survived
        rows.append(f"| {layer} | {what} | {test} |")
    said = (
        f"{len(record)} mutations, {found} found."
        if english
        else f"変異 {len(record)} 件のうち {found} 件を検出しました。"
    )
    command = "Command" if english else "コマンド"
    opened = f"<details><summary>{'The list' if english else '一覧'}</summary>"
    return [said, "", opened, "", *rows, "", "</details>", "", f"{command}: `python docs/studies/mutations.py`."]


def main() -> int:
    """Run the study and write both pages; 1 where a mutation survives."""
    listed = mutations()
    for one in listed:
        one.applied(ROOT)
    record = run(listed)
    record.to_parquet(RECORD, index=False)
    for language, page in (("en", "safety.md"), ("ja", "safety.ja.md")):
        put("mutations", lines(language, record), HERE.parent / page)
    note(f"{int(record.fell.sum())} of {len(record)} found; wrote docs/safety.md and docs/safety.ja.md")
    return 0 if record.fell.all() else 1


if __name__ == "__main__":
    sys.exit(main())
