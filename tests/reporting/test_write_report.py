from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.reporting import write_report

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
Make = Callable[..., Path]
HOSTILE = "<script>alert('$x$ {0}')</script>"
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Outline(HTMLParser):
    """Checks that tags are closed in order; gathers ids, links and the ids of tables and figures."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: set[str] = set()
        self.names: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names[tag] += 1
        values = dict(attrs)
        self.ids.update([values["id"]] if values.get("id") else [])
        for name in ("href", "xlink:href", "aria-labelledby"):
            self.links.update(part.removeprefix("#") for part in (values.get(name) or "").split())
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_one_page_a_language_is_written_into_the_run_folder(make_run: Make) -> None:
    folder = make_run(evaluated=False)
    assert write_report(folder) == (folder / "report.en.html", folder / "report.ja.html")
    assert list(folder.glob("*.tmp")) == []


def test_the_same_run_gives_the_same_bytes(make_run: Make) -> None:
    folder = make_run()
    first = write_report(folder, ("ja",))[0].read_bytes()
    assert write_report(folder, ("ja",))[0].read_bytes() == first


def test_a_page_asks_for_nothing_outside_itself(pages: dict[str, str]) -> None:
    for page in pages.values():
        assert len(page.encode()) < 1_000_000
        addresses = set(re.findall(r"(?:https?:)?//[\w./-]+", page))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert "default-src 'none'" in page
        names = outline(page).names
        assert not {"script", "link", "iframe", "img", "object", "embed", "form"} & names.keys()
        assert not re.search(r"@import|url\((?!#)|\son\w+=", page)


def test_a_page_is_well_formed_and_its_links_lead_somewhere(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        seen = outline(page)
        assert {key: count for key, count in seen.ids.items() if count > 1} == {}
        assert {link for link in seen.links if link not in seen.ids} == set()
        assert f'<html lang="{name.split(".")[1]}">' in page
        assert seen.names["h1"] == 1
        assert seen.names["h2"] == 8


def test_every_figure_is_svg_with_title_description_and_real_text(pages: dict[str, str]) -> None:
    for page in pages.values():
        drawings = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
        assert len(drawings) == 5
        for drawing in drawings:
            root = ElementTree.fromstring(drawing)  # noqa: S314 - our own
            space = "{http://www.w3.org/2000/svg}"
            assert [child.tag for child in root[:2]] == [f"{space}title", f"{space}desc"]
            assert all(len("".join(child.itertext())) > 20 for child in root[1:2])
            assert len(root.findall(f".//{space}text")) > 5
            assert "@0@" not in drawing
            assert "DejaVu" not in drawing
            assert "metadata" not in drawing


def test_every_table_and_figure_says_where_its_numbers_come_from(pages: dict[str, str]) -> None:
    for page in pages.values():
        blocks = re.findall(
            r'<(?:div class="table-block[^>]*|figure) id="[^"]+">.*?</(?:figure|div>\s*</div)>', page, re.DOTALL
        )
        blocks = re.split(r'(?=<div class="table-block|<figure id)', page)[1:]
        without = [block[:60] for block in blocks if 'class="source"' not in block]
        assert [block for block in without if "table-glossary" not in block] == []


def test_numbers_are_those_of_the_run_folder(make_run: Make) -> None:
    folder = make_run()
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    rows = pq.read_table(folder / "episodes.parquet").to_pylist()
    flow = [row for row in rows if (row["arm"], row["mode"], row["shield"]) == ("flow", "noise 0", True)]
    mean = -sum(row["return"] for row in flow) / len(flow)
    quality = -sum(row["reward.quality"] for row in flow) / len(flow)
    assert f"costs {mean:.1f} per episode" in page
    assert f'<code>quality</code></td><td class="numeric">{quality:.1f}</td>' in page
    assert "least margin seen 18.4" in page
    assert "2 of 60" in page  # steps with the reason "rate" in the step log


def test_limits_and_set_points_are_drawn_with_the_signals(pages: dict[str, str]) -> None:
    drawing = re.search(r'<figure id="figure-trajectories">.*?</figure>', pages["report.en.html"], re.DOTALL)
    assert drawing is not None
    for label in (
        "hard limit 350",
        "soft limit 340",
        "actuator 290",
        "Set point",
        "Reactor temperature T [K]",
        "Time [min]",
    ):
        assert f">{label}</text>" in drawing[0]


def test_values_from_the_run_are_text_and_never_markup(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()

    def poison(document: dict[str, Any]) -> None:
        document.update(run_id=HOSTILE, command=HOSTILE, device=HOSTILE)
        document["hashes"][HOSTILE] = HOSTILE
        document["plant_spec"]["plant"]["title"] = {"en": HOSTILE, "ja": HOSTILE}
        document["plant_spec"]["signals"]["T"].update(label={"en": HOSTILE, "ja": HOSTILE}, unit=HOSTILE)
        document["safety_spec"]["hazards"]["H-001"]["cause"] = {"en": HOSTILE, "ja": HOSTILE}
        document["safety_spec"]["interlocks"][0]["trip_when"] = HOSTILE

    def poison_rows(document: dict[str, Any]) -> None:
        document["rows"].append({**document["rows"][0], "arm": HOSTILE, "mode": HOSTILE, "scenario": HOSTILE})

    edit_json(folder / "manifest.json", poison)
    edit_json(folder / "evaluation.json", poison_rows)
    for path in write_report(folder):
        page = path.read_text(encoding="utf-8")
        assert "<script" not in page
        assert "&lt;script&gt;alert(&#39;$x$ {0}&#39;)&lt;/script&gt;" in page
        outline(page)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            {"evaluated": False},
            ("There is no offline evaluation in this run folder yet", "No roll-out has been run yet"),
        ),
        ({"rolled_out": False}, ("No roll-out has been run yet",)),
    ],
)
def test_a_run_that_is_not_finished_says_so(make_run: Make, parts: dict[str, bool], told: tuple[str, ...]) -> None:
    english, japanese = (path.read_text(encoding="utf-8") for path in write_report(make_run(**parts)))
    for sentence in told:
        assert sentence in english
    assert outline(japanese).names["h2"] == 8


def test_a_run_folder_with_only_a_manifest_still_gives_a_report(make_run: Make, edit_json: Edit) -> None:
    folder = make_run(evaluated=False)
    (folder / "metrics.parquet").unlink()
    edit_json(folder / "manifest.json", lambda document: document.update(training=None, safety_spec=None))
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    for sentence in ("no record of training", "no account of the training", "No safety spec was declared"):
        assert sentence in page


def test_a_run_without_numbers_in_it_still_gives_a_report(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()

    def hollow(document: dict[str, Any]) -> None:
        for row in document["rows"]:
            row.update({"return": {"mean": None, "low": None, "high": None, "n": 0}, "margins_min": {"T_trip": None}})
        document["verdict"].update(difference=None, result="inconclusive", candidate=None)
        document["deployment"] = None

    edit_json(folder / "evaluation.json", hollow)
    metrics = pq.read_table(folder / "metrics.parquet")
    empty = {name: pa.nulls(metrics.num_rows, pa.float64()) for name in ("steps", "return_mean", "evaluation_return")}
    pq.write_table(pa.table(empty), folder / "metrics.parquet")
    pq.write_table(pq.read_table(folder / "blocks.parquet").slice(0, 0), folder / "blocks.parquet")
    for path in write_report(folder):
        outline(path.read_text(encoding="utf-8"))
