"""A plant: its constants, and pure functions of tensors that the caller keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.dynamics import SECONDS, ContinuousDynamics, HasOutputs
from fpo_pilot.plants.integrator import rk4
from fpo_pilot.plants.sources import data_files
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import Limit, SafetySpec


@dataclass(frozen=True)
class Plant:
    """A batched model of a plant in engineering units, on any device and in any floating type.

    Randomness enters only as ``disturbance`` and ``parameters``; the state is the caller's. Make one with
    :func:`fpo_pilot.load_plant`, or :func:`fpo_pilot.plants.load.build_plant` from specs made in Python.
    """

    spec: PlantSpec
    safety: SafetySpec | None
    dynamics: Any
    parameter_values: tuple[float, ...]
    """Nominal parameters in the units that the dynamics class declares."""
    parameter_factors: tuple[float, ...] = ()
    """A change of one unit of plant.yaml in the unit of the dynamics class, for each parameter."""
    dynamics_file: Path | None = None
    """Where the dynamics class was loaded from; ``dynamics_hash`` is over its bytes."""
    folder: Path | None = None
    """Of plant.yaml; files of measured data lie in it."""
    _constants: dict[tuple[torch.dtype, torch.device], tuple[Tensor, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """Id of the plant."""
        return self.spec.plant.id

    @property
    def period(self) -> float:
        """Seconds between two actions."""
        return self.spec.timing.period

    @property
    def horizon(self) -> int:
        """Steps of an episode."""
        return self.spec.timing.horizon

    @cached_property
    def state_names(self) -> tuple[str, ...]:
        """Names of the columns of a state."""
        return tuple(self.dynamics.states)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """Names of the columns of an action."""
        return tuple(self.dynamics.actions)

    @cached_property
    def disturbance_names(self) -> tuple[str, ...]:
        """Names of the columns of a disturbance."""
        return tuple(getattr(self.dynamics, "disturbances", ()))

    @cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns of the parameters."""
        return tuple(self.dynamics.parameters)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of the signals that the dynamics compute from the state."""
        return tuple(self.dynamics.output_names) if isinstance(self.dynamics, HasOutputs) else ()

    @cached_property
    def measured_names(self) -> tuple[str, ...]:
        """Names of the columns of a measurement: measured states and computed signals, in the order of the spec."""
        return tuple(
            name
            for name, signal in self.spec.signals.items()
            if signal.role in {"state", "measurement"} and signal.measured
        )

    @cached_property
    def reference_names(self) -> tuple[str, ...]:
        """Names of the set points, in the order of the spec."""
        return tuple(name for name, signal in self.spec.signals.items() if signal.role == "reference")

    @cached_property
    def action_low(self) -> tuple[float, ...]:
        """What the normalised action −1 means: the safety spec's low limits, else the actuators' ranges."""
        return tuple(low for low, _ in self._action_bounds())

    @cached_property
    def action_high(self) -> tuple[float, ...]:
        """What the normalised action +1 means."""
        return tuple(high for _, high in self._action_bounds())

    @cached_property
    def action_start(self) -> tuple[float, ...]:
        """Read-back of the actions at the start of an episode."""
        starts = []
        for name, low, high in zip(self.action_names, self.action_low, self.action_high, strict=True):
            start = self.spec.signals[name].start
            starts.append((low + high) / 2 if start is None else start)
        return tuple(starts)

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """Hard and soft limits of the safety spec; none without one."""
        return () if self.safety is None else self.safety.limits

    @cached_property
    def source_files(self) -> tuple[Path, ...]:
        """The files that the dynamics are made of: the Python file, its MuJoCo or fitted models, and data that is replayed."""
        if self.dynamics_file is None:
            return ()
        replays = [one.replay for one in self.spec.disturbances if one.replay is not None]
        data = [] if self.folder is None else [(self.folder / replay.file).resolve() for replay in replays]
        return (self.dynamics_file, *data_files(self.dynamics), *dict.fromkeys(data))

    @property
    def dynamics_hash(self) -> str | None:
        """SHA-256 over ``source_files``, which are no part of the package; None for dynamics made in Python."""
        contents = [file.read_bytes() for file in self.source_files]
        if not contents:
            return None
        digest = hashlib.sha256(contents[0])
        for file, content in zip(self.source_files[1:], contents[1:], strict=True):
            digest.update(f"\0{file.name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    def nominal_parameters(self) -> tuple[float, ...]:
        """Return the parameters as declared, in the order and units of the dynamics class."""
        return self.parameter_values

    def nominal_disturbance(self) -> tuple[float, ...]:
        """Return the disturbances as declared: ``start`` of each signal, else zero."""
        return tuple(self.spec.signals[name].start or 0.0 for name in self.disturbance_names)

    def nominal_disturbance_like(self, like: Tensor) -> Tensor:
        """Return the declared disturbances ``[1, D]`` in the type and on the device of ``like``."""
        return self._constant(like)[3]

    def nominal_parameters_like(self, like: Tensor) -> Tensor:
        """Return the declared parameters ``[1, P]`` in the type and on the device of ``like``."""
        return self._constant(like)[0]

    def to_engineering(self, normalised: Tensor) -> Tensor:
        """Map actions ``[B, A]`` linearly from [−1, 1] to the limits, without a clip."""
        middle, half = self._action_scale(normalised)
        return middle + half * normalised

    def to_normalised(self, action: Tensor) -> Tensor:
        """Map actions ``[B, A]`` in engineering units to [−1, 1]; the inverse of :meth:`to_engineering`."""
        middle, half = self._action_scale(action)
        return (action - middle) / half

    def step(
        self, state: Tensor, action: Tensor, disturbance: Tensor | None = None, parameters: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Advance every plant of a batch by one period.

        Args:
            state: ``[B, S]``, engineering units.
            action: ``[B, A]``, engineering units, held over the period. Not clipped: bounds are the caller's.
            disturbance: ``[B, D]``; None for the nominal one.
            parameters: ``[B, P]`` or ``[1, P]``; None for the nominal ones.

        Returns:
            The next state ``[B, S]``, and ``[B]`` whether the plant tripped: a hard limit on a state or a computed
            signal was passed at any substep, or the state was not finite. A tripped plant stays at the first state
            beyond the limit; a state that is not finite is never taken.

        Raises:
            PlantError: a tensor has the wrong shape, or the dynamics return one of another shape, type or device.
        """
        self._check_inputs(state, action)
        if disturbance is None:
            disturbance = self.nominal_disturbance_like(state).expand(state.shape[0], -1)
        if parameters is None:
            parameters = self.nominal_parameters_like(state)
        inputs = (action, disturbance, parameters)
        outside = self._outside(state, *inputs)
        tripped = torch.zeros_like(state[:, 0], dtype=torch.bool) if outside is None else outside
        if not self._continuous:
            proposal = self.dynamics.advance(state, *inputs, self.period)
            self._check_result("advance", proposal, state)
            return self._take(state, tripped, proposal, inputs)

        def derivative(x: Tensor) -> Tensor:
            rate: Tensor = self.dynamics.derivative(x, action, disturbance, parameters)
            self._check_result("derivative", rate, x)
            return rate

        for _ in range(self.spec.dynamics.substeps):
            state, tripped = self._take(state, tripped, rk4(derivative, state, self._substep), inputs)
        return state, tripped

    def outputs(
        self, state: Tensor, action: Tensor, disturbance: Tensor | None = None, parameters: Tensor | None = None
    ) -> Tensor:
        """Compute the signals of role ``measurement``, ``[B, Y]``, from a state; ``[B, 0]`` if there are none."""
        if not self.output_names:
            return state.new_empty((state.shape[0], 0))
        if disturbance is None:
            disturbance = self.nominal_disturbance_like(state).expand(state.shape[0], -1)
        if parameters is None:
            parameters = self.nominal_parameters_like(state)
        outputs: Tensor = self.dynamics.outputs(state, action, disturbance, parameters)
        if outputs.shape != (state.shape[0], len(self.output_names)):
            raise PlantError(
                f"plant {self.name}: outputs() returned {tuple(outputs.shape)}, expected [B, "
                f"{len(self.output_names)}] for "
                f"{', '.join(self.output_names)}. Stack one column for each name in output_names."
            )
        return outputs

    @cached_property
    def _continuous(self) -> bool:
        return isinstance(self.dynamics, ContinuousDynamics)

    @cached_property
    def _substep(self) -> float:
        """Length of a substep in the time unit of the dynamics."""
        return self.period / SECONDS[self.dynamics.time_unit] / self.spec.dynamics.substeps

    @cached_property
    def _watched(self) -> tuple[tuple[bool, int, float | None, float | None], ...]:
        """Hard limits that trip: whether on an output (or a state), column, low and high."""
        columns = {name: (False, i) for i, name in enumerate(self.state_names)}
        columns |= {name: (True, i) for i, name in enumerate(self.output_names)}
        return tuple(
            (*columns[limit.signal], limit.low, limit.high)
            for limit in self.limits
            if limit.kind == "hard" and limit.signal in columns
        )

    def _take(
        self, state: Tensor, tripped: Tensor, proposal: Tensor, inputs: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Take the proposed state where it is finite and the plant had not tripped; tell where it has now."""
        total = proposal.sum(dim=-1)
        sound = total - total == 0.0  # false for NaN and infinity, at a third of the cost of isfinite
        runs = sound & ~tripped
        state = torch.where(runs.unsqueeze(-1), proposal, state)
        outside = self._outside(state, *inputs)
        return state, ~runs if outside is None else ~runs | outside

    def _outside(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor | None:
        """Tell ``[B]`` where a hard limit is passed; None if there is no hard limit."""
        if not self._watched:
            return None
        needs_outputs = any(of_output for of_output, *_ in self._watched)
        outputs = self.outputs(state, action, disturbance, parameters) if needs_outputs else state
        outside: Tensor | None = None
        for of_output, column, low, high in self._watched:
            value = (outputs if of_output else state)[:, column]
            for beyond in (None if low is None else value < low, None if high is None else value > high):
                if beyond is not None:
                    outside = beyond if outside is None else outside | beyond
        return outside

    def _check_inputs(self, state: Tensor, action: Tensor) -> None:
        if state.ndim != 2 or state.shape[1] != len(self.state_names):
            raise PlantError(
                f"plant {self.name}: the state has shape {tuple(state.shape)}, expected [B, "
                f"{len(self.state_names)}] for "
                f"{', '.join(self.state_names)}. Add the batch dimension with state.unsqueeze(0)."
            )
        if action.shape != (state.shape[0], len(self.action_names)):
            raise PlantError(
                f"plant {self.name}: the action has shape {tuple(action.shape)}, expected "
                f"[{state.shape[0]}, {len(self.action_names)}] for {', '.join(self.action_names)}. "
                "Give one row for each plant of the batch."
            )

    def _check_result(self, method: str, result: Tensor, state: Tensor) -> None:
        if result.shape == state.shape and result.dtype == state.dtype and result.device == state.device:
            return
        found = f"{tuple(result.shape)} {result.dtype} on {result.device}"
        raise PlantError(
            f"plant {self.name}: {method}() of {type(self.dynamics).__name__} returned {found}, expected "
            f"{tuple(state.shape)} {state.dtype} on {state.device}, one column for each of "
            f"{', '.join(self.state_names)}. "
            "Stack the columns with torch.stack(..., dim=-1), and make every constant from the tensors that come in."
        )

    def _action_bounds(self) -> tuple[tuple[float, float], ...]:
        limits = {} if self.safety is None else self.safety.actions
        return tuple(
            (limits[name].low, limits[name].high) if name in limits else self.spec.signals[name].range
            for name in self.action_names
        )

    def _action_scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self._constant(like)[1:3]  # type: ignore[return-value]

    def _constant(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return parameters ``[1, P]``, middle and half span of the actions ``[A]``, nominal disturbance ``[1, D]``."""
        key = (like.dtype, like.device)
        if key not in self._constants:
            rows: tuple[Sequence[float] | Sequence[Sequence[float]], ...] = (
                [self.parameter_values],
                [(low + high) / 2 for low, high in zip(self.action_low, self.action_high, strict=True)],
                [(high - low) / 2 for low, high in zip(self.action_low, self.action_high, strict=True)],
                [self.nominal_disturbance()],
            )
            self._constants[key] = tuple(torch.tensor(row, dtype=like.dtype, device=like.device) for row in rows)
        return self._constants[key]
