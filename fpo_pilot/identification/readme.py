"""What an identified model's README says, in English and Japanese: the verdict first, then every number behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from fpo_pilot.evidence import clopper_pearson
from fpo_pilot.identification.identify import Identification
from fpo_pilot.identification.log import PlantLog
from fpo_pilot.identification.verdict import Reason, ReasonKind

Language = Literal["en", "ja"]

_REASONS: Mapping[Language, Mapping[ReasonKind, str]] = {
    "en": {
        "still": "{name} hardly moved: its standard deviation is {found:.2%} of its range, at least {asked:.2%} is asked for. "
        "This log cannot show what {name} does: move it in small random steps, and log again.",
        "entangled": "{name} moved only with the measurements and the other actions: what they do not explain is {found:.2%} of "
        "its range, at least {asked:.2%} is asked for. Add small random steps to {name} while the controller runs.",
        "error": "{name}: the error {ahead} steps ahead is {found:.0%} of the signal's standard deviation, at most {asked:.0%} is "
        "asked for.",
        "persistence": "{name}: the error {ahead} steps ahead is {found:.0%} of that of saying that nothing changes, at most "
        "{asked:.0%} is asked for.",
        "coverage": "{name}: the intervals cover {found:.0%} of the test episodes, {asked:.0%} was to be expected. "
        "Episodes of the log are not alike.",
        "level": "{detail} calibration episodes reach a level of {found:.0%}, at least {asked:.0%} is asked for. "
        "Log more episodes.",
        "check": "the plant fails a check: {name} ({detail}).",
    },
    "ja": {
        "still": "{name} がほとんど動いていません。標準偏差がレンジの {found:.2%} しかありません（必要 {asked:.2%} 以上）。"
        "このログから {name} の効果は分かりません。小さなランダムステップを加えて取り直してください。",
        "entangled": "{name} が測定値や他の操作量と連動してしか動いていません。それらで説明できない動きはレンジの {found:.2%} です"
        "（必要 {asked:.2%} 以上）。制御中の {name} に小さなランダムステップを加えてください。",
        "error": "{name}：{ahead} ステップ先の誤差が信号の標準偏差の {found:.0%} です（許容 {asked:.0%} 以下）。",
        "persistence": "{name}：{ahead} ステップ先の誤差が「変化しない」とした場合の {found:.0%} です（許容 {asked:.0%} 以下）。",
        "coverage": "{name}：予測区間に収まった試験エピソードは {found:.0%} でした（期待値 {asked:.0%}）。"
        "ログのエピソード同士の性質が揃っていません。",
        "level": "校正エピソードが {detail} 件で、区間の水準は {found:.0%} にとどまります（必要 {asked:.0%} 以上）。"
        "エピソードを増やしてください。",
        "check": "プラントの検査に合格しません：{name}（{detail}）。",
    },
}

_TEXT: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "title": "# {name}: identified from logged data\n\n日本語: [README.ja.md](README.ja.md)",
        "good": "**Verdict: good enough to train on**, by the thresholds below. What is trained on it is to be evaluated on "
        "the plant itself, in stages.",
        "bad": "**Verdict: NOT good enough to train on.**",
        "made": "Made from a log of `{plant}` by `fpo-pilot identify`, seed {seed}.",
        "errors": "## Errors on {tested} test episodes, which decided nothing\n\n"
        "Root mean square error of open-loop predictions under the actions that were applied: no measurement after the first "
        "is looked at. In brackets: share of the signal's standard deviation.",
        "head": "| signal | unit | one step | {ahead} steps | {ahead} steps, “nothing changes” | {ahead} steps, mean | "
        "interval ±, one step | interval ±, {ahead} steps | test episodes covered | predictions covered |",
        "intervals": "The intervals hold for **all** predictions of an episode at once, with {level:.0%} probability "
        "(split conformal over {episodes} calibration episodes), if new episodes are like those of the log. "
        "{covered} of {tested} test episodes lay inside for the signal that did worst (95 % interval {low:.0%} to {high:.0%}).",
        "picture": "![measured and predicted](prediction.en.svg)",
        "excitation": "## Did the actions move?\n\n| action | standard deviation, of the range | unexplained by the rest |\n"
        "|---|---|---|",
        "model": "## Model\n\n{kind}, order {order}, ridge {ridge:g} per row: chosen by the error {ahead} steps ahead on "
        "{selected} held-out episodes. Fitted on {fitted} episodes. Of {rows} rows, {bad} were of bad quality or outside the "
        "declared ranges, and {elsewhere} of other scenarios; none of these was used. {gaps} gaps inside episodes; "
        "{short} episodes too short.",
        "linear": "Affine",
        "neural": "Affine plus a neural network",
        "no_help": " A neural network was tried and lowered the held-out error by less than 2 %, so there is none.",
        "bounds": "Predictions are cut to the signals' ranges; the network's part, outside what the log has shown, stays that of the "
        "edge. Nothing is known of the plant there. A bias or delay of a sensor is in the model, and no longer in plant.yaml.",
        "dropped": "Scenarios left out of evaluate.yaml, since they change what a fitted model does not have: {names}.",
        "safety": "`safety/{name}.yaml` is a copy of that of `{plant}`: its owner is to look at it.",
        "thresholds": "## Thresholds\n\nError {ahead} steps ahead at most {share:.0%} of the standard deviation and at most "
        "{persistence:.0%} of “nothing changes”; each action's own movement at least {excitation:.0%} of its range; level of the "
        "intervals at least {level:.0%}, and coverage not provably below it; every question of the plant check answered with yes.",
    },
    "ja": {
        "title": "# {name}：ログから同定したモデル\n\nEnglish: [README.md](README.md)",
        "good": "**判定：学習に使えます**（下記のしきい値による）。学習した方策は、必ず実プラントで段階を踏んで評価してください。",
        "bad": "**判定：学習には使えません。**",
        "made": "`{plant}` のログから `fpo-pilot identify` で作成（シード {seed}）。",
        "errors": "## 誤差（どの選択にも使っていない試験エピソード {tested} 件）\n\n"
        "実際に加えた操作量による開ループ予測の二乗平均平方根誤差。最初の時点より後の測定値は使いません。"
        "括弧内は信号の標準偏差に対する割合。",
        "head": "| 信号 | 単位 | 1 ステップ先 | {ahead} ステップ先 | {ahead} ステップ先「変化しない」 | {ahead} ステップ先「平均値」 | "
        "区間 ±、1 ステップ先 | 区間 ±、{ahead} ステップ先 | 収まった試験エピソード | 収まった予測 |",
        "intervals": "区間は、新しいエピソードがログと同じ性質であれば、1 エピソードの**すべて**の予測を同時に {level:.0%} の確率で含みます"
        "（校正エピソード {episodes} 件によるスプリット・コンフォーマル法）。最も悪い信号では試験エピソード {tested} 件中 {covered} 件が"
        "収まりました（95 % 区間 {low:.0%}〜{high:.0%}）。",
        "picture": "![測定値と予測値](prediction.ja.svg)",
        "excitation": "## 操作量は十分に動いたか\n\n| 操作量 | 標準偏差（レンジ比） | 他の信号で説明できない動き |\n|---|---|---|",
        "model": "## モデル\n\n{kind}、次数 {order}、リッジ係数 {ridge:g}（1 行当たり）。"
        "選択用エピソード {selected} 件の {ahead} ステップ先の誤差で選びました。推定に使ったのは {fitted} 件です。"
        "全 {rows} 行のうち、品質不良またはレンジ外の {bad} 行と、別シナリオの "
        "{elsewhere} 行は使っていません。エピソード内の欠落は {gaps} 箇所、短すぎるエピソードは {short} 件でした。",
        "linear": "アフィンモデル",
        "neural": "アフィンモデル＋ニューラルネットワーク",
        "no_help": "ニューラルネットワークも試しましたが、選択用エピソードの誤差の低下が 2 % 未満のため使っていません。",
        "bounds": "予測値は信号のレンジで打ち切ります。ログに現れた範囲の外では、ネットワークの出力は範囲の端の値のままです。"
        "その先のプラントの挙動は分かりません。センサーのバイアスと遅れはモデルに含まれるため、plant.yaml から除いてあります。",
        "dropped": "同定モデルにない量を変えるため evaluate.yaml から除いたシナリオ：{names}。",
        "safety": "`safety/{name}.yaml` は `{plant}` の写しです。担当の安全技術者が確認してください。",
        "thresholds": "## しきい値\n\n{ahead} ステップ先の誤差が標準偏差の {share:.0%} 以下、かつ「変化しない」の {persistence:.0%} 以下。"
        "各操作量の独自の動きがレンジの {excitation:.0%} 以上。"
        "区間の水準が {level:.0%} 以上で、実際の被覆率がそれを明らかに下回らないこと。プラント検査の全項目に合格すること。",
    },
}


def reason_text(reason: Reason, ahead: int, language: Language = "en") -> str:
    """Say a reason against a model in words."""
    return _REASONS[language][reason.kind].format(
        name=reason.name, found=reason.found, asked=reason.asked, detail=reason.detail, ahead=ahead
    )


def readme(
    result: Identification, log: PlantLog, *, name: str, plant: str, dropped: Sequence[str], language: Language
) -> str:
    """Return the README of an identified plant.

    Args:
        result: the model and its errors.
        log: what was read.
        name: id of the identified plant.
        plant: id of the plant that was logged.
        dropped: scenarios that were left out.
        language: of the text.
    """
    text, ahead, tested = _TEXT[language], result.ahead, result.episodes["test"]
    worst = min(signal.episodes_covered for signal in result.accuracy)
    low, high = clopper_pearson(worst, tested)
    model = text["model"].format(
        kind=text[result.kind],
        order=result.linear.order,
        ridge=result.linear.ridge,
        ahead=ahead,
        selected=result.episodes["select"],
        fitted=result.episodes["fit"],
        rows=log.rows,
        bad=log.rows_bad,
        elsewhere=log.rows_elsewhere,
        gaps=log.gaps,
        short=result.episodes["short"],
    )
    limits = result.thresholds
    paragraphs = [
        text["title"].format(name=name),
        text["good" if result.good_enough else "bad"],
        "\n".join(f"- {reason_text(reason, ahead, language)}" for reason in result.reasons),
        text["made"].format(plant=plant, seed=result.seed),
        text["errors"].format(tested=tested),
        "\n".join([text["head"].format(ahead=ahead), "|---" * 10 + "|", *_error_rows(result)]),
        text["intervals"].format(
            level=result.intervals.level,
            episodes=result.intervals.episodes,
            covered=worst,
            tested=tested,
            low=low,
            high=high,
        ),
        text["picture"],
        "\n".join([text["excitation"], *(f"| {e.action} | {e.moved:.1%} | {e.own:.1%} |" for e in result.excitation)]),
        model + (text["no_help"] if result.asked == "neural" and result.kind == "linear" else ""),
        text["bounds"],
        text["dropped"].format(names=", ".join(dropped)) if dropped else "",
        text["safety"].format(name=name, plant=plant),
        text["thresholds"].format(
            ahead=ahead,
            share=limits.share,
            persistence=limits.persistence,
            excitation=limits.excitation,
            level=limits.level,
        ),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _error_rows(result: Identification) -> list[str]:
    tested = result.episodes["test"]
    return [
        f"| {s.name} | {s.unit} | {s.one.model:.3g} ({s.share_one:.1%}) | {s.many.model:.3g} ({s.share:.1%}) | "
        f"{s.many.persistence:.3g} | {s.many.mean:.3g} | {s.one.half_width:.3g} | {s.many.half_width:.3g} | "
        f"{s.episodes_covered}/{tested} | {s.predictions_covered:.1%} |"
        for s in result.accuracy
    ]
