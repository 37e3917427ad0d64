"""The data-quality report in words, English and Japanese, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fpo_pilot.ingestion.quality import DRIFT, STUCK_STEPS, QualityReport, SignalQuality
from fpo_pilot.specs.base import Text

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")
LEAST_VISITED, MOST_SATURATED, MOST_LOST, MOST_CORRELATED = 0.3, 0.2, 0.05, 0.9
"""Shares beyond which a figure is worth a look; they decide nothing."""

# fmt: off
_SAY = {
    "title": Text(en="Data quality: {plant}", ja="データ品質：{plant}"),
    "facts": Text(
        en="{rows:,} control steps ({hours:.1f} h) in {episodes} episodes from {files}. "
           "Dropped as too short: {dropped_episodes} episodes, {dropped_rows} steps. "
           "{terminated} episodes ended by a trip or the end of the task.",
        ja="{files}から、{episodes}エピソード、{rows:,}制御周期（{hours:.1f}時間）を取り込みました。短すぎるため除いたもの：{dropped_episodes}エピソード、{dropped_rows}周期。"
           "緊急停止または作業完了で終わったエピソード：{terminated}。"),
    "density_none": Text(
        en="The density of the logged actions is not known: importance sampling is off.",
        ja="記録された操作の確率密度は不明です。重点サンプリングによる評価は行いません。"),
    "density_known": Text(en="The density of the logged actions is in the log.", ja="記録された操作の確率密度がログにあります。"),
    "no_draw": Text(
        en="{count:,} steps lack the density: their actions are held from an older sample, or the cell is empty.",
        ja="{count:,}周期に確率密度がありません。操作が以前のサンプルの保持値であるか、欄が空です。"),
    "no_reward": Text(
        en="**No reward**: it needs {names}, which the log does not have. Nothing can be learned from returns.",
        ja="**報酬なし**：計算に必要な{names}がログにありません。収益に基づく学習や評価はできません。"),
    "holes": Text(
        en="At {count:,} times a reading, an action or a set point has no value: its episode has a hole there, and counts its steps on. "
           "Left out, too, are {before:,} steps right before a hole: what came of them is not known.",
        ja="{count:,}周期で、指示、操作、設定値のいずれかに値がありません。その周期はエピソードから抜けており、周期番号はそのまま数えます。"
           "欠落の直前の{before:,}周期も、結果が分からないため除きました。"),
    "repeated": Text(
        en="Samples that two files both have, the same in every column: {count:,}; each was taken once.",
        ja="2つのファイルに全列の値が同じサンプルが{count:,}件あり、1件ずつにまとめました。"),
    "look": Text(en="Worth a look", ja="確認が必要な点"),
    "nothing": Text(en="nothing", ja="なし"),
    "stuck": Text(
        en="{signal}: the same value for {steps} steps in a row; a stuck sensor, or one that records changes only",
        ja="{signal}：同じ値が{steps}周期続いています。センサの固着、または変化時のみの記録の可能性があります"),
    "saturated": Text(en="{signal}: at a limit in {share:.0%} of steps", ja="{signal}：全周期の{share:.0%}で操作限界にあります"),
    "lost": Text(en="{signal}: no good reading in {share:.1%} of steps", ja="{signal}：全周期の{share:.1%}で良好な指示がありません"),
    "all_bad": Text(
        en="{signal}: every reading in {file} is bad (most often with the code {code!r}); "
           "if that code is a good one, name it under `good:`",
        ja="{signal}：{file}では全指示の品質が不良です（最も多いコードは{code!r}）。使えるコードであれば`good:`に加えてください"),
    "outside": Text(
        en="{signal}: outside its declared range in {share:.1%} of steps; look at unit and range",
        ja="{signal}：全周期の{share:.1%}で宣言した範囲の外にあります。単位と範囲を確認してください"),
    "narrow": Text(
        en="{signal}: only {share:.0%} of its range was visited; what happens elsewhere is not in this log",
        ja="{signal}：範囲の{share:.0%}しか経験していません。それ以外の領域の挙動はこのログからは分かりません"),
    "follows": Text(
        en="{action} follows {measured} (correlation {value:+.2f}): the log shows the controller, hardly what the action does",
        ja="{action}は{measured}に追従しています（相関{value:+.2f}）。ログから分かるのは制御器の動きで、操作の効果はほとんど分かりません"),
    "drift": Text(
        en="{signal}: in {file} distributed unlike in the first file (distance {distance:.2f}, "
           "mean moved by {moved:+.1f} standard deviations)",
        ja="{signal}：{file}の分布が最初のファイルと異なります（距離{distance:.2f}、平均の移動は標準偏差の{moved:+.1f}倍）"),
    "signals": Text(en="Signals", ja="信号"),
    "columns": Text(
        en="signal|unit|least|mean|greatest|missing|held|out of range|saturated|longest stuck|of range visited|steps of a block",
        ja="信号|単位|最小|平均|最大|欠測|保持|範囲外|飽和|最長固着|経験範囲|ブロックの周期数"),
    "coverage": Text(en="Coverage of pairs", ja="組合せの網羅率"),
    "coverage_columns": Text(en="reading|action|cells visited|correlation", ja="指示値|操作|経験した区画|相関"),
    "gaps": Text(en="Gaps: {count}, the longest", ja="欠落：{count}件、長い順"),
    "gap_columns": Text(en="file|after|seconds", ja="ファイル|直前の時刻|秒"),
}
# fmt: on


def warnings(report: QualityReport, language: Language) -> list[str]:
    """List what is worth a look, in words."""
    say = _Speaker(language)
    found = []
    for one in report.signals:
        found += _of_signal(one, say)
    found += [say("all_bad", signal=one.signal, file=one.file, code=one.code) for one in report.all_bad]
    for pair in report.coverage:
        if pair.correlation is not None and abs(pair.correlation) > MOST_CORRELATED:
            found.append(say("follows", action=pair.action, measured=pair.measured, value=pair.correlation))
    for drift in report.drift:
        if drift.distance > DRIFT:
            found.append(say("drift", signal=drift.signal, file=drift.file, distance=drift.distance, moved=drift.moved))
    return found


def markdown(report: QualityReport, language: Language) -> str:
    """Write the whole report."""
    say = _Speaker(language)
    comma = ", " if language == "en" else "、"
    lines = [f"# {say('title', plant=report.plant)}", ""]
    facts = report.model_dump(include={"rows", "hours", "episodes", "dropped_episodes", "dropped_rows", "terminated"})
    lines += [say("facts", files=comma.join(report.files), **facts), say(f"density_{report.behavior_density}")]
    if report.without_density:
        lines += ["", say("no_draw", count=report.without_density)]
    if report.without_value:
        lines += ["", say("holes", count=report.without_value, before=report.without_outcome)]
    if report.repeated:
        lines += ["", say("repeated", count=report.repeated)]
    if report.no_reward:
        lines += ["", say("no_reward", names=comma.join(report.no_reward))]
    lines += ["", f"## {say('look')}", "", *(f"- {line}" for line in warnings(report, language) or [say("nothing")])]
    lines += ["", f"## {say('signals')}", "", *_table(say("columns"), [_cells(one) for one in report.signals])]
    pairs = [
        (p.measured, p.action, f"{p.visited:.0%}", "–" if p.correlation is None else f"{p.correlation:+.2f}")
        for p in report.coverage
    ]
    lines += ["", f"## {say('coverage')}", "", *_table(say("coverage_columns"), pairs)]
    if report.gap_count:
        rows = [(gap.file, gap.start, f"{gap.seconds:,.0f}") for gap in report.gaps]
        lines += ["", f"## {say('gaps', count=report.gap_count)}", "", *_table(say("gap_columns"), rows)]
    return "\n".join(lines) + "\n"


class _Speaker:
    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        return str(getattr(_SAY[key], self.language)).format(**values)


def _of_signal(one: SignalQuality, say: _Speaker) -> list[str]:
    found = []
    if one.longest_stuck >= STUCK_STEPS:
        found.append(say("stuck", signal=one.signal, steps=one.longest_stuck))
    if one.saturated is not None and one.saturated > MOST_SATURATED:
        found.append(say("saturated", signal=one.signal, share=one.saturated))
    if one.missing + one.held > MOST_LOST:
        found.append(say("lost", signal=one.signal, share=one.missing + one.held))
    if one.outside > 0.0:
        found.append(say("outside", signal=one.signal, share=one.outside))
    if one.role == "action" and one.visited is not None and one.visited < LEAST_VISITED:
        found.append(say("narrow", signal=one.signal, share=one.visited))
    return found


def _cells(one: SignalQuality) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    return (
        one.signal, one.unit, number(one.least), number(one.mean), number(one.greatest), share(one.missing), share(one.held),
        share(one.outside), share(one.saturated), str(one.longest_stuck), share(one.visited), "–" if one.block is None else str(one.block),
    )  # fmt: skip


def _table(head: str, rows: Sequence[Sequence[str]]) -> list[str]:
    names = head.split("|")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return [*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)]
