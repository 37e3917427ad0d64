"""Rewards, goals, key figures and limits as functions of true signals, from expressions compiled once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from fpo_pilot.specs.expression import Expression, bind, evaluate, parse, robustness
from fpo_pilot.specs.expression.tree import Delta, walk
from fpo_pilot.specs.plant import Goal, PlantSpec
from fpo_pilot.specs.safety import Limit

Signals = Mapping[str, Tensor]
"""Values ``[B]`` of signals by name."""


class Declared(Protocol):
    """What is written down of a plant; no model of it is needed."""

    @property
    def spec(self) -> PlantSpec:
        """Its spec."""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Of its safety spec."""


def _pairwise(tensor_version: Callable[[Tensor, Tensor], Tensor], side: str) -> Callable[[Any, Any], Any]:
    """Let ``min`` and ``max`` take a tensor and a number in either order."""

    def apply(first: Any, second: Any) -> Any:
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return tensor_version(first, second)
        tensor, number = (first, second) if isinstance(first, Tensor) else (second, first)
        if not isinstance(tensor, Tensor):
            return min(first, second) if side == "max" else max(first, second)
        return tensor.clamp(**{side: number})

    return apply


def _elementwise(function: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    def apply(value: Any) -> Any:
        if isinstance(value, Tensor):
            return function(value)
        return float(function(torch.tensor(value, dtype=torch.float64)))  # a constant of the expression, not a signal

    return apply


TORCH_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": torch.abs,
    "min": _pairwise(torch.minimum, "max"),
    "max": _pairwise(torch.maximum, "min"),
    "sqrt": _elementwise(lambda value: value.clamp(min=0.0).sqrt()),
    "exp": _elementwise(torch.exp),
    "log": _elementwise(torch.log),
}


@dataclass(frozen=True)
class CompiledExpression:
    """An expression bound to the units of a plant."""

    expression: Expression

    def value(self, values: Signals, previous: Signals, like: Tensor) -> Tensor:
        """Evaluate to a number ``[B]`` of the type of ``like`` ``[B]``; a condition is 1 or 0."""
        return _as_row(evaluate(self.expression, values, previous, TORCH_FUNCTIONS), like)

    def holds(self, values: Signals, previous: Signals, like: Tensor) -> Tensor:
        """Evaluate a condition to a truth value ``[B]``."""
        result = evaluate(self.expression, values, previous, TORCH_FUNCTIONS)
        if isinstance(result, Tensor):
            return result
        return torch.full_like(like, bool(result), dtype=torch.bool)

    def margin(self, values: Signals, previous: Signals, like: Tensor) -> Tensor:
        """Return ``[B]`` by how much a condition holds; negative where it fails."""
        return _as_row(robustness(self.expression, values, previous, TORCH_FUNCTIONS), like)


def compile_expression(plant: Declared, text: str) -> CompiledExpression:
    """Parse an expression and bind its numbers to the units of the plant's signals."""
    units = {name: signal.unit for name, signal in plant.spec.signals.items()}
    return CompiledExpression(bind(parse(text), units, plant.spec.timing.period))


@dataclass(frozen=True)
class Term:
    """A weighted reward term, or a goal."""

    name: str
    compiled: CompiledExpression
    weight: float
    goal: Goal | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class RewardModel:
    """All that is computed from the signals of a step."""

    terms: tuple[Term, ...]
    kpi: tuple[tuple[str, CompiledExpression], ...]
    ends_when: CompiledExpression | None
    limits: tuple[Limit, ...]

    @cached_property
    def delta_names(self) -> frozenset[str]:
        """Signals of which the value of the step before is needed."""
        compiled = [term.compiled for term in self.terms] + [expression for _, expression in self.kpi]
        if self.ends_when is not None:
            compiled.append(self.ends_when)
        return frozenset(
            node.name for entry in compiled for node in walk(entry.expression.root) if isinstance(node, Delta)
        )

    @cached_property
    def needed_names(self) -> frozenset[str]:
        """Signals that the reward is computed from."""
        return frozenset(name for term in self.terms for name in term.compiled.expression.names)

    @cached_property
    def reach_goals(self) -> tuple[int, ...]:
        """Indices of the terms that remember whether their goal was reached."""
        return tuple(i for i, term in enumerate(self.terms) if term.goal is not None and term.goal.reach is not None)


