from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from fpo_pilot.reporting.texts import content_file

THEME = content_file("theme.css").read_text(encoding="utf-8")
COLOURS = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", THEME))
FIGURES: dict[str, Any] = tomllib.loads(content_file("figures.toml").read_text(encoding="utf-8"))


def luminance(colour: str) -> float:
    """WCAG 2.1 relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_gives_21_for_black_on_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        *[
            (ink, ground)
            for ink in ("ink", "quiet", "accent", "pass", "fail", "inconclusive")
            for ground in ("paper", "wash")
        ],
        ("paper", "accent"),
        *[(outcome, f"{outcome}-wash") for outcome in ("pass", "fail", "inconclusive")],
        *[("ink", f"{outcome}-wash") for outcome in ("pass", "fail", "inconclusive")],
        *[("quiet", f"{outcome}-wash") for outcome in ("pass", "fail", "inconclusive")],
    ],
)
def test_text_reads_at_four_and_a_half_to_one(ink: str, ground: str) -> None:
    assert contrast(COLOURS[ink], COLOURS[ground]) >= 4.5


@pytest.mark.parametrize("kind", ["line", "level"])
def test_lines_and_their_labels_read_on_paper(kind: str) -> None:
    assert all(contrast(style["colour"], COLOURS["paper"]) >= 4.5 for style in FIGURES[kind].values())


def test_names_of_stages_read_on_their_bands() -> None:
    assert all(contrast("#1A1A1A", colour) >= 4.5 for colour in FIGURES["stage"].values())


def test_lines_differ_by_more_than_colour() -> None:
    dashes = [FIGURES["line"][role]["dash"] for role in ("policy", "incumbent", "compared", "target")]
    assert len(set(dashes)) == 4
