"""Is the step log of a run whole and as its ledger says? Nothing else leaves the house. And which rows of it are meant?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fpo_pilot.errors import ExportError, LogError
from fpo_pilot.exports.choice import ALL, NOMINAL, Choice
from fpo_pilot.logs.ledger import FILE
from fpo_pilot.logs.manifest import FILE as MANIFEST
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.reader import LEARNER, TRAINING_STAGE, read_steps
from fpo_pilot.logs.verify import verify_run
from fpo_pilot.logs.wal import FOLDER as WAL
from fpo_pilot.specs.identity import spec_hash
from fpo_pilot.specs.plant import PlantSpec

_OF_THE_LOG = (FILE, MANIFEST, WAL, "steps")
"""First parts of the paths that an export rests on. A changed report is no reason against it."""


def covered_root(run_dir: Path) -> str:
    """Return the root of the ledger, once manifest and step log are as it says and no row waits for a segment.

    Raises:
        ExportError: they are not, or a command that writes did not come to its end.
        LogError: there is no ledger.
    """
    verified = verify_run(run_dir)
    faults = [one for one in verified.faults if one.where.split(":")[0].split("/")[0] in _OF_THE_LOG]
    if faults:
        more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ExportError(
            f"{run_dir}/{faults[0]}{more}. Nothing is exported from a log that is torn or not as its ledger says; "
            f"`fpo-pilot verify {run_dir}` lists all."
        )
    return verified.root


def read_rows(run_dir: Path, manifest: Manifest) -> pd.DataFrame:
    """Read the whole step log; page checksums and sequence numbers are checked.

    Raises:
        LogError: there is none, it is damaged, or some of its rows are of another version of plant.yaml.
    """
    frame: pd.DataFrame = read_steps(run_dir).to_pandas()
    own = manifest.hashes.get("plant")
    other = set(frame["plant_hash"].dropna().astype(str)) - {str(own)} if "plant_hash" in frame else set()
    if other:
        raise LogError(
            f"{run_dir}: found rows of another version of plant.yaml ({', '.join(sorted(one[:12] for one in other))}), "
            f"expected {str(own)[:12]} alone, as in {MANIFEST}. Log it again with one."
        )
    return frame


def plant_of(run_dir: Path, manifest: Manifest) -> PlantSpec:
    """Return the plant spec that the manifest holds, which is that of the log.

    Raises:
        ExportError: the run is of no plant.
    """
    if not manifest.plant_spec:
        raise ExportError(
            f"{run_dir}: found a run of {manifest.plant}, expected one of a plant: such a run logs no steps. "
            "Declare the task as a plant."
        )
    spec = PlantSpec.model_validate(manifest.plant_spec)
    if spec_hash(spec) != manifest.hashes.get("plant"):
        raise ExportError(
            f"{run_dir / MANIFEST}: found a plant spec that is not the one of its hash, expected the same. "
            "The run is of another release: write its log again with this one."
        )
    return spec


def selected(frame: pd.DataFrame, choice: Choice, run_dir: Path) -> pd.DataFrame:
    """Return the chosen rows of a step log, in their order; those of a training where its stage or arm is named.

    Raises:
        ExportError: a name is not in the log, or no row is left.
    """
    scenario = frame["scenario"].astype(object)
    there = {
        "stage": frame["stage"].astype(str),
        "arm": frame["arm"].astype(str),
        "scenario": scenario.where(scenario.notna() & (scenario != ""), NOMINAL).astype(str),
    }
    wanted = {"stage": choice.stages, "arm": choice.arms, "scenario": choice.scenarios}
    asked = TRAINING_STAGE in choice.stages or LEARNER in choice.arms
    rows = pd.Series(True, index=frame.index) if asked else there["stage"] != TRAINING_STAGE
    for name, values in there.items():
        names = wanted[name]
        if not names or (name == "scenario" and ALL in names):
            continue
        known = set(values)
        missing = [one for one in names if one not in known]
        if missing:
            raise ExportError(
                f"--{name} {missing[0]}: found none in the log of {run_dir}, expected one of {', '.join(sorted(known))}. "
                "Name one that is there."
            )
        rows &= values.isin(names)
    if choice.shielded and "shield" in frame:
        rows &= frame["shield"].isna() | frame["shield"].eq(True)
    if not rows.any():
        raise ExportError(
            f"{run_dir}: found no row of this stage, arm, scenario and shield together, expected some. "
            "Leave one of --stage, --arm, --scenario, --shielded out."
        )
    return frame[rows].reset_index(drop=True)
