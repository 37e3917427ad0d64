"""docs/own-plant.md: every file and every command in it works, and both languages have the same of them."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from fpo_pilot import cli
from fpo_pilot.identification import residual

DOCS = Path(__file__).resolve().parents[2] / "docs"
ENGLISH, JAPANESE = DOCS / "own-plant.md", DOCS / "own-plant.ja.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
FILE = re.compile(r"^(?:# |<!-- )(\S+?)(?: -->)?\n")
SMALL = {"train": ("--steps", "4000"), "evaluate": ("--episodes", "2")}
"""What a command gets in the place of its own budget."""


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text("utf-8"))


def run(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Run one line of a shell block in this process."""
    words = shlex.split(line)
    if words[0] == "cd":
        monkeypatch.chdir(words[1])
    elif words[0] == "python":
        runpy.run_path(words[1], run_name="__main__")
    else:
        assert words[0] == "fpo-pilot", line
        words += SMALL.get(words[1], ())  # a later option counts
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == 0, line


@pytest.mark.slow
def test_every_file_and_command_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(residual, "ITERATIONS", 50)
    commands = []
    for kind, text in blocks(ENGLISH):
        if kind == "sh":
            for line in text.splitlines():
                run(monkeypatch, line)
                commands.append(line)
        else:
            named = FILE.match(text)
            assert named is not None, text[:80]
            file = Path(named[1])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    assert len(commands) == 13
    made = tmp_path / "mine"
    for plant in ("heater", "carriage", "heater_identified"):
        assert (made / "envs" / plant / "plant.yaml").is_file()
        assert (made / "runs" / f"{plant}-gaussian_ppo-0" / "evaluation.json").is_file()


def test_both_languages_have_the_same_code_and_the_same_sections() -> None:
    assert blocks(ENGLISH) == blocks(JAPANESE)
    assert all(
        "@" not in BLOCK.sub("", page.read_text("utf-8")) for page in (ENGLISH, JAPANESE)
    )  # a number to be filled in
    levels = [
        re.findall(r"^(#+) ", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE) for page in (ENGLISH, JAPANESE)
    ]
    assert levels[0] == levels[1]
    paragraphs = [BLOCK.sub("", page.read_text("utf-8")).count("\n\n") for page in (ENGLISH, JAPANESE)]
    assert paragraphs[0] == paragraphs[1]


@pytest.mark.parametrize("page", [ENGLISH, JAPANESE])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).is_file(), target
