"""Pictures of plants that MuJoCo simulates, for ``render()`` of Gymnasium and as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.dynamics import HasPose
from fpo_pilot.plants.mujoco import MujocoModel
from fpo_pilot.plants.plant import Plant

if TYPE_CHECKING:
    import mujoco

HEIGHT, WIDTH = 240, 320
"""Pixels of a picture."""


class Picture:
    """Draws a plant in the pose of a state; what draws is made at the first picture, and belongs to one process.

    Args:
        plant: its dynamics hold a :class:`MujocoModel` as ``model``; the states begin with the model's coordinates, or
            ``pose`` gives these.

    Raises:
        PlantError: MuJoCo does not simulate the plant.
    """

    def __init__(self, plant: Plant) -> None:
        model = getattr(plant.dynamics, "model", None)
        if not isinstance(model, MujocoModel):
            raise PlantError(
                f"plant {plant.name}: found render_mode 'rgb_array', expected None: only plants that MuJoCo simulates have a "
                "picture. Leave render_mode out."
            )
        self._plant, self._model = plant, model
        self._tools: tuple[mujoco.MjData, Any] | None = None

    def draw(self, state: Tensor) -> npt.NDArray[np.uint8]:
        """Return the picture ``[HEIGHT, WIDTH, 3]`` of the first row of ``state`` ``[B, S]``.

        Raises:
            PlantError: MuJoCo finds nothing to draw with on this machine.
        """
        import mujoco

        compiled = self._model.compiled
        if self._tools is None:
            self._tools = (mujoco.MjData(compiled), _renderer(self._plant.name, compiled))
        data, renderer = self._tools
        dynamics = self._plant.dynamics
        pose = dynamics.pose(state[:1]) if isinstance(dynamics, HasPose) else state[:1, : compiled.nq]
        data.qpos[:] = pose[0].detach().cpu().numpy()
        mujoco.mj_forward(compiled, data)
        renderer.update_scene(data)
        return np.asarray(renderer.render(), dtype=np.uint8).copy()

    def close(self) -> None:
        """Give back what draws."""
        if self._tools is not None:
            self._tools[1].close()
            self._tools = None


def write_picture(plant: Plant, state: Tensor, path: Path) -> None:
    """Write the picture of the first row of ``state`` ``[B, S]``, such as one of an episode, as a PNG file.

    Args:
        plant: one that MuJoCo simulates.
        state: in engineering units, as :meth:`Plant.step` returns it and ``Simulation.state`` holds it.
        path: ends in ``.png``; its folder is made when missing.

    Raises:
        PlantError: the plant has no picture, this machine cannot draw, or the file cannot be written.
    """
    from matplotlib.image import imsave

    if path.suffix.lower() != ".png":
        raise PlantError(f"{path}: found the ending {path.suffix!r}, expected '.png'. Correct the name.")
    picture = Picture(plant)
    try:
        pixels = picture.draw(state)
    finally:
        picture.close()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(
            path, pixels, format="png", metadata={"Software": "fpo-pilot"}
        )  # no version in it: same pixels, same bytes
    except OSError as error:
        raise PlantError(
            f"{path}: found that it could not be written ({error}), expected a PNG file. Free space or mend the permissions "
            "of the folder, then draw again."
        ) from error


def _renderer(name: str, model: mujoco.MjModel) -> Any:
    """Make what draws, or say what is missing."""
    import mujoco

    try:
        return mujoco.Renderer(model, HEIGHT, WIDTH)
    except Exception as error:  # each of MuJoCo's ways to OpenGL fails with exceptions of its own
        raise PlantError(
            f"plant {name}: with MUJOCO_GL={os.environ.get('MUJOCO_GL', '(not set)')} MuJoCo says {error}, expected an OpenGL to "
            "draw with. Without a screen, install EGL (Debian and Ubuntu: apt install libegl1 libgl1-mesa-dri) or OSMesa (apt "
            "install libosmesa6), and set MUJOCO_GL=egl or MUJOCO_GL=osmesa before Python starts."
        ) from error
