from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import fpo_pilot.reporting
from fpo_pilot.errors import ReportError
from fpo_pilot.reporting.phrases import Bilingual, say
from fpo_pilot.reporting.texts import Speaker, content_file, load_speaker, placeholders

SOURCES = Path(fpo_pilot.reporting.__file__).parent
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def entries(language: str) -> dict[str, str]:
    def flat(table: dict[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
        for name, value in table.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", str(value)

    return dict(flat(tomllib.loads(content_file(f"text/{language}.toml").read_text(encoding="utf-8"))))


def test_both_languages_have_the_same_keys() -> None:
    assert entries("en").keys() == entries("ja").keys()


def test_both_languages_fill_in_the_same_values() -> None:
    japanese = entries("ja")
    different = {k for k, text in entries("en").items() if placeholders(text) != placeholders(japanese[k])}
    assert different == set()


def test_every_sentence_is_translated() -> None:
    japanese = entries("ja")
    same = {k for k, text in entries("en").items() if japanese[k] == text and re.search(r"[a-z]{3} [a-z]{3}", text)}
    assert {key for key in same if not key.endswith(".en")} == set()


def test_english_texts_hold_no_japanese_but_the_glossary() -> None:
    assert {k for k, text in entries("en").items() if JAPANESE.search(text) and not k.endswith(".ja")} == set()


def test_no_entry_is_left_that_nothing_says() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES.glob("*.py"))
    code += "\n".join(
        path.read_text(encoding="utf-8") for path in content_file("figures.toml").parent.glob("templates/*")
    )
    literal = set(re.findall(r'"([a-z_]+\.[a-z_0-9]+)"', code))
    prefixes = tuple(re.findall(r'f"([a-z_]+\.[a-z_]*)\{', code)) + tuple(re.findall(r'"([a-z_]+\.[a-z_]*)" ~', code))
    prefixes += ("risk.",)  # made from the name of the rule
    unused = {key for key in entries("en") if key not in literal and not key.startswith(prefixes)}
    assert unused == set()


def test_a_missing_entry_is_told_with_its_file() -> None:
    with pytest.raises(ReportError, match=r"reports/text/en\.toml: found no entry 'no\.such'.*Add it"):
        Speaker("en", {}).text(say("no.such"))


@pytest.mark.parametrize("text", ["{other}", "{value.__class__}", "{", "{0}"])
def test_a_text_that_asks_for_something_else_is_refused(text: str) -> None:
    with pytest.raises(ReportError, match=r"expected placeholders out of \{value\} only"):
        Speaker("en", {"a.b": text}).text(say("a.b", value="x"))


def test_values_are_escaped_in_html_and_verbatim_in_figures() -> None:
    speaker = Speaker("en", {"a.b": "<b> {value}"})
    phrase = say("a.b", value="<script>")
    assert speaker.html(phrase) == "&lt;b&gt; <code>&lt;script&gt;</code>"
    assert speaker.text(phrase) == "<b> <script>"


def test_a_bilingual_text_is_said_in_the_language_of_the_page() -> None:
    phrase = Bilingual("valve", "弁")
    assert (Speaker("en", {}).text(phrase), Speaker("ja", {}).text(phrase)) == ("valve", "弁")


def test_a_project_may_replace_single_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("envs", "safety", "reports/text"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "reports/text/en.toml").write_text('[signature]\nprocess = "Shift manager"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    speaker = load_speaker("en")
    assert speaker.word("signature.process") == "Shift manager"
    assert speaker.word("signature.safety") == "Plant safety"


def test_a_broken_text_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("envs", "safety", "reports/text"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/text/en.toml").write_text("[signature]\nprocess = 3\n", encoding="utf-8")
    with pytest.raises(ReportError, match=r"signature\.process: found 3, expected a text"):
        load_speaker("en")
    (tmp_path / "reports/text/en.toml").write_text("[signature\n", encoding="utf-8")
    with pytest.raises(ReportError, match="expected TOML in UTF-8"):
        load_speaker("en")


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ReportError, match="found 'fr', expected one of en, ja"):
        load_speaker("fr")
