"""An auditor's laptop has no torch, Gymnasium or MuJoCo: specs load without them, and pint only to read a spec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "gymnasium", "mujoco")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_specs_and_errors_load_and_work_where_the_heavy_libraries_are_missing(project) -> None:
    code = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # importing it now raises
sys.path.insert(0, {str(ROOT)!r})
import pkgutil, importlib
import fpo_pilot.specs, fpo_pilot.errors
for found in pkgutil.walk_packages(fpo_pilot.specs.__path__, "fpo_pilot.specs."):
    importlib.import_module(found.name)
plant = fpo_pilot.specs.load_plant_spec({str(project.path("plant"))!r})
safety = fpo_pilot.specs.load_safety_spec({str(project.path("plant"))!r}, plant)
print(fpo_pilot.specs.spec_hash(plant)[:8], len(safety.limits))
"""
    assert run(code).split()[1] == "3"


def test_importing_specs_does_not_import_torch_mujoco_pint_or_yaml() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import fpo_pilot.specs
print([name for name in ("torch", "mujoco", "pint", "ruamel.yaml") if name in sys.modules])
"""
    assert run(code).strip() == "[]"
