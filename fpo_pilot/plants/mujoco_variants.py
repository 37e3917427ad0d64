"""MuJoCo models that differ in their parameters: one is compiled for each set, and the latest are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fpo_pilot.errors import PlantError

if TYPE_CHECKING:
    import mujoco

Array = npt.NDArray[np.float64]
KEPT = 4096
"""Models that are kept beside those in use: a training and its evaluation take turns on one object."""


def refuse_hidden_state(model: mujoco.MjModel, xml: Path) -> None:
    """Refuse a model with state beside coordinates and speeds: the next state would depend on more than the plant knows.

    Raises:
        PlantError: the model has such state.
    """
    import mujoco

    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
    if size != 1 + model.nq + model.nv:
        raise PlantError(
            f"{xml}: the model has {size - 1 - model.nq - model.nv} hidden state values (activations, delays or "
            "plugins), expected coordinates and speeds alone. Use actuators without a filter, such as <motor>."
        )


class Variants:
    """The models of rows of parameters.

    A row is compiled from the source of the model, so that all that follows from a mass or a length (inertias, joint
    frames, the solver's scaling) follows in MuJoCo's own way. Compiling takes about a millisecond; in training a row is new
    once an episode.

    Args:
        xml: the source.
        vary: writes a row ``[P]`` into a source.
        model: the model as the file has it; the variants must have its sizes.
    """

    def __init__(self, xml: Path, vary: Callable[[mujoco.MjSpec, Array], None], model: mujoco.MjModel) -> None:
        import mujoco

        self._xml, self._vary, self._model = xml, vary, model
        self._source = mujoco.MjSpec.from_file(str(xml))
        self._known: dict[bytes, mujoco.MjModel] = {}  # in the order of their last use
        self._lock = threading.Lock()

    def of(self, rows: Array) -> npt.NDArray[np.object_]:
        """Return the model ``[B]`` of each of ``rows`` ``[B, P]``, all finite.

        Raises:
            PlantError: a row gives no model, or one of other sizes.
        """
        different, which = np.unique(rows, axis=0, return_inverse=True)
        with self._lock:
            models = np.empty(len(different), dtype=object)
            models[:] = [self._get(row) for row in different]
            for key in list(self._known)[: max(0, len(self._known) - max(KEPT, len(models)))]:
                del self._known[key]
        return models[which.reshape(-1)]

    def _get(self, row: Array) -> mujoco.MjModel:
        key = row.tobytes()
        model = self._known.pop(key, None)
        if model is None:
            model = self._compile(row)
        self._known[key] = model
        return model

    def _compile(self, row: Array) -> mujoco.MjModel:
        source = self._source.copy()
        self._vary(source, row)
        try:
            model = source.compile()
        except ValueError as error:
            raise PlantError(
                f"{self._xml.name}: with the parameters {row.tolist()} MuJoCo says {error}, expected a model that compiles. "
                "Narrow the uncertainty of the parameters in plant.yaml, or correct `vary`."
            ) from error
        refuse_hidden_state(model, self._xml)
        sizes, expected = (
            tuple(getattr(m, n) for n in ("nq", "nv", "nu", "nsensordata")) for m in (model, self._model)
        )
        if sizes != expected:
            raise PlantError(
                f"{self._xml.name}: with the parameters {row.tolist()} the model has (nq, nv, nu, sensor values) {sizes}, "
                f"expected {expected} as the file has. Let `vary` change numbers, and add or delete nothing."
            )
        model.opt.disableflags = self._model.opt.disableflags
        return model