def reward_model(plant: Declared) -> RewardModel:
    """Compile rewards or goals, key figures, the declared end and the limits of a plant."""
    spec = plant.spec
    terms = [Term(term.name, compile_expression(plant, term.expression), term.weight) for term in spec.reward]
    terms += [_goal_term(plant, goal) for goal in spec.goals]
    end = spec.episode.ends_when
    return RewardModel(
        terms=tuple(terms),
        kpi=tuple((name, compile_expression(plant, text)) for name, text in spec.kpi.items()),
        ends_when=None if end is None else compile_expression(plant, end),
        limits=plant.limits,
    )


class StepValues(NamedTuple):
    """What a step is worth; ``[B]`` each."""

    terms: dict[str, Tensor]
    """Weighted terms of the reward."""
    kpi: dict[str, Tensor]
    """Key figures, with ``goal.<name>`` 1 where a goal is satisfied."""
    robustness: dict[str, Tensor]
    """Of each goal with a condition, by how much this step is as it should be, over its scale."""
    reached: Tensor
    """``[B, G]`` whether each ``reach`` goal has been reached, this step included."""


def reward_terms(
    model: RewardModel, values: Signals, previous: Signals, like: Tensor, step: Tensor, reached: Tensor
) -> StepValues:
    """Evaluate the reward of a step, and the goals.

    A goal is worth, per step, its weight divided by the horizon (weight × period, with the episode as the unit of
    time), so that a return does not change with the period: ``avoid`` and ``drive`` lose the distance by which they
    fail over ``scale`` (``avoid`` also 1 for failing at all), ``reach`` loses it until it was reached once,
    ``minimize`` and ``maximize`` count their expression over ``scale``. A goal of weight 0 gives no term.

    Args:
        model: compiled.
        values: signals after the step (references: those in force during it).
        previous: signals before the step.
        like: ``[B]``, gives type and device.
        step: ``[B]`` index of the step.
        reached: ``[B, G]`` whether each ``reach`` goal was reached before.
    """
    terms: dict[str, Tensor] = {}
    robust: dict[str, Tensor] = {}
    kpi = {name: expression.value(values, previous, like) for name, expression in model.kpi}
    columns = {index: column for column, index in enumerate(model.reach_goals)}
    latched = list(reached.unbind(-1)) if columns else []
    for index, term in enumerate(model.terms):
        goal = term.goal
        if goal is None:
            terms[term.name] = term.compiled.value(values, previous, like) * term.weight
        elif goal.minimize is not None or goal.maximize is not None:
            terms[term.name] = term.compiled.value(values, previous, like) * (term.weight / term.scale)
        else:
            margin = term.compiled.margin(values, previous, like)
            holds = term.compiled.holds(values, previous, like)
            short = (-margin).clamp(min=0.0) / term.scale
            if goal.avoid is not None:  # the condition must NOT hold: by how much it does is what is lost
                short = margin.clamp(min=0.0) / term.scale + holds
                holds = ~holds
            elif goal.reach is not None:
                holds = holds | latched[columns[index]]
                latched[columns[index]] = holds
                short = torch.where(holds, torch.zeros_like(short), short)
            elif goal.within_steps is not None:
                holds = holds | (step + 1 < goal.within_steps)
            if goal.weight > 0.0:
                terms[term.name] = short * -term.weight
            kpi[f"goal.{term.name}"] = holds.to(like.dtype)
            robust[term.name] = (-margin if goal.avoid is not None else margin) / term.scale
    return StepValues(terms, kpi, robust, torch.stack(latched, dim=-1) if latched else reached)


def limit_margins(limits: tuple[Limit, ...], values: Signals) -> dict[str, Tensor]:
    """Return the distance ``[B]`` of each limited signal to its nearer bound; positive is safe."""
    margins: dict[str, Tensor] = {}
    for limit in limits:
        value = values[limit.signal]
        above = None if limit.low is None else value - limit.low
        below = None if limit.high is None else limit.high - value
        if above is not None and below is not None:
            margins[limit.id] = torch.minimum(above, below)
        else:
            margin = above if above is not None else below
            margins[limit.id] = torch.full_like(value, torch.inf) if margin is None else margin
    return margins


def _goal_term(plant: Declared, goal: Goal) -> Term:
    text = goal.avoid or goal.reach or goal.drive or goal.minimize or goal.maximize or ""
    compiled = compile_expression(plant, text)
    scale = goal.scale
    if scale is None:
        named = compiled.expression.ordered_names
        low, high = plant.spec.signals[named[0]].range if named else (0.0, 1.0)
        scale = high - low
    sign = -1.0 if goal.minimize is not None else 1.0
    return Term(goal.name, compiled, sign * goal.weight / plant.spec.timing.horizon, goal, scale)


def _as_row(value: Any, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value.to(like.dtype)
    return torch.full_like(like, float(value))
