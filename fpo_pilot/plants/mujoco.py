"""MuJoCo models as batched dynamics: state and controls in, state after one control period out, on the CPU.

A dynamics class composes a :class:`MujocoModel`; it inherits nothing. MuJoCo itself is imported when a model is first
used, so that importing this module stays light.

Letters in shapes: B environments, Q coordinates and speeds of the model (nq + nv), U controls (nu), N sensor values, T time
steps of the model in a control period, P parameters.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.mujoco_variants import Variants, refuse_hidden_state

if TYPE_CHECKING:
    import mujoco

Array = npt.NDArray[np.float64]
MOST_THREADS = 2
_ALONE = 8
"""Batches up to this size are stepped on the calling thread: waking others costs more than they save."""
_HUGE = 1e10
"""MuJoCo's own bound of a sound coordinate (mjMAXVAL); beyond it a state counts as not finite."""


@dataclass(frozen=True)
class MujocoModel:
    """A model file, compiled when it is first used, that advances a batch of states.

    The state is the model's coordinates followed by its speeds (``qpos``, ``qvel``); time, and the warm start of the
    solver, are none of it, so that the next state is a function of state and control alone, as a plant promises. A
    model with activations, plugins or other hidden state is refused.

    Args:
        xml: the model (MJCF), as a rule ``Path(__file__).with_suffix(".xml")``.
        vary: writes one row of parameters ``[P]`` into the source of the model, before it is compiled: masses, friction, places,
            lengths. It must leave the numbers of coordinates, controls and sensors as they are. None where ``advance`` is
            given no parameters.

    Raises:
        PlantError: there is no such file.
    """

    xml: Path
    vary: Callable[[mujoco.MjSpec, Array], None] | None = None

    def __post_init__(self) -> None:
        """Refuse a missing file here, where the trace still shows the plant that names it."""
        if not self.xml.is_file():
            raise PlantError(f"MujocoModel: found no file {self.xml}, expected a MuJoCo model. Correct the path.")

    def __getstate__(self) -> dict[str, Any]:
        """Keep only what was given: what is compiled belongs to this process."""
        return {"xml": self.xml, "vary": self.vary}

    @cached_property
    def compiled(self) -> mujoco.MjModel:
        """The compiled model, for constants such as masses; do not change it.

        Raises:
            PlantError: MuJoCo cannot compile the file, or the model has state beside coordinates and speeds.
        """
        mujoco = self._library()
        try:
            model = mujoco.MjModel.from_xml_path(str(self.xml))
        except ValueError as error:
            raise PlantError(f"{self.xml}: MuJoCo says {error}, expected a model that compiles. Correct it.") from error
        refuse_hidden_state(model, self.xml)
        # A diverged model would otherwise be reset to its first pose, and the plant would not see that it tripped.
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET.value
        return model

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The model file and every file that it includes or loads (meshes, textures): they belong to the code hash."""
        mujoco = self._library()
        found = {self.xml.resolve()}
        found |= {Path(name).resolve() for name in mujoco.mju_getXMLDependencies(str(self.xml))}
        return tuple(sorted(found))

    @cached_property
    def state_size(self) -> int:
        """Coordinates and speeds, Q."""
        return int(self.compiled.nq + self.compiled.nv)

    @cached_property
    def control_size(self) -> int:
        """Controls, U."""
        return int(self.compiled.nu)

    @cached_property
    def sensor_size(self) -> int:
        """Sensor values, N."""
        return int(self.compiled.nsensordata)

    @cached_property
    def timestep(self) -> float:
        """Seconds of one time step of the model."""
        return float(self.compiled.opt.timestep)

    def advance(self, state: Tensor, control: Tensor, period: float, parameters: Tensor | None = None) -> Tensor:
        """Advance every environment by one control period.

        Args:
            state: ``[B, Q]`` or wider, float32 or float64, on the CPU; further columns are not read.
            control: ``[B, U]`` held over the period, or ``[B, T, U]`` one for each time step; in the units of the model's
                actuators.
            period: seconds, a whole number T of the model's time steps.
            parameters: ``[B, P]`` or ``[1, P]`` for ``vary``; None for the model as its file has it. A model is compiled
                (about a millisecond) for every row that was not seen lately.

        Returns:
            ``[B, Q + N]`` in the type of ``state``: coordinates, speeds, and the values of the model's sensors in the
            last time step, which MuJoCo computes *before* it integrates that step. A row is NaN where an input was not
            finite or the simulation diverged. On the device "meta", shapes only.

        Raises:
            PlantError: another device than the CPU, a wrong shape, a period that is no multiple of the time step, parameters
                without ``vary``, or a row of them that gives no model.
        """
        steps = self._steps(period)
        self._check(state, control, steps)
        if state.device.type == "meta":
            return state.new_empty((state.shape[0], self.state_size + self.sensor_size))
        start = state.detach()[:, : self.state_size].to(torch.float64).numpy()
        held = control.detach().to(torch.float64).numpy()
        rows = None if parameters is None else parameters.detach().to(torch.float64).numpy()
        return torch.from_numpy(self._roll(start, held, steps, rows)).to(state.dtype)

    def _roll(self, start: Array, held: Array, steps: int, rows: Array | None) -> Array:
        """Roll ``start`` [B, Q] out under ``held`` [B, U] or [B, T, U]; return ``[B, Q + N]``."""
        size, sensors = start.shape[0], self.sensor_size
        sound = _sound(start) & _sound(held.reshape(size, -1))
        models, finite = self._models(size, rows)
        sound &= finite
        initial = np.zeros((size, 1 + self.state_size))  # time first
        initial[:, 1:] = start
        controls = np.empty((size, steps, self.control_size))
        controls[:] = held[:, None] if held.ndim == 2 else held
        if not sound.all():  # MuJoCo would write a warning to a log file in the working directory
            initial[~sound], controls[~sound] = 0.0, 0.0
        states = np.empty((size, steps, initial.shape[1]))
        readings = np.empty((size, steps, sensors))
        self._runner.run(models, initial, controls, states, readings)
        result = np.empty((size, self.state_size + sensors))
        result[:, : self.state_size] = states[:, -1, 1:]
        result[:, self.state_size :] = readings[:, -1]
        # A rollout stops at a warning and repeats its last state: its clock then stands still.
        sound &= states[:, -1, 0] > (steps - 0.5) * self.timestep
        sound &= _sound(result)
        if not sound.all():
            result[~sound] = np.nan
        return result

    def _models(self, size: int, rows: Array | None) -> tuple[list[mujoco.MjModel], npt.NDArray[np.bool_]]:
        """Return the model of each environment, and ``[B]`` whether its parameters are finite."""
        if rows is None:
            return [self.compiled] * size, np.ones(size, dtype=np.bool_)
        variants, finite = self._variants, _sound(rows)
        models = np.full(len(rows), self.compiled, dtype=object)
        if finite.any():
            models[finite] = variants.of(rows[finite])
        return np.broadcast_to(models, size).tolist(), np.broadcast_to(finite, size)

    @cached_property
    def _variants(self) -> Variants:
        if self.vary is None:
            raise PlantError(
                f"{self.xml.name}: advance was given parameters, expected none: the model has nothing that writes them. "
                "Give `vary` to MujocoModel, or leave the parameters out."
            )
        return Variants(self.xml, self.vary, self.compiled)

    @property
    def _runner(self) -> _Runner:
        """The threads of this process; a forked process has none of its parent's and starts its own."""
        runner: _Runner | None = self.__dict__.get("_running")
        if runner is None or runner.process != os.getpid():
            runner = _Runner(self.compiled)
            self.__dict__["_running"] = runner  # the class is frozen to its users, not to itself
        return runner

    def _library(self) -> Any:
        """Import MuJoCo, which looks for its way to OpenGL there and then, even where nothing is to be drawn."""
        try:
            import mujoco
        except (ImportError, AttributeError, RuntimeError) as error:  # what it raises depends on what is missing
            raise PlantError(
                f"{self.xml.name}: with MUJOCO_GL={os.environ.get('MUJOCO_GL', '(not set)')} importing MuJoCo says {error}, "
                "expected the library. Unset MUJOCO_GL where nothing is drawn; to draw, set it to egl (Debian and Ubuntu: apt "
                "install libegl1 libgl1-mesa-dri) or osmesa (apt install libosmesa6) before Python starts."
            ) from error
        return mujoco

    def _steps(self, period: float) -> int:
        steps = round(period / self.timestep)
        if steps < 1 or abs(steps * self.timestep - period) > 1e-9 * period:
            raise PlantError(
                f"{self.xml.name}: the period is {period:g} s, expected a multiple of the model's time step, "
                f"{self.timestep:g} s. Change `timing.period` in plant.yaml, or `timestep` in the model."
            )
        return steps

    def _check(self, state: Tensor, control: Tensor, steps: int) -> None:
        for device in (state.device, control.device):
            if device.type not in {"cpu", "meta"}:
                raise PlantError(
                    f"{self.xml.name}: the tensors are on {device}, expected the CPU, where MuJoCo runs. Simulate this "
                    'plant with device="cpu"; the policy may be trained elsewhere.'
                )
        if state.ndim != 2 or state.shape[1] < self.state_size:
            raise PlantError(
                f"{self.xml.name}: the state has shape {tuple(state.shape)}, expected [B, {self.state_size}] or wider. "
                "Declare the model's coordinates, then its speeds, as the first states."
            )
        size, controls = state.shape[0], self.control_size
        if control.shape not in {(size, controls), (size, steps, controls)}:
            raise PlantError(
                f"{self.xml.name}: the control has shape {tuple(control.shape)}, expected {(size, controls)}, or "
                f"{(size, steps, controls)} for one in each time step. Declare one action for each actuator, in the model's order."
            )


