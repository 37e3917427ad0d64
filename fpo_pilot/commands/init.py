"""``fpo-pilot init``: a pilot project of the user's own, with the same three folders as this repository."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from fpo_pilot.commands.console import say
from fpo_pilot.errors import SpecError, Words
from fpo_pilot.specs import content, load_plant_spec

PROJECT_FILE = "fpo-pilot.toml"

_README = """# {name}

A pilot project made by `fpo-pilot init --from {source}`.

| folder | whose | what |
|---|---|---|
| `envs/{source}/` | process engineers | `plant.yaml`: signals, units, reward; the dynamics; training and evaluation |
| `safety/{source}.yaml` | safety engineers | hazards, limits, interlocks, incumbent controller, stages and gates |
| `reports/` | whoever answers to management | wording of the reports, if the shipped one does not serve |

```
fpo-pilot check
fpo-pilot train {source} --steps 20000
fpo-pilot evaluate runs/{source}-fpo-0
fpo-pilot rollout runs/{source}-fpo-0
fpo-pilot report runs/{source}-fpo-0
```
"""


def run_init(folder: Path, source: str) -> int:
    """Make ``folder`` a project with the plant ``source``; a folder that has something in it is refused."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(
            str(folder),
            "something is there already",
            "a new or empty folder",
            "Choose another name; nothing was written.",
        )
    plant_yaml = content.find_plant(source)
    name = load_plant_spec(source).plant.id
    safety_yaml = content.find_safety(plant_yaml)
    places = _files_of(plant_yaml)
    target = folder / "envs" / name
    target.mkdir(parents=True)
    (folder / "safety").mkdir()
    (folder / "reports").mkdir()
    _copy_plant(places, target)
    if safety_yaml is not None:
        shutil.copyfile(safety_yaml, folder / "safety" / safety_yaml.name)
    (folder / PROJECT_FILE).write_text(
        f'# Marks the root of a pilot project.\nname = "{folder.resolve().name}"\n', "utf-8"
    )
    (folder / "README.md").write_text(_README.format(name=folder.resolve().name, source=name), "utf-8")
    (folder / ".gitignore").write_text("runs/\n__pycache__/\n", "utf-8")
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        say(f"wrote {path}")
    say(f"next: cd {folder} && fpo-pilot check && fpo-pilot train {name}")
    return 0


def _files_of(plant_yaml: Path) -> dict[Path, Path]:
    """Map every file of a plant to its place in the copy: its folder, and the source files of its dynamics.

    Raises:
        SpecError: a file of the model stands where a copy would not find it.
    """
    from fpo_pilot.plants.load import load_plant

    places = {path: Path(path.name) for path in plant_yaml.parent.resolve().iterdir() if path.is_file()}
    dynamics, *data = load_plant(plant_yaml).source_files
    places[dynamics] = Path(dynamics.name)
    for path in data:
        if not path.is_relative_to(dynamics.parent):
            raise SpecError(
                str(path),
                Words("a file of the model outside the folder of its dynamics"),
                f"a file in {dynamics.parent}",
                "Move it there: a copy of the plant would not find it. Nothing was written.",
            )
        places[path] = path.relative_to(dynamics.parent)  # the dynamics look for it relative to themselves
    return places


def _copy_plant(places: Mapping[Path, Path], target: Path) -> None:
    """Copy the files of a plant; a plant.yaml that names dynamics in a neighbour's folder then names the copy."""
    for path, place in places.items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / place)
    text = (target / content.PLANT_FILE).read_text("utf-8")
    match = re.search(r"(?m)^(\s*dynamics:.*?\bfile:\s*)([^\s,}]+)", text, flags=re.DOTALL)
    if match is not None and "/" in match.group(2):
        name = Path(match.group(2)).name
        (target / content.PLANT_FILE).write_text(text[: match.start(2)] + name + text[match.end(2) :], "utf-8")
