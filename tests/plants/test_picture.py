"""Pictures of MuJoCo plants: what is drawn where something can draw, and what is said where nothing can."""

from __future__ import annotations

import os
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.env import PlantEnv
from fpo_pilot.plants.registration import register_all

DRAWING = """
import numpy as np
from fpo_pilot.errors import PlantError
from fpo_pilot.plants.env import PlantEnv
env = PlantEnv("peg_cell", render_mode="rgb_array")
env.reset(seed=0)
try:
    first = env.render()
except PlantError as error:
    print("says", error)
    raise SystemExit
assert first.shape == (240, 320, 3) and first.dtype == np.uint8, first.shape
assert first.std() > 5.0  # not one colour
again = env.render()
for _ in range(10):
    env.step(np.array([0.0, 0.0, 1.0], dtype=np.float32))
moved = env.render()
print("drew", int(np.abs(again.astype(int) - first).max()), int((np.abs(moved.astype(int) - first) > 20).sum() > 50))
env.close()
"""


def test_a_picture_shows_what_moved_or_the_message_says_what_is_missing() -> None:
    """In a process of its own: MuJoCo chooses its way to OpenGL when it is imported, and not every machine has one."""
    environment = os.environ | {"MUJOCO_GL": "egl"}
    done = subprocess.run([sys.executable, "-c", DRAWING], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "drew 0 1" or ("MUJOCO_GL=egl" in done.stdout and "libegl1" in done.stdout)


def test_where_nothing_can_draw_the_message_says_what_to_install_and_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no GL at all")

    monkeypatch.setattr(mujoco, "Renderer", fail)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    env = PlantEnv("reacher_hard", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(PlantError) as caught:
        env.render()
    for part in ("reacher_hard", "(not set)", "no GL at all", "libegl1", "libosmesa6", "MUJOCO_GL=egl"):
        assert part in str(caught.value)


def test_the_pose_that_is_drawn_is_that_of_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    class Seen:
        def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
            self.size, self.open = (height, width), True

        def update_scene(self, data: mujoco.MjData) -> None:
            self.qpos = data.qpos.copy()

        def render(self) -> np.ndarray:
            return np.full((*self.size, 3), self.qpos[1] * 1e5, dtype=np.uint8)

        def close(self) -> None:
            self.open = False

    monkeypatch.setattr(mujoco, "Renderer", Seen)
    env = PlantEnv("peg_cell", render_mode="rgb_array")
    env.reset(seed=0)
    env.simulation.state[0, 14] = -0.001  # the hole: seen from it, the gantry stands 1 mm to the right
    picture = env.render()
    assert picture is not None
    assert picture.shape == (240, 320, 3)
    assert int(picture[0, 0, 0]) == 100
    env.close()


def test_a_plant_without_a_model_has_no_picture() -> None:
    with pytest.raises(PlantError, match="cstr: found render_mode 'rgb_array', expected None"):
        PlantEnv("cstr", render_mode="rgb_array")
    with pytest.raises(PlantError, match="found render_mode 'human', expected 'rgb_array' or None"):
        PlantEnv("peg_cell", render_mode="human")


def test_an_environment_promises_the_pictures_that_were_asked_for() -> None:
    register_all()
    assert gymnasium.make("fpo_pilot/cstr-v0").metadata["render_modes"] == []
    assert gymnasium.make("fpo_pilot/cstr-v0").unwrapped.render() is None
    made = gymnasium.make("fpo_pilot/peg_cell-v0", render_mode="rgb_array")
    assert (made.render_mode, made.metadata["render_fps"]) == ("rgb_array", 20)
