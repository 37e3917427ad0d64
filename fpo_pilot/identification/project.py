"""Writes an identified model as a plant: specs edited from those given, dynamics that load the weights, no pickle."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpo_pilot import __version__
from fpo_pilot.errors import SpecError, Words
from fpo_pilot.identification.identify import Identification
from fpo_pilot.identification.log import PlantLog
from fpo_pilot.logs.atomic import write_atomic, write_text_atomic
from fpo_pilot.plants.fitted import pack_weights
from fpo_pilot.specs.content import PLANT_FILE, find_beside, find_safety
from fpo_pilot.specs.coverage import coverage
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant_rules import measured_names
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.units import difference_unit, is_offset, parse_unit
from fpo_pilot.specs.units import name as unit_name

if TYPE_CHECKING:
    from ruamel.yaml import YAML

_DYNAMICS = '''"""Identified from logged data by `fpo-pilot identify`; how wrong it is stands in README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from fpo_pilot.plants.fitted import FittedModel


@dataclass(frozen=True)
class Identified:
    """Measured signals one control step on.

    The model is {what}.
    """

    states: ClassVar[tuple[str, ...]] = {states}
    actions: ClassVar[tuple[str, ...]] = {actions}
    parameters: ClassVar[Mapping[str, str]] = {{}}
    model: ClassVar[FittedModel] = FittedModel(Path(__file__).with_suffix(".safetensors"))

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, {size}]`` after one period, which must be that of the log."""
        return self.model.advance(state, action, period)
'''


def refuse_unmeasured(plant: PlantSpec, safety: SafetySpec | None) -> None:
    """Refuse a plant whose reward, limits or the like need a signal that no log holds.

    Raises:
        SpecError: names the signal and what needs it.
    """
    measured = measured_names(plant)
    for signal in coverage(plant, safety).signals:
        hidden = signal.role in {"state", "measurement", "disturbance"} and signal.name not in measured
        needs = [f"{use.kind} {use.name}" for use in signal.uses if use.kind != "disturbance"]
        if hidden and needs:
            raise SpecError(
                f"signals.{signal.name}",
                Words(f"a signal that is not measured, and that {', '.join(needs)} needs"),
                "only measured signals where a model is to be identified",
                "Measure it and log it, or write reward and limits without it.",
            )


def refuse_folder(folder: Path) -> None:
    """Refuse a folder that is no new one inside a folder ``envs``.

    Raises:
        SpecError: something is there, or the plant would not be found there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(
            str(folder), Words("something is there already"), "a new or empty folder", "Choose another with --out."
        )
    if folder.absolute().parent.name != "envs" or not folder.name.isidentifier() or len(folder.name) > 64:
        raise SpecError(
            "--out", str(folder), "envs/NAME, NAME of letters, digits and _", "Commands find plants in envs/ by name."
        )


def write_project(
    result: Identification, log: PlantLog, plant: PlantSpec, safety: SafetySpec | None, plant_file: Path, folder: Path
) -> tuple[str, ...]:
    """Write plant.yaml, dynamics, weights, and what stood beside the plant.yaml given.

    Args:
        result: the model.
        log: first rows of its episodes give starts to signals that were computed before.
        plant: the spec as given.
        safety: its safety spec, which is copied under the new name.
        plant_file: where the spec was read from.
        folder: ``envs/NAME``, new or empty.

    Returns:
        Names of evaluation scenarios that were left out, since they change what an identified model does not have.
    """
    name = folder.name
    order = result.weights.order(len(result.actions))
    hidden = _hidden(plant, result, order)
    yaml = _yaml()
    text = _dump(yaml, _edited_plant(yaml.load(plant_file.read_text("utf-8")), plant, log, name, hidden))
    head = f"# Made by `fpo-pilot identify` from the plant.yaml of {plant.plant.id}; comments below are those of its owner.\n"
    write_text_atomic(folder / PLANT_FILE, head + text)
    states = (*result.signals, *hidden)
    parts = ["affine in the signals and actions" + (f" of the last {order} steps" if order > 1 else "")]
    parts += ["plus a small neural network"] if result.kind == "neural" else []
    dynamics = _DYNAMICS.format(
        what=", ".join(parts), states=_tuple(states), actions=_tuple(result.actions), size=len(states)
    )
    write_text_atomic(folder / f"{name}.py", dynamics)
    facts = {"signals": result.signals, "actions": result.actions, "order": order, "fpo_pilot": __version__}
    content = pack_weights(result.weights, plant.timing.period, facts)
    write_atomic(folder / f"{name}.safetensors", lambda file: file.write(content))
    training = find_beside(plant_file, "train.yaml")
    if training is not None:
        write_text_atomic(folder / "train.yaml", training.read_text("utf-8"))
    safety_file = find_safety(plant_file)
    if safety is not None and safety_file is not None:
        data = yaml.load(safety_file.read_text("utf-8"))
        data["plant"] = name
        write_text_atomic(folder.parent.parent / "safety" / f"{name}.yaml", _dump(yaml, data))
    return _write_evaluation(yaml, plant, plant_file, folder)


