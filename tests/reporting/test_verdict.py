from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fpo_pilot.reporting import write_report
from fpo_pilot.reporting.gates import full_table, summary_table
from fpo_pilot.reporting.run_folder import read_run
from fpo_pilot.reporting.texts import load_speaker
from fpo_pilot.reporting.verdict import decision, stage_marks

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
Make = Callable[..., Path]
Document = dict[str, Any]


def of_candidate(document: Document) -> list[Document]:
    return [row for row in document["rows"] if (row["arm"], row["mode"], row["shield"]) == ("flow", "noise 0", True)]


def set_violations(document: Document) -> None:
    of_candidate(document)[0]["violations"] = {"episodes_with": 1, "n": 32, "upper95": 0.14}


def set_result(result: str) -> Callable[[Document], None]:
    return lambda document: document["verdict"].update(result=result)


def set_gate(verdict: str) -> Callable[[Document], None]:
    return lambda document: document["gates"][1].update(verdict=verdict)


def end_in(stage: str, authority: float) -> Callable[[Document], None]:
    return lambda document: document.update(final_stage=stage, final_authority=authority)


def untouched(document: Document) -> None:
    pass


@pytest.mark.parametrize(
    ("evaluation", "rollout", "expected"),
    [
        (untouched, untouched, ("pass", "prepare_plant")),
        (set_violations, untouched, ("fail", "violations")),
        (set_result("fail"), untouched, ("fail", "not_as_good")),
        (set_result("inconclusive"), untouched, ("inconclusive", "not_decided")),
        (untouched, set_gate("fail"), ("fail", "gate_failed")),
        (untouched, end_in("rolled_back", 0.0), ("fail", "rolled_back")),
        (untouched, end_in("shadow", 0.0), ("inconclusive", "hold_stage")),
        (untouched, end_in("bounded", 0.3), ("inconclusive", "hold_stage")),
        (untouched, end_in("hold", 0.3), ("inconclusive", "hold_stage")),
        (set_violations, set_gate("fail"), ("fail", "violations")),
    ],
)
def test_what_is_asked_for_follows_from_the_evidence(
    make_run: Make,
    edit_json: Edit,
    evaluation: Callable[[Document], None],
    rollout: Callable[[Document], None],
    expected: tuple[str, str],
) -> None:
    folder = make_run()
    edit_json(folder / "evaluation.json", evaluation)
    edit_json(folder / "rollout.json", rollout)
    assert decision(read_run(folder)) == expected


def test_without_evaluation_nothing_is_asked_for(make_run: Make) -> None:
    assert decision(read_run(make_run(evaluated=False))) == ("inconclusive", "not_evaluated")


def test_after_a_passed_evaluation_the_roll_out_is_asked_for(make_run: Make) -> None:
    assert decision(read_run(make_run(rolled_out=False))) == ("pass", "start_rollout")


def test_looks_at_the_same_weights_are_told_beside_the_verdict(make_run: Make, edit_json: Edit) -> None:
    folder = make_run(rolled_out=False)
    looks = [{"result": "fail", "same_policy": True}, {"result": "pass", "same_policy": True}]
    other = [{"result": "pass", "same_policy": False}]
    edit_json(folder / "evaluation.json", lambda document: document.update(earlier=looks + other))
    english, japanese = (path.read_text(encoding="utf-8") for path in write_report(folder))
    assert "had been evaluated 2 times before, with 1 passes" in english
    assert "これ以前に 2 回あり、うち合格は 1 回" in japanese


