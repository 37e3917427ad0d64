"""The shields that know a model, from the specs and from what the plant hands over."""

from __future__ import annotations

from collections.abc import Sequence

from fpo_pilot.errors import ShieldError
from fpo_pilot.shields.barrier import BarrierShield
from fpo_pilot.shields.envelope import Envelope
from fpo_pilot.shields.model import (
    Dynamics,
    Estimator,
    Lookahead,
    Model,
    StateSet,
    TerminalCheck,
    UncertaintyPoints,
    check_terminal_set,
)
from fpo_pilot.shields.predictive import PredictiveShield
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import BarrierShield as BarrierSpec
from fpo_pilot.specs.safety import PredictiveShield as PredictiveSpec
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.shield_rules import hard_state_limits
from fpo_pilot.specs.uncertainty import parameter_half_widths, reading_delays, state_errors

_TOLERANCE = 1e-3
"""Of the range of a state: a reading no farther than this from what was predicted does not speak against the model."""


class ModelStages:
    """Builds predictive and barrier shields of one plant.

    Args:
        safety: limits, uncertainty set.
        plant_spec: ranges and units of the signals.
        dynamics: the model that the plant handed over.
        envelope: box, rate and backup of the actions.
        measured: names of the measurement columns.

    Raises:
        ShieldError: a state is not measured, or nothing bounds the error of a reading.
    """

    def __init__(
        self,
        safety: SafetySpec,
        plant_spec: PlantSpec,
        dynamics: Dynamics,
        envelope: Envelope,
        measured: Sequence[str],
    ) -> None:
        self.safety, self.plant_spec, self.dynamics, self.envelope = safety, plant_spec, dynamics, envelope
        self.states = tuple(dynamics.state_names)
        missing = [name for name in self.states if name not in measured]
        if missing:
            raise ShieldError(
                f"shields: found no reading of {', '.join(missing)}, expected one of every state. "
                "Measure it, or leave out the shield that needs a model."
            )
        delays = {reading_delays(plant_spec)[name] for name in self.states}
        if len(delays) > 1:
            raise ShieldError(
                f"shields: found readings {sorted(delays)} steps late, expected all equally late. "
                "Give every state one delay_steps."
            )
        self.delay = delays.pop()
        self.columns = tuple(list(measured).index(name) for name in self.states)
        self.ranges = tuple(plant_spec.signals[name].range for name in self.states)
        self.spans = tuple(high - low for low, high in self.ranges)

    def predictive(self, spec: PredictiveSpec, *, live: bool = False) -> PredictiveShield:
        """Build the predictive shield, and check by simulation that its terminal set is never left.

        Raises:
            ShieldError: the terminal set is left.
        """
        check = self.terminal_check(spec)
        if not check.passed:
            state = ", ".join(f"{name} = {value:g}" for name, value in zip(self.states, check.state, strict=True))
            raise ShieldError(
                f"shields.predictive.terminal_set: found that the backup leads out of it (from {state}, by {-check.margin:g} of the "
                "range), expected that it can be held for ever. Make the set smaller, or the backup stronger."
            )
        return PredictiveShield(
            self._lookahead(spec),
            self._estimator(spec.substeps, self.points()),
            tolerance=tuple(_TOLERANCE * span for span in self.spans),
            candidates=spec.candidates,
            budget=spec.budget if live else None,
        )

    def barrier(self, spec: BarrierSpec) -> BarrierShield:
        """Build the barrier shield; it knows one model, and a declared error of it."""
        kept = {name: spec.margin.get(name, 0.0) for name in self.states}
        limits = StateSet.of_limits(hard_state_limits(self.safety, self.plant_spec), self.states, self.spans, kept)
        exact = UncertaintyPoints.build(self.dynamics.parameter_values, {}, (0.0,) * len(self.states))
        return BarrierShield(
            self._model(spec.substeps),
            limits,
            self._estimator(spec.substeps, exact),
            self.envelope,
            decay=spec.decay,
            error=tuple(spec.model_error.get(self.states[bound.column], 0.0) for bound in limits.bounds),
        )

    def terminal_check(self, spec: PredictiveSpec, *, samples: int = 256) -> TerminalCheck:
        """Simulate the backup from the terminal set; see :func:`check_terminal_set`."""
        lookahead = self._lookahead(spec)
        return check_terminal_set(
            lookahead.model,
            lookahead.terminal,
            lookahead.limits,
            self.points(),
            backup=self.envelope.safe,
            ranges=self.ranges,
            samples=samples,
        )

    def points(self) -> UncertaintyPoints:
        """Return the uncertainty set as points.

        Raises:
            ShieldError: nothing bounds the error of a reading.
        """
        errors = state_errors(self.safety, self.plant_spec)
        bounded = [error for name in self.states if (error := errors[name]) is not None]
        if len(bounded) < len(self.states):
            raise ShieldError(
                "uncertainty.states: found noise without a bound, expected one for every state. "
                "Add `truncate` to the noise in plant.yaml, or declare the error in the safety spec."
            )
        names = list(self.dynamics.parameter_names)
        widths = {
            names.index(name): width * self.dynamics.parameter_factors[names.index(name)]
            for name, width in parameter_half_widths(self.safety, self.plant_spec).items()
        }
        return UncertaintyPoints.build(
            self.dynamics.parameter_values, widths, bounded, samples=self.safety.uncertainty.samples
        )

    def _lookahead(self, spec: PredictiveSpec) -> Lookahead:
        limits = hard_state_limits(self.safety, self.plant_spec)
        return Lookahead(
            model=self._model(spec.substeps),
            limits=StateSet.of_limits(limits, self.states, self.spans, spec.margin),
            terminal=StateSet.of_box(spec.terminal_set, self.states, self.spans),
            envelope=self.envelope,
            horizon=spec.horizon,
        )

    def _model(self, substeps: int | None) -> Model:
        parts = self.dynamics.substeps if substeps is None else substeps
        return Model(self.dynamics.part(parts), parts)

    def _estimator(self, substeps: int | None, points: UncertaintyPoints) -> Estimator:
        return Estimator(
            self._model(substeps), points, self.columns, delay=self.delay, actions=len(self.envelope.names)
        )


def needs_model(safety: SafetySpec) -> bool:
    """Tell whether a safety spec names a shield that looks ahead with a model."""
    return any(isinstance(shield, PredictiveSpec | BarrierSpec) for shield in safety.shields)


def require_dynamics(dynamics: Dynamics | None) -> Dynamics:
    """Refuse to leave a declared shield out.

    Raises:
        ShieldError: there is no model.
    """
    if dynamics is None:
        raise ShieldError(
            "build_stack: found no model, expected one for the predictive or barrier shield of the safety spec. "
            "Pass `dynamics=Prediction(plant)`."
        )
    return dynamics
