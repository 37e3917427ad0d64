"""Words: ``reports/text/<language>.toml`` and how phrases are filled with them.

The text that ships is the base; a project's own file of the same name may replace single entries of it.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

from fpo_pilot.errors import ReportError
from fpo_pilot.reporting.phrases import Bilingual, Message, Number, Phrase, Verbatim
from fpo_pilot.specs.content import find_text_folder, shipped_root

LANGUAGES = ("en", "ja")


def content_folders() -> tuple[Path, ...]:
    """Folders that hold templates, texts and the theme: what ships first, then the project one stands in."""
    shipped = shipped_root() / "reports"
    own = find_text_folder()
    return (shipped,) if own == shipped else (shipped, own)


def content_file(relative: str) -> Path:
    """The project's own ``reports/<relative>``, or else the one that ships."""
    for folder in reversed(content_folders()):
        if (folder / relative).is_file():
            return folder / relative
    raise ReportError(
        f"reports/{relative}: found no such file in {' or '.join(str(f) for f in content_folders())}, expected it to "
        "ship with the package. Install fpo-pilot again."
    )


class Speaker:
    """Says phrases in one language, as plain text (for figures) or as HTML (everything from data is escaped)."""

    def __init__(self, language: str, entries: Mapping[str, str]) -> None:
        self.language = language
        self._entries = entries

    def template(self, key: str) -> str:
        """The sentence of ``key`` with its placeholders unfilled."""
        try:
            return self._entries[key]
        except KeyError:
            raise ReportError(
                f"reports/text/{self.language}.toml: found no entry {key!r}, expected one for every sentence. Add it."
            ) from None

    def text(self, phrase: Phrase) -> str:
        """The phrase as plain text, nothing escaped."""
        match phrase:
            case Message(key, values):
                return self._fill(key, {name: self.text(value) for name, value in values.items()})
            case Bilingual():
                return phrase.ja if self.language == "ja" else phrase.en
            case Verbatim(text):
                return text
            case Number():
                return str(phrase)

    def html(self, phrase: Phrase) -> Markup:
        """The phrase as HTML: verbatim data in ``<code>``, everything escaped."""
        match phrase:
            case Message(key, values):
                return self._fill_html(key, {name: self.html(value) for name, value in values.items()})
            case Verbatim(text):
                return Markup("<code>{}</code>").format(text)
            case Bilingual() | Number():
                return escape(self.text(phrase))

    def word(self, key: str) -> str:
        """The sentence of a key that has no values; templates use it for their fixed words."""
        return self._fill(key, {})

    def _fill(self, key: str, values: Mapping[str, str]) -> str:
        return self._checked(key, values).format_map(values)

    def _fill_html(self, key: str, values: Mapping[str, Markup]) -> Markup:
        return escape(self._checked(key, values)).format_map(values)

    def _checked(self, key: str, values: Mapping[str, str]) -> str:
        template = self.template(key)
        try:
            known = placeholders(template) <= values.keys()
        except ValueError as problem:
            raise self._unfillable(key, values) from problem
        if not known:
            raise self._unfillable(key, values)
        return template

    def _unfillable(self, key: str, values: Mapping[str, str]) -> ReportError:
        return ReportError(
            f"reports/text/{self.language}.toml: {key}: found {self.template(key)!r}, expected placeholders out of "
            f"{{{', '.join(sorted(values))}}} only. Correct the text."
        )


def placeholders(template: str) -> frozenset[str]:
    """Names in braces in a sentence."""
    return frozenset(name for _, name, _, _ in string.Formatter().parse(template) if name is not None)


def load_speaker(language: str) -> Speaker:
    """Read the texts of ``language``."""
    if language not in LANGUAGES:
        raise ReportError(f"languages: found {language!r}, expected one of {', '.join(LANGUAGES)}. Name one of these.")
    entries: dict[str, str] = {}
    for folder in content_folders():
        path = folder / "text" / f"{language}.toml"
        if path.is_file():
            entries.update(_read(path, path.stat().st_mtime_ns))
    if not entries:
        content_file(f"text/{language}.toml")
    return Speaker(language, entries)


@cache
def _read(path: Path, _changed: int) -> Mapping[str, str]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ReportError(f"{path}: found {problem}, expected TOML in UTF-8. Correct the file.") from problem
    return dict(_flatten(document, "", path))


def _flatten(table: Mapping[str, object], prefix: str, path: Path) -> list[tuple[str, str]]:
    entries: list[tuple[str, str]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            entries += _flatten(value, f"{prefix}{name}.", path)
        elif isinstance(value, str):
            entries.append((f"{prefix}{name}", value))
        else:
            raise ReportError(f"{path}: {prefix}{name}: found {value!r}, expected a text in quotes. Quote it.")
    return entries
