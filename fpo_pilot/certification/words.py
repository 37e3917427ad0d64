"""What a record says in words, English and Japanese: assumptions, reasons, and why a condition decides or does not."""

from __future__ import annotations

from fpo_pilot.specs.base import Text

REASONS: dict[str, Text] = {
    "no_uncertainty_set": Text(
        en="No uncertainty set: nothing says by how much the model may be wrong. A shield with the nominal model alone is none.",
        ja="不確かさ集合がありません。モデルの誤差の範囲が宣言されていません。公称モデルだけのシールドはシールドとは言えません。",
    ),
    "no_model_layer": Text(
        en="No predictive or barrier layer: nothing looks at where an action leads.",
        ja="予測層もバリア層もありません。操作の行き先を誰も確かめていません。",
    ),
    "no_hard_limit": Text(
        en="No hard limit: there is nothing to keep.",
        ja="絶対制限がありません。守るべきものが宣言されていません。",
    ),
    "barrier_infeasible": Text(
        en="The barrier found no action inside the declared set: its promise holds only while it finds one.",
        ja="宣言した集合の中で、バリア層が操作を見つけられませんでした。その約束は、見つかる間だけ成り立ちます。",
    ),
    "terminal_set_left": Text(
        en="The terminal set is not invariant in simulation: the backup leads out of it.",
        ja="終端集合がシミュレーションで不変ではありません。バックアップがそこから出ます。",
    ),
    "backup_violates": Text(
        en="The backup alone passes a hard limit inside the declared set.",
        ja="宣言した集合の中で、バックアップだけでも絶対制限を超えます。",
    ),
    "covered_violation": Text(
        en="A hard limit was passed behind the shield in a condition that the assumptions cover.",
        ja="前提に含まれる条件で、シールドがあっても絶対制限を超えました。",
    ),
    "dynamics_unbound": Text(
        en="The dynamics are in no file: nothing could tell later whether they are still the same.",
        ja="動特性がファイルにありません。後で同じものかどうかを確かめられません。",
    ),
    "foreign_shield": Text(
        en="What was tried is not the stack that the safety spec declares, but one that was handed over.",
        ja="試したのは安全仕様が宣言したシールドではなく、別に渡されたシールドです。",
    ),
    "corners_left_out": Text(
        en="Not every corner of the uncertainty set was run.",
        ja="不確かさ集合のすべての頂点を試していません。",
    ),
}

ASSUMPTIONS: tuple[Text, ...] = (
    Text(
        en="The plant is in the declared uncertainty set, and its equations are those of the dynamics files that are named by hash.",
        ja="実プラントは宣言した不確かさ集合に入り、方程式はハッシュで示した動特性ファイルのとおりであること。",
    ),
    Text(
        en="Every reading is within its declared error, or is recognised as bad in the same cycle.",
        ja="すべての指示は宣言した誤差以内にあるか、同じ周期のうちに不良と判定されること。",
    ),
    Text(
        en="Actuators go where they are sent, at their declared rate, and report where they stand.",
        ja="操作端は宣言した変化率で指令どおりに動き、実際の位置を報告すること。",
    ),
    Text(
        en="Episodes begin as plant.yaml declares, and disturbances are those that it declares.",
        ja="運転の開始状態と外乱は plant.yaml の宣言のとおりであること。",
    ),
    Text(
        en="This is evidence from simulation, with bounds at 95 % for each row; it is no proof, and no safety instrumented function.",
        ja="これはシミュレーションによる証拠で、各行に95 %の上限が付きます。証明ではなく、安全計装機能でもありません。",
    ),
)

WHY: dict[str, Text] = {
    "nominal": Text(en="The plant as declared.", ja="宣言どおりのプラント。"),
    "corner": Text(en="A corner of the declared set of parameters.", ja="宣言したパラメータ集合の頂点。"),
    "reading": Text(
        en="A corner of parameters, every reading at the edge of its declared error, without noise.",
        ja="パラメータ集合の頂点で、すべての指示が宣言した誤差の端にあり、雑音はない。",
    ),
    "inside": Text(en="A sample inside the declared set.", ja="宣言した集合の内部の標本。"),
    "caught": Text(
        en="The integrity layer recognises it in the same cycle.", ja="健全性確認が同じ周期のうちに判定する。"
    ),
    "within_error": Text(en="The reading stays within its declared error.", ja="指示は宣言した誤差以内にとどまる。"),
    "believed": Text(
        en="Outside the assumptions: a wrong reading within its range is believed, for a time or for good.",
        ja="前提の外。レンジ内の誤った指示を、しばらく、またはずっと信じる。",
    ),
    "actuator": Text(
        en="Outside the assumptions: the actuator does not go where it is sent.",
        ja="前提の外。操作端が指令どおりに動かない。",
    ),
    "outside_set": Text(
        en="Outside the assumptions: the plant is outside the declared set.",
        ja="前提の外。プラントが宣言した集合の外にある。",
    ),
}

