"""A model that was fitted to logged data, as batched dynamics: weights from safetensors, next state out.

A dynamics class composes a :class:`FittedModel`, as ``fpo-pilot identify`` writes it; it inherits nothing. The model says
how far each measured signal moves in one control step, as an affine function of what the signals and actions are and
were, plus a small neural network where the file has one.

Letters in shapes: B plants, S signals, A actions, p order (rows of the past that the model looks at), Z = p·(S + A).
A state is ``[x, d1 … d(p−1), u1 … u(p−1)]``: the signals, their changes from step to step going back, and past actions,
newest first. Changes rather than past values, so that "it stood still before" is zero whatever the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fpo_pilot.errors import PlantError

VERSION = 1


@dataclass(frozen=True)
class Weights:
    """All numbers of a fitted model; ``layers`` is empty for a linear one."""

    centre: Tensor  # [Z] of the regressors, over the fitted rows
    scale: Tensor  # [Z]
    gain: Tensor  # [Z, S]
    bias: Tensor  # [S]
    unit: Tensor  # [S] size of a change of each signal in one step
    low: Tensor  # [S] range of each signal: sensors do not read beyond it, so no log can show what lies there
    high: Tensor  # [S]
    seen_low: Tensor  # [Z] least scaled regressor of the fitted rows; the network is not asked beyond
    seen_high: Tensor  # [Z]
    layers: tuple[tuple[Tensor, Tensor], ...] = ()  # [out, in] and [out], tanh between

    @property
    def signals(self) -> int:
        """Number of signals, S."""
        return self.unit.shape[0]

    def order(self, actions: int) -> int:
        """Rows of the past that the model looks at, p, the present one included."""
        return self.centre.shape[0] // (self.signals + actions)

    def like(self, tensor: Tensor) -> Weights:
        """Return the weights in the type and on the device of ``tensor``."""
        moved = {name: getattr(self, name).to(tensor) for name in _ARRAYS}
        return Weights(**moved, layers=tuple((w.to(tensor), b.to(tensor)) for w, b in self.layers))

    def with_layers(self, layers: Sequence[tuple[Tensor, Tensor]]) -> Weights:
        """Return the same linear part with another network."""
        return replace(self, layers=tuple(layers))


_ARRAYS = tuple(f.name for f in fields(Weights) if f.name != "layers")


def regressors(state: Tensor, action: Tensor, signals: int) -> Tensor:
    """Return what the next change depends on, ``[B, Z]``: signals, their changes, this action, past actions."""
    actions = action.shape[1]
    past = state.shape[1] - (state.shape[1] - signals) // (signals + actions) * actions  # S·p
    return torch.cat((state[:, :past], action, state[:, past:]), dim=1)


def change(weights: Weights, inputs: Tensor) -> Tensor:
    """Return how far the signals move in one step, ``[B, S]``, from regressors ``[B, Z]``.

    The network sees its inputs cut to what the log has shown: outside, its part stays that of the edge.
    """
    scaled = (inputs - weights.centre) / weights.scale
    moved = scaled @ weights.gain + weights.bias
    if not weights.layers:
        return weights.unit * moved
    hidden = torch.clamp(scaled, weights.seen_low, weights.seen_high)
    for index, (weight, bias) in enumerate(weights.layers):
        hidden = hidden @ weight.T + bias
        hidden = torch.tanh(hidden) if index + 1 < len(weights.layers) else hidden
    return weights.unit * (moved + hidden)


def advance(weights: Weights, state: Tensor, action: Tensor) -> Tensor:
    """Advance states ``[B, S·p + A·(p−1)]`` by one control step under actions ``[B, A]``, in engineering units."""
    signals, actions = weights.signals, action.shape[1]
    now = state[:, :signals]
    after = now + change(weights, regressors(state, action, signals))
    after = torch.clamp(after, weights.low, weights.high)
    order = weights.order(actions)
    if order == 1:
        return after
    past = signals * order
    kept = state[:, past : state.shape[1] - actions]
    return torch.cat((after, after - now, state[:, signals : past - signals], action, kept), dim=1)


def pack_weights(weights: Weights, period: float, facts: Mapping[str, object]) -> bytes:
    """Return the bytes of a weights file: tensors in float64, period [s] and ``facts`` as JSON in its header."""
    tensors = {name: getattr(weights, name) for name in _ARRAYS}
    for index, (weight, bias) in enumerate(weights.layers):
        tensors |= {f"layers.{index}.weight": weight, f"layers.{index}.bias": bias}
    header = {**facts, "version": VERSION, "period": period}
    owned = {name: value.detach().to(torch.float64).contiguous().clone() for name, value in tensors.items()}
    return save(owned, metadata={"facts": json.dumps(header, sort_keys=True)})


def read_weights(file: Path) -> tuple[Weights, float]:
    """Read a weights file; return also the control period [s] that the model was fitted for.

    Raises:
        PlantError: it is missing, damaged, or of another version or shape.
    """
    try:
        with safe_open(str(file), framework="pt", device="cpu") as opened:
            facts = json.loads((opened.metadata() or {})["facts"])
            version, period = facts["version"], float(facts["period"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        depth = sum(name.startswith("layers.") for name in tensors) // 2
        layers = tuple((tensors[f"layers.{i}.weight"], tensors[f"layers.{i}.bias"]) for i in range(depth))
        weights = Weights(**{name: tensors[name] for name in _ARRAYS}, layers=layers)
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as problem:
        raise PlantError(
            f"{file}: found no whole file of a fitted model ({problem}), expected what `fpo-pilot identify` writes. "
            "Restore it from a copy, or identify again."
        ) from problem
    if version != VERSION or weights.gain.shape != (weights.centre.shape[0], weights.signals):
        raise PlantError(
            f"{file}: found version {version!r} with a gain of shape {tuple(weights.gain.shape)}, expected version "
            f"{VERSION} and [{weights.centre.shape[0]}, {weights.signals}]. Identify again with this release."
        )
    return weights, period


@dataclass(frozen=True)
class FittedModel:
    """A weights file, read when the plant is loaded, that advances a batch of states.

    Args:
        file: as a rule ``Path(__file__).with_suffix(".safetensors")``; it belongs to the code hash of the plant.

    Raises:
        PlantError: see :func:`read_weights`.
    """

    file: Path
    weights: Weights = field(init=False, repr=False, compare=False)
    period: float = field(init=False, compare=False)
    _moved: dict[tuple[torch.dtype, torch.device], Weights] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Read the file here, where the trace still shows the plant that names it."""
        weights, period = read_weights(self.file)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "period", period)

    @property
    def files(self) -> tuple[Path, ...]:
        """The weights file."""
        return (self.file.resolve(),)

    def advance(self, state: Tensor, action: Tensor, period: float) -> Tensor:
        """Advance states by one control step; see :func:`advance`.

        Raises:
            PlantError: the period is not that of the log: a fitted model knows no other.
        """
        if abs(period - self.period) > 1e-6 * self.period:
            raise PlantError(
                f"{self.file.name}: the period is {period:g} s, expected {self.period:g} s, that of the log. "
                "Set `timing.period` back, or identify again from a log with the new period."
            )
        key = (state.dtype, state.device)
        if key not in self._moved:
            self._moved[key] = self.weights.like(state)
        return advance(self._moved[key], state, action)
