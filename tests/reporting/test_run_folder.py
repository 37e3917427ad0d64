from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.errors import ReportError
from fpo_pilot.reporting import write_report
from fpo_pilot.reporting.run_folder import Missing, Run, read_run

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
Make = Callable[..., Path]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"found no folder, expected a run folder\. Name a folder made by"):
        write_report(tmp_path / "nowhere")


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"manifest\.json: found no such file.*fpo-pilot train"):
        write_report(tmp_path)


def test_a_cut_manifest_is_told(make_run: Make) -> None:
    folder = make_run()
    (folder / "manifest.json").write_text('{"schema_version": 1,', encoding="utf-8")
    with pytest.raises(ReportError, match=r"manifest\.json: found text that is no JSON"):
        read_run(folder)


@pytest.mark.parametrize(
    ("file", "key", "value", "told"),
    [
        ("manifest.json", "schema_version", 2, r"manifest\.json: schema_version: found 2"),
        ("manifest.json", "run_id", None, r"manifest\.json: run_id: found None"),
        ("manifest.json", "plant_spec", {}, r"manifest\.json: plant_spec\.plant: found nothing.*2 more like it"),
        ("evaluation.json", "schema_version", 9, r"evaluation\.json: schema_version: found 9.*fpo-pilot evaluate"),
        ("evaluation.json", "plant", "quad_tank", r"found plant 'quad_tank', expected plant 'cstr_safety'"),
        ("rollout.json", "final_stage", 4, r"rollout\.json: final_stage: found 4.*fpo-pilot rollout"),
    ],
)
def test_a_wrong_field_is_told_with_its_place_and_a_fix(
    make_run: Make, edit_json: Edit, file: str, key: str, value: object, told: str
) -> None:
    folder = make_run()
    edit_json(folder / file, lambda document: document.update({key: value}))
    with pytest.raises(ReportError, match=told):
        read_run(folder)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("episodes.parquet", r"expected it beside evaluation\.json. Run `fpo-pilot evaluate"),
        ("events.parquet", r"expected it beside rollout\.json. Run `fpo-pilot rollout"),
    ],
)
def test_half_of_an_evaluation_or_a_roll_out_is_told(make_run: Make, file: str, told: str) -> None:
    folder = make_run()
    (folder / file).unlink()
    with pytest.raises(ReportError, match=told):
        read_run(folder)


def test_a_damaged_table_is_told(make_run: Make) -> None:
    folder = make_run()
    content = (folder / "episodes.parquet").read_bytes()
    (folder / "episodes.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(ReportError, match=r"episodes\.parquet: found .*expected a readable Parquet file"):
        read_run(folder)


def test_a_table_of_another_version_is_told(make_run: Make) -> None:
    folder = make_run()
    pq.write_table(pa.table({"steps": [1]}), folder / "metrics.parquet")
    with pytest.raises(ReportError, match=r"metrics\.parquet: found no column return_mean"):
        read_run(folder)


def test_a_damaged_step_log_is_told(make_run: Make) -> None:
    folder = make_run()
    (folder / "steps/stage=offline/seg-00000.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ReportError, match=r"steps/stage=offline: found .*expected a readable Parquet log"):
        write_report(folder)


@pytest.mark.parametrize("how", ["named", "command"])
def test_compared_runs_are_found_beside_the_run(make_run: Make, edit_json: Edit, how: str) -> None:
    folder, other = make_run("flow"), make_run("gaussian", evaluated=False)
    change = {
        "named": lambda document: document.update(comparison=["../gaussian"]),
        "command": lambda document: document.update(command="fpo-pilot evaluate runs/flow --against runs/gaussian"),
    }[how]
    edit_json(folder / "evaluation.json", change)
    compared = read_run(folder).comparisons[0]
    assert isinstance(compared, Run)
    assert compared.folder.resolve() == other.resolve()
    shutil.rmtree(other)
    assert read_run(folder).comparisons == (Missing("gaussian"),)


def test_a_compared_run_is_drawn_and_its_cost_of_training_listed(make_run: Make, edit_json: Edit) -> None:
    folder, other = make_run("flow"), make_run("gaussian", evaluated=False)
    edit_json(folder / "evaluation.json", lambda document: document.update(comparison=["../gaussian"]))
    edit_json(other / "manifest.json", lambda document: document.update(algorithm="gaussian_ppo"))
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    assert "Gaussian policy (PPO), as deployed" in page
    assert "gaussian/metrics.parquet" in page
    assert "gaussian/manifest.json" in page
    shutil.rmtree(other)
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    assert "The compared run <code>gaussian</code> was not found and is not drawn." in page


def test_drills_are_read_and_judged(make_run: Make, edit_json: Edit) -> None:
    folder = make_run()
    for name in ("random-actions", "T-nan-bounded"):
        (folder / "drills" / name).mkdir(parents=True)
        shutil.copy(folder / "rollout.json", folder / "drills" / name / "rollout.json")
        shutil.copy(folder / "events.parquet", folder / "drills" / name / "events.parquet")
    edit_json(
        folder / "drills/T-nan-bounded/rollout.json",
        lambda document: document.update(final_stage="rolled_back", final_authority=0.0),
    )
    page = write_report(folder, ("en",))[0].read_text(encoding="utf-8")
    assert "Random actions in place of the policy" in page
    assert "Sensor fault <code>T-nan-bounded</code>" in page
    assert page.count('class="mark fail"') == 1  # random actions with full authority: the drill failed
    assert "Sensor faults were not tested" not in page
    assert "Hold. A drill failed" in page
    assert "A drill failed: Random actions in place of the policy ended in stage “Full” with authority left." in page
