"""Builds the wheel, installs it into an empty environment, and uses it from a folder with no checkout near.

Run by ``make wheel`` (not collected by pytest: it installs every dependency anew, which takes minutes).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN_TOP_LEVEL = ("envs", "safety", "reports", "tests", "docs")


def run(*command: str, cwd: Path, fine: tuple[int, ...] = (0,)) -> str:
    """Run a command; its output is shown where its exit code is not one of ``fine``."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in fine:
        sys.exit(f"wheel check: {' '.join(command)}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel into ``folder`` and look at its top level."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    wrong = sorted({name.split("/")[0] for name in names} & set(FORBIDDEN_TOP_LEVEL))
    if wrong:
        sys.exit(f"wheel check: top-level packages that clash with others: {', '.join(wrong)}")
    for wanted in ("envs/cstr/plant.yaml", "safety/cstr.yaml", "reports/text/ja.toml"):
        if f"fpo_pilot/_content/{wanted}" not in names:
            sys.exit(f"wheel check: {wanted} is not packed")
    return wheel


def use(bin_folder: Path, folder: Path) -> None:
    """Go through a pilot as a user does: init, check, train, evaluate, roll out, report."""
    pilot = str(bin_folder / "fpo-pilot")
    run(pilot, "init", "mine", "--from", "cstr", cwd=folder)
    mine = folder / "mine"
    run(pilot, "check", cwd=mine)
    run(pilot, "train", "cstr", "--steps", "20000", cwd=mine)
    run(pilot, "evaluate", "runs/cstr-fpo-0", "--episodes", "8", cwd=mine)
    run(pilot, "rollout", "runs/cstr-fpo-0", "--max-episodes", "5", cwd=mine, fine=(1,))  # no evidence of anything
    run(pilot, "report", "runs/cstr-fpo-0", cwd=mine)
    for language in ("en", "ja"):
        page = mine / "runs" / "cstr-fpo-0" / f"report.{language}.html"
        if page.stat().st_size < 10_000:
            sys.exit(f"wheel check: {page.name} is too small to be a report")
    run(pilot, "demo", "--steps", "4000", cwd=folder)
    for language in ("en", "ja"):
        (page,) = (folder / "runs" / "demo").glob(f"*/report.{language}.html")
        if page.stat().st_size < 10_000:
            sys.exit(f"wheel check: the demo's {page.name} is too small to be a report")
    here = run(str(bin_folder / "python"), "-c", "import fpo_pilot; print(fpo_pilot.__file__)", cwd=mine)
    if str(ROOT) in here:
        sys.exit("wheel check: the checkout was used, not the wheel")
    made = "import gymnasium, fpo_pilot; print(gymnasium.make('fpo_pilot/quad_tank-v0').reset(seed=1)[0].shape)"
    run(str(bin_folder / "python"), "-c", made, cwd=folder)


def audit(wheel: Path, folder: Path) -> None:
    """Verify and report the demo's runs as an auditor does, in an environment without torch."""
    venv.create(folder / "audit", with_pip=True)
    python = str(folder / "audit" / "bin" / "python")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    constraints = ("--constraint", str(ROOT / "constraints.txt"))
    run(*pip, *constraints, "--requirement", str(ROOT / "requirements-audit.txt"), cwd=folder)
    run(*pip, "--no-deps", str(wheel), cwd=folder)
    for name in ("torch", "gymnasium", "mujoco"):
        run(python, "-c", f"import {name}", cwd=folder, fine=(1,))
    pilot = str(folder / "audit" / "bin" / "fpo-pilot")
    for demo in (folder / "runs" / "demo").iterdir():
        run(pilot, "verify", str(demo), "--deep", cwd=folder)
        run(pilot, "report", str(demo), cwd=folder)
        run(pilot, "logs", str(demo), cwd=folder)


def main() -> None:
    """Build, install, use."""
    folder = Path(tempfile.mkdtemp(prefix="fpo-pilot-wheel-"))
    try:
        wheel = build(folder)
        venv.create(folder / "env", with_pip=True)
        bin_folder = folder / "env" / "bin"
        constraints = ("--constraint", str(ROOT / "constraints.txt"))
        pip = (str(bin_folder / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, *constraints, str(wheel), cwd=folder)
        use(bin_folder, folder)
        audit(wheel, folder)
        sys.stdout.write(f"wheel check: {wheel.name} installs and runs from an empty environment\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