def _sound(rows: Array) -> npt.NDArray[np.bool_]:
    """Tell ``[B]`` which rows MuJoCo takes for finite; a comparison with NaN is false."""
    return np.asarray((np.abs(rows) < _HUGE).all(axis=1))


class _Runner:
    """MuJoCo's work space of one process: threads, and data for each of them."""

    def __init__(self, model: mujoco.MjModel) -> None:
        import mujoco
        from mujoco import rollout

        self.process = os.getpid()
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._alone: Any = rollout.Rollout(nthread=0)
        self._pool: Any = rollout.Rollout(nthread=threads) if threads > 1 else self._alone
        self._kind = mujoco.mjtState.mjSTATE_CTRL.value
        self._lock = threading.Lock()  # the data serve one call at a time

    def run(
        self, models: list[mujoco.MjModel], initial: Array, controls: Array, states: Array, readings: Array
    ) -> None:
        """Fill ``states`` [B, T, 1 + Q] and ``readings`` [B, T, N]; all arrays are contiguous."""
        size, steps = states.shape[:2]
        few = size <= _ALONE
        with self._lock:
            (self._alone if few else self._pool).rollout(
                models,
                self._data[:1] if few else self._data,
                initial,
                controls,
                control_spec=self._kind,
                skip_checks=True,  # the shapes are ours
                nstep=steps,
                state=states,
                sensordata=readings,
            )