def test_the_strip_shows_stages_behind_here_and_ahead(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()
    edit_json(folder / "rollout.json", end_in("bounded", 0.3))
    assert [mark.state for mark in stage_marks(read_run(folder))] == ["done", "done", "here", "ahead"]
    edit_json(folder / "rollout.json", end_in("rolled_back", 0.0))
    assert [mark.state for mark in stage_marks(read_run(folder))] == ["done", "done", "left", "ahead", "here"]


def test_verdicts_are_icon_word_and_colour_in_both_languages(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()
    edit_json(folder / "rollout.json", set_gate("fail"))
    edit_json(folder / "rollout.json", lambda document: document["gates"][2].update(verdict="inconclusive"))
    english, japanese = (path.read_text(encoding="utf-8") for path in write_report(folder))
    for outcome, icon, word, kanji in (
        ("pass", "✔", "PASS", "合格"),
        ("fail", "✖", "FAIL", "不合格"),
        ("inconclusive", "▲", "INCONCLUSIVE", "判定保留"),
    ):
        head = f'<span class="mark {outcome}"><span class="icon" aria-hidden="true">{icon}</span>'
        assert f"{head} {word}" in english
        assert f'{head} {kanji} <span lang="en" class="sub">{word}</span>' in japanese


def test_a_gate_that_waits_for_blocks_that_hang_together_says_so_in_both_languages(
    make_run: Make, edit_json: Edit
) -> None:
    folder = make_run()
    told = {"en": "they do not count as independent", "ja": "独立とみなせないため"}
    for verdict, correlation, expected in (
        ("inconclusive", 0.5, True),
        ("inconclusive", 0.1, False),
        ("pass", 0.5, False),
    ):
        change = {"verdict": verdict, "correlation": correlation}
        edit_json(folder / "rollout.json", lambda document, change=change: document["gates"][2].update(change))
        for language, text in told.items():
            page = write_report(folder, (language,))[0].read_text(encoding="utf-8")
            assert (text in page) == expected


def test_zero_violations_are_told_with_their_upper_limit_and_never_as_none(make_run: Make) -> None:
    page = write_report(make_run(seeds=59), ("en",))[0].read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "0 of 59 episodes; with 95 % confidence fewer than 5 %" in page
    assert "0 of 74 blocks; with 95 % confidence fewer than 4 %" in page  # 1 − 0.05^(1/74) = 3.97 %
    assert "no violation" not in page.lower()


def test_the_cost_is_minus_the_return_with_its_limits_exchanged(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()
    edit_json(
        folder / "evaluation.json",
        lambda document: of_candidate(document)[0].update(
            {"return": {"mean": -20.0, "low": -23.0, "high": -18.0, "n": 32}}
        ),
    )
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    assert '<td class="numeric">20.0</td><td class="numeric">18.0 to 23.0</td>' in page


def test_every_scenario_is_judged_in_the_gate_table_and_the_worst_decides(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()

    def two_scenarios(document: Document) -> None:
        document["rows"] += [{**row, "scenario": "hot_feed"} for row in document["rows"]]
        other = {"scenario": "hot_feed", "difference": None, "result": "inconclusive", "reason": "x"}
        document["verdict"]["by_scenario"].append(other)
        document["verdict"].update(result="inconclusive", scenario="hot_feed")

    edit_json(folder / "evaluation.json", two_scenarios)
    assert decision(read_run(folder)) == ("inconclusive", "not_decided")
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    first, rest = page.split('<section class="section" id="kpi"')
    assert "Offline, <code>hot_feed</code>" in first  # page one: the scenario that decides
    assert "Offline, Nominal" not in first
    assert "Offline, Nominal" in rest
    assert page.count('<th scope="col" class="numeric">Nominal</th><th scope="col" class="numeric"><code>hot_feed') == 1
    assert '<td class="short">0 of 32 (&lt; 9\u00a0%)</td><td class="short">0 of 32 (&lt; 9\u00a0%)</td>' in page


def test_equal_episodes_of_a_deterministic_plant_count_once(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()

    def deterministic(document: Document) -> None:
        document.update(deterministic=True)
        for row in document["rows"]:
            row["violations"].update(independent=1, upper95=0.95)

    edit_json(folder / "evaluation.json", deterministic)
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "0 of 32 episodes; with 95 % confidence fewer than 95 %" in page
    assert "independent episodes: 1; equal ones count once" in page


def test_a_plant_without_shield_is_judged_without_one(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()
    edit_json(folder / "manifest.json", lambda document: document.update(safety_spec=None))

    def bare(document: Document) -> None:
        document["rows"] = [row for row in document["rows"] if not row["shield"]]
        document["verdict"]["candidate"].update(shield=False)
        document["rows"][-1]["violations"].update(episodes_with=1)

    edit_json(folder / "evaluation.json", bare)
    assert decision(read_run(folder)) == ("fail", "violations")
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    assert "simulated episodes, shield off, condition: Nominal" in page


def test_page_one_shows_of_each_gate_its_worst_level_and_section_five_all(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()

    def levels(document: Document) -> None:
        gates = document["gates"]
        gates[1].update(authority=0.1)
        gates[2].update(authority=0.1, verdict="inconclusive")
        document["gates"] += [{**gates[1], "authority": 0.3}, {**gates[2], "authority": 0.3, "verdict": "pass"}]

    edit_json(folder / "rollout.json", levels)
    summary, full = summary_table(read_run(folder)), full_table(read_run(folder))
    assert summary is not None
    assert full is not None
    assert len(summary.rows) == 4  # offline, shadow, two of bounded
    assert len(full.rows) == 6
    speaker = load_speaker("en")
    stages = [speaker.text(row.cells[0]) for row in summary.rows]  # type: ignore[arg-type]
    assert stages == ["Offline", "Shadow", "Bounded, β 0.3", "Bounded, β 0.1"]
