"""How arms, modes, stages, signals and reasons are called in front of people."""

from __future__ import annotations

import re

from fpo_pilot.reporting.phrases import Bilingual, Message, Number, Phrase, Verbatim, declared, say
from fpo_pilot.reporting.spec_views import LimitView, PlantView
from fpo_pilot.reporting.views import EvaluationRowView, EvaluationView

STAGES = ("offline", "shadow", "bounded", "full")
_KNOWN_STAGES = (*STAGES, "advisory", "hold", "rolled_back", "expired")
ARM_ORDER = ("incumbent", "hold", "oracle", "gaussian_ppo", "flow")
_KNOWN_ARMS = (*ARM_ORDER, "random", "policy", "fpo", "fpo_plus_plus", "dppo", "flow_q")
EVENT_REASONS = (
    (r"gates passed after (?P<blocks>\d+) blocks: none is asked for", "event.none_asked"),
    (r"gates passed after (?P<blocks>\d+) blocks: (?P<gates>.+)", "event.passed"),
    (r"no decision after (?P<blocks>\d+) blocks: (?P<gates>.+)", "event.no_decision"),
    (r"gate failed: (?P<gates>.+)", "event.failed"),
    (r"the clock went back .*", "event.clock"),
    (r"model, plant or safety spec changed", "event.changed"),
    (r"hold by (?P<who>.+)", "event.hold"),
    (r"resumed by (?P<who>.+)", "event.resumed"),
)
_REASONS = (
    "integrity",
    "interlock",
    "sequence",
    "box",
    "rate",
    "infeasible",
    "reverify",
    "fallback",
    "stage_failed",
    "readback",
    "predictive",
    "barrier",
    "hard_violation",
    "deadline",
    "log_unavailable",
)


def arm_label(arm: str) -> Phrase:
    """The name of a controller."""
    kind, _, name = arm.partition(":")
    if kind not in _KNOWN_ARMS:
        return Verbatim(arm)
    return say("arm.named", arm=say(f"arm.{kind}"), name=name) if name else say(f"arm.{kind}")


def mode_label(mode: str) -> Phrase:
    """How a policy was sampled; a controller that is not a policy has no mode."""
    if not mode:
        return say("mode.none")
    noise = re.fullmatch(r"noise\s+([0-9.]+)", mode)
    if noise:
        return say("mode.noise", scale=declared(float(noise.group(1))))
    return say(f"mode.{mode}") if mode in ("mean", "sampled") else Verbatim(mode)


def shield_label(on: bool) -> Phrase:
    """Whether a shield stood between the controller and the plant."""
    return say("shield.on") if on else say("shield.off")


def controller_label(arm: str, mode: str) -> Phrase:
    """Controller and mode in one short label."""
    return say("arm.with_mode", arm=arm_label(arm), mode=mode_label(mode)) if mode else arm_label(arm)


def full_label(arm: str, mode: str, shield: bool) -> Phrase:
    """Controller, mode and shield in one label."""
    return say("arm.with_shield", controller=controller_label(arm, mode), shield=shield_label(shield))


def stage_label(stage: str) -> Phrase:
    """The name of a stage."""
    return say(f"stage.{stage}") if stage in _KNOWN_STAGES else Verbatim(stage)


def scenario_label(scenario: str) -> Phrase:
    """The name of a condition of evaluation."""
    return say("scenario.nominal") if scenario in ("", "nominal") else Verbatim(scenario)


def signal_label(name: str, plant: PlantView) -> Phrase:
    """Label of a signal as its owner wrote it, with its short name; or the short name alone."""
    signal = plant.signals.get(name)
    if signal is None or signal.label is None:
        return Verbatim(name)
    return Bilingual(f"{signal.label.en} {name}", f"{signal.label.ja} {name}")


def axis_label(name: str, plant: PlantView) -> Phrase:
    """Label of a signal with its unit in brackets."""
    unit = plant.signals[name].unit
    label = signal_label(name, plant)
    return label if unit in ("", "1") else say("figure.axis", label=label, unit=unit)


def limit_range(limit: LimitView, plant: PlantView) -> Phrase:
    """A limit as an inequality with its unit."""
    unit = plant.signals[limit.signal].unit if limit.signal in plant.signals else ""
    low, high = declared(limit.low, unit), declared(limit.high, unit)
    if limit.low is not None and limit.high is not None:
        return say("limit.between", signal=limit.signal, low=declared(limit.low), high=high)
    if limit.high is not None:
        return say("limit.below", signal=limit.signal, high=high)
    return say("limit.above", signal=limit.signal, low=low)


def reason_label(reason: str) -> Phrase:
    """A reason of a shield or guard: its family in words, then the code as it is logged."""
    family = re.split(r"[.:/ ]", reason, maxsplit=1)[0]
    if family not in _REASONS:
        return Verbatim(reason)
    return say("reason.with_code", family=Message(f"reason.{family}"), code=reason)


def event_reason(reason: str) -> Phrase:
    """Why a transition happened or a guard fired, in words where the log uses a known form, else as logged."""
    for pattern, key in EVENT_REASONS:
        found = re.fullmatch(pattern, reason)
        if found:
            return say(key, **{name: _value(text) for name, text in found.groupdict().items()})
    return reason_label(reason) if reason else Number(None)


def _value(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def candidate_of(evaluation: EvaluationView) -> tuple[str, str] | None:
    """Arm and mode of the policy that the verdict is about."""
    verdict = evaluation.verdict
    if verdict is not None and verdict.candidate is not None:
        return verdict.candidate.arm, verdict.candidate.mode
    return None


def judged_shield(evaluation: EvaluationView) -> bool:
    """Whether the verdict is about the policy behind the shield, as it always is where the plant has a safety spec."""
    verdict = evaluation.verdict
    return verdict is None or verdict.candidate is None or verdict.candidate.shield


def row_of(evaluation: EvaluationView, arm: str, mode: str = "") -> EvaluationRowView | None:
    """The row of a controller in the scenario that decides, or else the first; with the shield as it is judged.

    The other shield setting stands in where it was not run.
    """
    shield = judged_shield(evaluation)
    deciding = evaluation.verdict.scenario if evaluation.verdict is not None else None
    rows = [row for row in evaluation.rows if row.arm == arm and row.mode == mode]
    rows.sort(key=lambda row: (row.scenario != deciding, row.shield != shield))
    return rows[0] if rows else None


def candidate_row(evaluation: EvaluationView) -> EvaluationRowView | None:
    """The row of the policy that the verdict is about, in the scenario that decides."""
    candidate = candidate_of(evaluation)
    return None if candidate is None else row_of(evaluation, *candidate)
