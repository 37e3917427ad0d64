"""Where specs are found: first in the project that one stands in, then in the content that ships with fpo-pilot.

A project is a folder with the three content folders: ``envs/NAME/plant.yaml`` (with ``train.yaml``, ``evaluate.yaml``
where the defaults do not serve), ``safety/NAME.yaml`` and ``reports/``. The content that ships has the same three.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from fpo_pilot.errors import SpecError, Words

PLANT_FILE = "plant.yaml"


def project_root() -> Path | None:
    """Find the project one stands in: at or above here, with ``envs/`` and ``safety/`` or ``fpo-pilot.toml``."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "envs").is_dir() and ((folder / "safety").is_dir() or (folder / "fpo-pilot.toml").is_file()):
            return folder
    return None


def shipped_root() -> Path:
    """Find the content that ships: packed inside the package, or the checkout it is run from."""
    package = Path(__file__).resolve().parent.parent
    packed = package / "_content"
    return packed if packed.is_dir() else package.parent


def content_roots() -> tuple[Path, ...]:
    """List the places that are searched, in order."""
    project, shipped = project_root(), shipped_root()
    return (shipped,) if project is None or project.resolve() == shipped else (project, shipped)


def list_plants() -> dict[str, Path]:
    """Map the name of every plant to its ``plant.yaml``; a plant of the project hides the shipped one of that name."""
    found: dict[str, Path] = {}
    for root in content_roots():
        for file in sorted((root / "envs").glob(f"*/{PLANT_FILE}")):
            found.setdefault(file.parent.name, file)
    return dict(sorted(found.items()))


def find_plant(name_or_path: str | Path) -> Path:
    """Find a ``plant.yaml`` by the name of its plant, its path, or the path of its folder.

    Raises:
        SpecError: there is none; lists the plants there are.
    """
    plants = list_plants()
    name = str(name_or_path)
    if isinstance(name_or_path, str) and name in plants:
        return plants[name]
    path = Path(name_or_path)
    if path.is_dir() and (path / PLANT_FILE).is_file():
        return path / PLANT_FILE
    if path.is_file():
        return path
    raise _no_plant(name, tuple(plants))


def find_safety(plant_yaml: Path) -> Path | None:
    """Find ``safety/NAME.yaml`` of the project that ``envs/NAME/plant.yaml`` is in; None if the plant declares none."""
    folder = plant_yaml.absolute().parent
    candidate = folder.parent.parent / "safety" / f"{folder.name}.yaml"
    return candidate if folder.parent.name == "envs" and candidate.is_file() else None


def find_beside(plant_yaml: Path, name: str) -> Path | None:
    """Find an optional file of a plant, such as ``train.yaml``, beside its ``plant.yaml``."""
    candidate = plant_yaml.parent / name
    return candidate if candidate.is_file() else None


def find_text_folder() -> Path:
    """Find ``reports/``: the project's, if it brings its own texts, else the shipped one."""
    for root in content_roots():
        if (root / "reports" / "text").is_dir():
            return root / "reports"
    return shipped_root() / "reports"


def _no_plant(name: str, available: tuple[str, ...]) -> SpecError:
    near = get_close_matches(Path(name).stem, available, n=3)
    roots = " and ".join(str(root / "envs") for root in content_roots())
    fix = f"Did you mean {' or '.join(near)}?" if near else f"Plants are looked for in {roots}, as NAME/{PLANT_FILE}."
    listed = ", ".join(available) if available else "none is installed"
    return SpecError("plant", Words(f"no plant {name!r}"), f"the name or the path of a plant ({listed})", fix)
