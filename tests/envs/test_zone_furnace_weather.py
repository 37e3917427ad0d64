"""The README's way from a typical meteorological year to a disturbance of the furnace."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from fpo_pilot.plants.load import load_plant
from fpo_pilot.plants.simulation import Simulation
from fpo_pilot.specs import content
from fpo_pilot.specs.evaluation import Scenario

HEAD = "Latitude (decimal degrees): 45.0\nmonth,year\n1,2005\n\ntime(UTC),T2m,RH,WS10m\n"
FOOT = "\nT2m: 2-m air temperature (degree Celsius)\nPVGIS (c) European Communities\n"


def test_a_typical_year_becomes_the_temperature_of_the_hall(tmp_path: Path) -> None:
    folder = tmp_path / "envs" / "zone_furnace"
    shutil.copytree(content.find_plant("zone_furnace").parent, folder)
    rows = [f"2005013{hour // 24}:{hour % 24:02d}10,{hour:.2f},80.0,2.1" for hour in range(48)]
    rows.append("20160201:0010,48.0,80.0,2.1")  # the next month is of another year
    (folder / "tmy.csv").write_text(HEAD + "\n".join(rows) + FOOT, encoding="utf-8")
    page = (folder / "README.md").read_text(encoding="utf-8")
    python = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    spec = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert python is not None
    assert spec is not None
    subprocess.run([sys.executable, "-W", "ignore", "-c", python[1]], cwd=folder, check=True)  # noqa: S603: our own README
    scenario = Scenario.model_validate(yaml.safe_load(spec[1]))
    plant = load_plant(folder / "plant.yaml")
    off = torch.zeros(64, 3, dtype=torch.float64)

    def walls(scenario: Scenario) -> torch.Tensor:
        return Simulation(plant, 64, seed=0, scenario=scenario, autoreset=False).step(off).state[:, 0]

    found = walls(scenario)
    coldest, warmest = (walls(Scenario(parameters={"ambient": kelvin})) for kelvin in (273.15, 321.15))
    place = (found - coldest) / (warmest - coldest)  # 0 in a hall at 0 degC, 1 at 48 degC
    assert float(place.min()) >= 0.0
    assert float(place.max()) <= 1.0
    assert float(place.max() - place.min()) > 0.7  # each episode begins at an hour of its own
