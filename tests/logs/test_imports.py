from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["fpo_pilot.logs", "fpo_pilot.evidence"])
def test_an_auditor_needs_no_torch_gymnasium_or_mujoco(package: str) -> None:
    code = (
        "import sys\n"
        "for heavy in ('torch', 'gymnasium', 'mujoco'):\n"
        "    sys.modules[heavy] = None\n"  # any import of it now raises
        f"import {package}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
