from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

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


def test_an_audit_is_asked_for_what_the_package_needs_but_for_what_computes() -> None:
    root = Path(__file__).resolve().parents[2]
    needed = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    heavy = {one for one in needed if re.match(r"(torch|gymnasium|mujoco|safetensors)\b", one)}
    lines = (root / "requirements-audit.txt").read_text("utf-8").splitlines()
    assert len(heavy) == 4
    assert {line for line in lines if not line.startswith("#")} == set(needed) - heavy
