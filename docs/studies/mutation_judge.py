"""Runs tests on a mutated tree and says whether an assertion failed; started by ``mutations.py``.

What costs time is to import torch. So it is imported once, in a process that knows nothing of the tree, and every question is answered
by a fork of it, which imports the shields as they are then. Questions come as lines of JSON (a list of tests), answers go back so.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import gymnasium  # noqa: F401  # imported once for all forks
import hypothesis  # noqa: F401
import pytest
import torch

TESTS = "tests/shields"
LONGEST = 180  # seconds that a question may take
OPTIONS = ("-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-o", "addopts=--import-mode=importlib")
EARLY = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # hypothesis is imported before pytest could rewrite it


class Judge:
    """Listens to pytest: how many cases ran, in how many an assertion failed, and what else went wrong."""

    def __init__(self) -> None:
        self.ran, self.fell, self.broke = 0, 0, ""

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Look at each call; an error that is no assertion is not what a mutation is counted for."""
        self.ran += call.when == "call"
        if call.excinfo is None:
            return
        asserted = call.when == "call" and call.excinfo.errisinstance((AssertionError, pytest.fail.Exception))
        self.fell += asserted
        self.broke = self.broke if asserted else f"{item.nodeid}: {call.excinfo.exconly()[:300]}"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be imported."""
        if report.failed:
            self.broke = str(report.longrepr)[-300:]


def judge(tree: Path, tests: list[str]) -> dict[str, Any]:
    """Run tests on ``tree`` in this process."""
    sys.path.insert(0, str(tree))
    import fpo_pilot

    if not Path(fpo_pilot.__file__).is_relative_to(tree):
        raise SystemExit(f"fpo_pilot: found {fpo_pilot.__file__}, expected it in {tree}. Take it off PYTHONPATH.")
    seen = Judge()
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main([*OPTIONS, *EARLY, *(f"{TESTS}/{test}" for test in tests)], plugins=[seen])
    return {"ran": seen.ran, "fell": seen.fell, "broke": seen.broke, "code": int(code)}


def answer(tree: Path, tests: list[str]) -> str:
    """Judge in a fork; what dies or takes too long says nothing of the tests, and is told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(LONGEST)
            os.write(writing, json.dumps(judge(tree, tests)).encode())
        finally:
            os._exit(0)  # whatever happens: a fork must not go on as the process that answers
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said or json.dumps({"ran": 0, "fell": 0, "broke": f"died, or took more than {LONGEST} s", "code": -1})


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    tree = Path(sys.argv[1])
    os.chdir(tree)
    sys.dont_write_bytecode = True
    for line in sys.stdin:
        print(answer(tree, json.loads(line)), flush=True)  # noqa: T201  # to the study


if __name__ == "__main__":
    main()