STATUS: dict[str, Text] = {
    "valid": Text(en="valid", ja="有効"),
    "refused": Text(en="refused", ja="不認定"),
    "stale": Text(
        en="stale: a spec, the dynamics, the shields or the release has changed",
        ja="失効（仕様、動特性、シールド、リリースのいずれかが変わった）",
    ),
    "altered": Text(en="altered: not as it was written", ja="改変（書かれたときの内容と異なる）"),
    "absent": Text(en="absent", ja="なし"),
    "certified": Text(en="certified", ja="認定"),
}

SIGNED: dict[bool, Text] = {
    True: Text(en="signed by this key", ja="この鍵で署名されている"),
    False: Text(en="NOT signed by this key", ja="この鍵では署名されていない"),
}

CASE: dict[str, Text] = {
    "top": Text(
        en="Under the assumptions below, no hard limit is passed behind the shield, whatever the policy proposes.",
        ja="下記の前提のもとで、方策が何を提案しても、シールドの後ろでは絶対制限を超えない。",
    ),
    "not_a_sis": Text(
        en="This is no safety instrumented function and never replaces one: independent protection stays as it is.",
        ja="本資料は安全計装機能（SIF）の根拠ではなく、その代わりにもならない。独立した保護層はそのまま維持する。",
    ),
    "simulation": Text(
        en="All evidence is from simulation with the declared model and uncertainty set.",
        ja="根拠はすべて、宣言したモデルと不確かさ集合によるシミュレーションである。",
    ),
    "certificate_absent": Text(
        en="There is no certificate: run `fpo-pilot validate-safety`.",
        ja="認定記録がない。`fpo-pilot validate-safety` を実行する。",
    ),
    "certificate_stale": Text(
        en="The certificate is of another plant, spec, dynamics, code of the shields or release: validate again.",
        ja="認定記録は別のプラント、仕様、動特性、シールドのコードまたはリリースのものである。検証をやり直す。",
    ),
    "certificate_altered": Text(
        en="The certificate was edited since it was written: validate again.",
        ja="認定記録が作成後に書き換えられている。検証をやり直す。",
    ),
    "certificate_refused": Text(
        en="The certificate was refused: see its reasons.",
        ja="認定されていない。記録にある理由を確認する。",
    ),
    "no_hazards": Text(en="The hazard log is empty.", ja="ハザードの一覧が空である。"),
    "unguarded": Text(
        en="No limit, interlock, sequence or sensor check names this hazard.",
        ja="このハザードを挙げた制限、インターロック、シーケンス、センサ確認がない。",
    ),
    "alarm_only": Text(
        en="Only alarms name this hazard, and its risk is above what an alarm is enough for.",
        ja="このハザードを挙げるのは管理制限の警報だけで、リスクが警報で足りる範囲を超えている。",
    ),
    "unsupported": Text(
        en="No valid evidence speaks for the {guard}.",
        ja="{guard} を裏づける有効な根拠がない。",
    ),
    "fault_unguarded": Text(
        en="No sensor check names this hazard, which is about faults of a sensor ({faults}).",
        ja="センサの故障（{faults}）に関するハザードだが、これを挙げたセンサ確認がない。",
    ),
    "acted": Text(
        en="acted in {episodes} episodes of the conditions that decide, of which {violations} passed a hard limit",
        ja="判定に用いる条件の {episodes} エピソードで作動し、そのうち絶対制限を超えたもの {violations}",
    ),
    "never_acted": Text(
        en="never acted in the conditions that decide",
        ja="判定に用いる条件では一度も作動していない",
    ),
    "no_row": Text(en="no row of {fault}", ja="{fault} の行がない"),
    "not_recognised": Text(
        en="{fault} is not recognised in every row ({violations} of {episodes} episodes passed a hard limit)",
        ja="{fault} が判定されない行がある（{episodes} エピソード中、絶対制限を超えたもの {violations}）",
    ),
    "least_margin": Text(
        en="least margin {margin} over {episodes} episodes of the conditions that decide",
        ja="判定に用いる条件の {episodes} エピソードでの最小余裕 {margin}",
    ),
    "sensor_fault": Text(
        en="{fault} is recognised; {violations} of {episodes} episodes passed a hard limit",
        ja="{fault} は判定される。{episodes} エピソード中、絶対制限を超えたもの {violations}",
    ),
}
"""Of the safety case."""

GUARDS: dict[str, Text] = {
    "hard_limit": Text(en="hard limit", ja="絶対制限"),
    "soft_limit": Text(en="soft limit", ja="管理制限"),
    "interlock": Text(en="interlock", ja="インターロック"),
    "sequence": Text(en="sequence", ja="シーケンス"),
    "sensor_check": Text(en="sensor check", ja="センサ確認"),
}
"""Kinds of rules that guard against a hazard."""
