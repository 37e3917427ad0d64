"""Pictures of MuJoCo plants: what is drawn where something can draw, and what is said where nothing can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.env import PlantEnv
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.picture import write_picture
from fpo_pilot.plants.registration import register_all

DRAWING = """
from pathlib import Path
import numpy as np
from matplotlib.image import imread
from fpo_pilot.errors import PlantError
from fpo_pilot.plants.env import PlantEnv
from fpo_pilot.plants.picture import write_picture
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
write_picture(env.plant, env.simulation.state, Path("new") / "peg.png")
read = (imread(Path("new") / "peg.png")[..., :3] * 255).round().astype(np.uint8)
assert (read == moved).all()
print("drew", int(np.abs(again.astype(int) - first).max()), int((np.abs(moved.astype(int) - first) > 20).sum() > 50))
env.close()
"""


def test_a_picture_shows_what_moved_or_the_message_says_what_is_missing(tmp_path: Path) -> None:
    """In a process of its own: MuJoCo chooses its way to OpenGL when it is imported, and not every machine has one."""
    done = python(DRAWING, "egl", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "drew 0 1" or ("MUJOCO_GL=egl" in done.stdout and "libegl1" in done.stdout)


def python(code: str, gl: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own that stands in ``folder``."""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {
        "MUJOCO_GL": gl,
        "PYTHONPATH": os.pathsep.join((root, os.environ.get("PYTHONPATH", ""))),
    }
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )


def test_a_way_to_opengl_that_is_not_there_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    """MuJoCo fails on import, with an exception that names no cure; simulating alone is then impossible, too."""
    code = "from fpo_pilot.plants.load import load_plant; load_plant('peg_cell').dynamics.model.compiled"
    done = python(code, "no_such_way", tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    for part in ("PlantError: peg_cell.xml", "MUJOCO_GL=no_such_way", "Unset MUJOCO_GL", "libegl1", "libosmesa6"):
        assert part in last


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


def test_a_file_holds_the_pixels_that_were_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    closed = []

    class Drawn:
        def __init__(self, *_: object) -> None: ...

        def update_scene(self, data: mujoco.MjData) -> None: ...

        def render(self) -> np.ndarray:
            return pixels

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(mujoco, "Renderer", Drawn)
    plant = load_plant("reacher_hard")
    state = torch.zeros((1, len(plant.state_names)), dtype=torch.float64)
    for name in ("a.png", "b.png"):
        write_picture(plant, state, tmp_path / "new" / name)
    first, second = (tmp_path / "new" / name for name in ("a.png", "b.png"))
    assert ((imread(first)[..., :3] * 255).round().astype(np.uint8) == pixels).all()
    assert first.read_bytes() == second.read_bytes()
    assert closed == [True, True]
    with pytest.raises(PlantError, match=r"found the ending '\.jpg', expected '\.png'"):
        write_picture(plant, state, tmp_path / "a.jpg")
    (tmp_path / "file").write_text("in the way", "utf-8")
    with pytest.raises(PlantError, match="could not be written"):
        write_picture(plant, state, tmp_path / "file" / "a.png")


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
