"""What only the dynamics show of a safety spec is told where the spec is read, with its line, by each command that builds shields."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fpo_pilot import cli
from fpo_pilot.certification.stacks import plant_stack
from fpo_pilot.errors import SpecErrors
from fpo_pilot.evaluate.comparison import make_task
from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs import content, load_training_spec

OVERFLOWS = {"actions": {"inflow": {"low": 0.0, "high": 1.0, "rate": 0.2, "fallback": 0.9}}}


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with `cstr_late` alone, whose terminal set reaches to where full cooling holds nothing."""
    root = content.shipped_root()
    for part in ("envs/cstr_late", "envs/cstr"):
        shutil.copytree(root / part, tmp_path / part)
    text = (root / "safety/cstr_late.yaml").read_text("utf-8")
    wide = text.replace("T: {high: 316 K}, Ca: {low: 0.9}", "T: {high: 340 K}, Ca: {low: 0.5}")
    assert wide != text
    file = tmp_path / "safety/cstr_late.yaml"
    file.parent.mkdir()
    file.write_text(wide, "utf-8")
    monkeypatch.chdir(tmp_path)
    return file


def test_check_refuses_a_terminal_set_that_the_backup_leaves(late: Path, monkeypatch: Any, capfd: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["fpo-pilot", "check", "--plant", "cstr_late", "--json"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    line = late.read_text("utf-8").splitlines().index("    terminal_set: {T: {high: 340 K}, Ca: {low: 0.5}}") + 1
    told = capfd.readouterr()
    assert (
        f"safety/cstr_late.yaml:{line}: shields[2].terminal_set: found that the backup leads out of it"
        in told.err + told.out
    )


def test_training_evaluation_and_comparison_name_the_line_too(late: Path) -> None:
    plant = load_plant("cstr_late")
    assert plant.safety is not None
    for build in (
        lambda: make_task("cstr_late", load_training_spec("cstr_late")),
        lambda: plant_stack(plant, plant.safety),  # type: ignore[arg-type]
    ):
        with pytest.raises(SpecErrors) as raised:
            build()
        (error,) = raised.value.errors
        assert error.file == late
        assert error.line is not None
        assert error.where == "shields[2].terminal_set"


def test_a_plant_made_in_python_has_no_line_and_other_refusals_stay_what_they_are(
    make_tank: Callable[..., Plant],
) -> None:
    plant = make_tank(safety=OVERFLOWS)
    assert plant.safety is not None
    with pytest.raises(
        SpecErrors, match=r"^shields\[1\]\.terminal_set: found that the backup leads out of it from level ="
    ):
        plant_stack(plant, plant.safety)
    sound = make_tank()
    assert sound.safety is not None
    assert [name for name, _ in plant_stack(sound, sound.safety).stages] == ["integrity", "predictive", "box_rate"]
