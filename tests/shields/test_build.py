"""The stack that a safety spec makes."""

from __future__ import annotations

from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.prediction import Prediction
from fpo_pilot.shields import build_stack
from fpo_pilot.specs.safety import Sequence, SequenceShield

PLANT = load_plant("cstr_late")


def test_the_layers_stand_in_their_order() -> None:
    assert PLANT.safety is not None
    phases = {"on": {"hold": {"Tc": PLANT.safety.actions["Tc"].fallback}}}
    order = Sequence.model_validate({"id": "S", "start": "on", "phases": phases})
    shields = tuple(
        reversed((*PLANT.safety.shields, SequenceShield()))
    )  # the order of the file is not that of the stack
    spec = PLANT.safety.model_copy(update={"sequences": (order,), "shields": shields})
    stack = build_stack(spec, PLANT.spec, dynamics=Prediction(PLANT))
    assert [name for name, _ in stack.stages] == ["integrity", "sequence", "interlock", "predictive", "box_rate"]


def test_box_and_rate_are_there_even_where_nothing_is_declared() -> None:
    assert PLANT.safety is not None
    stack = build_stack(PLANT.safety.model_copy(update={"shields": ()}), PLANT.spec)
    assert [name for name, _ in stack.stages] == ["box_rate"]
