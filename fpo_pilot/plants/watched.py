"""A plant whose dynamics are watched: who returns what is no number, and who writes into what was lent to it.

Otherwise neither is seen: a state that is not finite counts as a trip, and an input that is changed spoils the integration
quietly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from fpo_pilot.plants.plant import Plant

_METHODS = ("derivative", "advance", "outputs")
_INPUTS = ("state", "action", "disturbance", "parameters")


@dataclass
class Watched:
    """The plant, and what was found so far: one sentence for each method and kind of fault."""

    plant: Plant
    faults: list[str] = field(default_factory=list)
    step: int = 0
    """Set by the caller, for the sentences."""
    _told: set[tuple[str, str]] = field(default_factory=set)

    def watching(self) -> Plant:
        """Return the plant with every method of its dynamics watched."""
        dynamics = self.plant.dynamics
        members = {name: getattr(dynamics, name) for name in dir(dynamics) if not name.startswith("_")}
        members |= {name: self._watch(name, members[name]) for name in _METHODS if name in members}
        return replace(self.plant, dynamics=SimpleNamespace(**members))

    def _watch(self, method: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*inputs: Any) -> Tensor:
            tensors = inputs[: len(_INPUTS)]
            before = [tensor.clone() for tensor in tensors]
            result = function(*inputs)
            for name, tensor, was in zip(_INPUTS, tensors, before, strict=True):
                self._unchanged(method, name, tensor, was)
            self._finite(method, before[0], result)
            return result

        return call

    def _unchanged(self, method: str, name: str, tensor: Tensor, was: Tensor) -> None:
        changed = ((tensor != was) & ~(tensor.isnan() & was.isnan())).flatten(0, -2).any(dim=0)
        if bool(changed.any()):
            column = self._columns(name)[int(changed.to(torch.uint8).argmax())]
            self._tell(method, name, f"writes into its input {name} ({column}); compute a new tensor instead")

    def _finite(self, method: str, state: Tensor, result: Tensor) -> None:
        """Only from a state inside the declared ranges: beyond them a model may well blow up."""
        names = self.plant.output_names if method == "outputs" else self.plant.state_names
        if result.ndim != 2 or result.shape != (state.shape[0], len(names)):
            return  # told by the plant itself
        low, high = state_ranges(self.plant, state)
        inside = ((state >= low) & (state <= high)).all(dim=-1, keepdim=True)
        wrong = (~torch.isfinite(result) & inside).any(dim=0)
        if bool(wrong.any()):
            index = int(wrong.to(torch.uint8).argmax())
            row = int((~torch.isfinite(result) & inside)[:, index].to(torch.uint8).argmax())
            at = ", ".join(f"{n} = {float(v):g}" for n, v in zip(self.plant.state_names, state[row], strict=True))
            self._tell(method, "finite", f"gives {float(result[row, index])} for {names[index]} at {at}")

    def _columns(self, name: str) -> tuple[str, ...]:
        plant = self.plant
        return {
            "state": plant.state_names,
            "action": plant.action_names,
            "disturbance": plant.disturbance_names,
            "parameters": plant.parameter_names,
        }[name]

    def _tell(self, method: str, kind: str, text: str) -> None:
        if (method, kind) not in self._told:
            self._told.add((method, kind))
            self.faults.append(f"plant {self.plant.name}, step {self.step}: {method}() {text}")


def state_ranges(plant: Plant, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the declared ranges of the states, ``[S]`` low and ``[S]`` high, in the type and on the device of ``like``."""
    ranges = [plant.spec.signals[name].range for name in plant.state_names]
    return like.new_tensor([low for low, _ in ranges]), like.new_tensor([high for _, high in ranges])
