from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROGRAM = """
import sys
class Without:  # as on a laptop that has none of them
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in HEAVY else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
HEAVY = ("torch", "gymnasium", "mujoco")
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from pathlib import Path
from fpo_pilot.reporting import write_report
write_report(Path(sys.argv[1]))
assert not [name for name in sys.modules if name.split(".")[0] in HEAVY]
assert not {"matplotlib.pyplot", "weasyprint"} & sys.modules.keys()
"""


def test_a_laptop_without_torch_gymnasium_and_mujoco_renders_a_report(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "report.ja.html").stat().st_size > 50_000
