"""``fpo-pilot safety-case``: hazards, what guards each, and the evidence; a page in English and one in Japanese."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from fpo_pilot.certification.case import Claim, SafetyCase, build_case
from fpo_pilot.certification.record import read_record, record_path, status_of
from fpo_pilot.certification.words import CASE, GUARDS
from fpo_pilot.commands.console import note, say, say_json
from fpo_pilot.errors import CertificateError
from fpo_pilot.logs.atomic import write_text_atomic
from fpo_pilot.specs.base import Text
from fpo_pilot.specs.content import find_plant

Language = Literal["en", "ja"]
_HEADS: dict[Language, tuple[str, ...]] = {
    "en": ("hazard", "risk (1 to 25)", "owner", "goals", "guarded by", "evidence", "supported"),
    "ja": ("ハザード", "リスク（1〜25）", "担当", "目標", "防護策", "根拠", "成立"),
}
_TITLES: dict[Language, tuple[str, str, str, str]] = {
    "en": ("Safety case", "Claim", "Assumptions", "What is missing"),
    "ja": ("セーフティケース", "主張", "前提", "不足しているもの"),
}


def run_safety_case(plant_name: str, *, output: Path | None, as_json: bool) -> int:
    """Build the case of a plant; 0 if every claim is supported, 1 if not.

    Raises:
        CertificateError: the plant has no safety spec.
    """
    case = case_of(plant_name)
    written = []
    for language in _HEADS if output is not None else ():
        path = Path(str(output)) / f"safety-case.{language}.md"
        write_text_atomic(path, page(case, language))
        written.append(path)
    if as_json:
        document: dict[str, Any] = asdict(case) | {"supported": case.supported, "files": written}
        say_json({key: _plain(value) for key, value in document.items()})
    elif written:
        note("wrote " + ", ".join(str(path) for path in written))
    else:
        say(page(case, "en"))
    return 0 if case.supported else 1


def case_of(plant_name: str) -> SafetyCase:
    """Read specs and certificate of a plant, and build its case.

    Raises:
        CertificateError: the plant has no safety spec.
    """
    from fpo_pilot.certification.validate import binding_of
    from fpo_pilot.plants.load import load_plant

    plant_yaml = find_plant(plant_name)
    plant, record_file = load_plant(plant_name), record_path(plant_yaml)
    if plant.safety is None:
        raise CertificateError(
            f"plant {plant.name}: found no safety spec, expected the hazards of one. Write safety/{plant.name}.yaml."
        )
    status, _ = status_of(record_file, binding_of(plant), plant=plant.name)
    record = read_record(record_file) if status == "valid" else None
    return build_case(plant.spec, plant.safety, status=status, record=record, record_file=record_file)


def page(case: SafetyCase, language: Language) -> str:
    """Write the case as Markdown in one language."""
    title, claim, assumptions, lacking = _TITLES[language]

    def words(text: Text) -> str:
        return words_of(text, language)

    lines = [f"# {title}: {case.plant}", "", f"**{claim}**: {words(CASE['top'])}", ""]
    lines += [words(CASE["not_a_sis"]) + " " + words(CASE["simulation"]), ""]
    head = _HEADS[language]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cells(one, language)) + " |" for one in case.claims]
    missing = [words(gap) for gap in case.gaps]
    missing += [f"{one.hazard}: {words(reason)}" for one in case.claims for reason in one.missing]
    if missing:
        lines += ["", f"## {lacking}", *(f"- {line}" for line in missing)]
    if case.assumptions:
        lines += ["", f"## {assumptions}", *(f"- {words(one)}" for one in case.assumptions)]
    return "\n".join(lines) + "\n"


def words_of(text: Text, language: Language) -> str:
    """Return a text in one language."""
    return text.en if language == "en" else text.ja


def _cells(claim: Claim, language: Language) -> tuple[str, ...]:
    title = words_of(claim.title, language)
    evidence = [
        f"{'' if seen.supports else '▲ '}{words_of(seen.text, language)} (`{seen.file}` {seen.sha256[:12]})"
        for guard in claim.guards
        for seen in guard.evidence
    ]
    supported = {"en": ("yes", "**no**"), "ja": ("はい", "**いいえ**")}[language][bool(claim.missing)]
    return (
        f"{claim.hazard} {title}",
        str(claim.risk),
        claim.owner,
        ", ".join(claim.goals) or "-",
        "<br>".join(f"{words_of(GUARDS[guard.kind], language)} `{guard.id}`" for guard in claim.guards) or "-",
        "<br>".join(evidence) or "-",
        supported,
    )


def _plain(value: Any) -> Any:
    """Turn the texts of a document into what JSON can hold."""
    if isinstance(value, Text):
        return value.model_dump()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