def _hidden(plant: PlantSpec, result: Identification, order: int) -> dict[str, dict[str, Any]]:
    """Return the signals that carry the past, with their start: changes begin at 0, actions at their own start."""
    hidden: dict[str, dict[str, Any]] = {}
    for back in range(1, order):
        for name in result.signals:
            signal = plant.signals[name]
            unit = parse_unit(signal.unit)
            span = signal.range[1] - signal.range[0]
            hidden[f"{name}_change_{back}"] = {
                "unit": unit_name(difference_unit(unit)) if is_offset(unit) else signal.unit,
                "range": [-span, span],
                "start": 0.0,
            }
    for back in range(1, order):
        for name in result.actions:
            signal = plant.signals[name]
            start = sum(signal.range) / 2 if signal.start is None else signal.start
            hidden[f"{name}_before_{back}"] = {"unit": signal.unit, "range": list(signal.range), "start": start}
    return hidden


def _edited_plant(data: Any, plant: PlantSpec, log: PlantLog, name: str, hidden: dict[str, dict[str, Any]]) -> Any:
    """Edit the document of a plant.yaml in place: what is measured becomes the state, what no log holds goes."""
    info, signals, start = data["plant"], data["signals"], data["episode"]["start"]
    info["id"] = name
    info["title"]["en"] = f"{plant.plant.title.en} (identified from a log)"
    info["title"]["ja"] = f"{plant.plant.title.ja}（ログから同定）"
    info["source"] = f"identified from logged data by fpo-pilot {__version__}"
    if "dynamics" in data:
        data["dynamics"].clear()
        data["dynamics"].update({"file": f"{name}.py", "class": "Identified"})
    else:
        data.insert(list(data).index("plant") + 1, "dynamics", {"file": f"{name}.py", "class": "Identified"})
    data.pop("parameters", None)
    data["episode"].pop("randomize_parameters", None)
    measured = measured_names(plant)
    for key, signal in plant.signals.items():
        if signal.role in {"state", "measurement", "disturbance"} and key not in measured:
            del signals[key]
            start.pop(key, None)
        elif key in measured:
            _as_state(signals[key])
            if key not in start:
                start[key] = _first_values(log, key)
    for key, facts in hidden.items():
        signals[key] = _on_one_line(
            {"unit": facts["unit"], "range": facts["range"], "role": "state", "measured": False}
        )
        start[key] = facts["start"]
    if "disturbances" in data:
        data["disturbances"] = [entry for entry in data["disturbances"] if entry["channel"] in measured]
        if not data["disturbances"]:
            del data["disturbances"]
    return data


def _on_one_line(facts: dict[str, Any]) -> Any:
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    entry = CommentedMap(facts | {"range": CommentedSeq(facts["range"])})
    entry["range"].fa.set_flow_style()
    entry.fa.set_flow_style()
    return entry


def _as_state(signal: Any) -> None:
    """Make a measured signal a state; what its sensor adds to every reading is in the model already."""
    signal["role"] = "state"
    sensor = signal.get("sensor")
    if sensor is not None:
        for key in ("bias", "delay_steps"):
            sensor.pop(key, None)
        if not sensor:
            del signal["sensor"]


def _first_values(log: PlantLog, name: str) -> Any:
    """Return the start of a signal that plant.yaml gives none: between the least and greatest first value logged."""
    column = log.signals.index(name)
    first: dict[int, float] = {}
    for stretch in log.stretches:
        first.setdefault(stretch.episode, float(stretch.measured[0, column]))
    low, high = min(first.values()), max(first.values())
    return low if low == high else {"kind": "uniform", "low": low, "high": high}


def _write_evaluation(yaml: YAML, plant: PlantSpec, plant_file: Path, folder: Path) -> tuple[str, ...]:
    """Copy evaluate.yaml without the scenarios that change a parameter or an unmeasured input; return their names."""
    file = find_beside(plant_file, "evaluate.yaml")
    if file is None:
        return ()
    data = yaml.load(file.read_text("utf-8"))
    measured = measured_names(plant)
    kept: list[Any] = []
    dropped: list[Any] = []
    for scenario in data.get("scenarios", ()):
        channels = [entry["channel"] for entry in scenario.get("disturbances") or ()]
        named = (*scenario.get("start", ()), *channels)
        keep = not scenario.get("parameters") and all(name in measured for name in named)
        (kept if keep else dropped).append(scenario)
    if kept:
        data["scenarios"] = kept
    else:
        data.pop("scenarios", None)
    write_text_atomic(folder / "evaluate.yaml", _dump(yaml, data))
    return tuple(str(scenario["name"]) for scenario in dropped)


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML()  # keeps comments and order
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _dump(yaml: YAML, data: Any) -> str:
    buffer = io.StringIO()
    yaml.dump(data, buffer)
    return buffer.getvalue()


def _tuple(names: Iterable[str]) -> str:
    return "(\n" + "".join(f'        "{name}",\n' for name in names) + "    )"
