"""Load a plant: its specs, and its dynamics class by path. This is the one place that runs Python from a spec."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.dynamics import SECONDS, ContinuousDynamics, DiscreteDynamics
from fpo_pilot.plants.plant import Plant
from fpo_pilot.specs.content import find_plant
from fpo_pilot.specs.load import load_plant_spec, load_safety_spec
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.units import UnitError, convert_difference, convert_point, parse_unit


def load_plant(name_or_path: str | Path) -> Plant:
    """Load a plant by the name of a shipped or own one, or by the path of its ``plant.yaml`` or folder.

    Raises:
        SpecErrors: plant.yaml or the safety spec is wrong; lists every fault with its line.
        PlantError: the dynamics class is missing, or does not fit the spec.
    """
    file = find_plant(name_or_path)
    spec = load_plant_spec(file)
    safety = load_safety_spec(file, spec)
    source = dynamics_file(file, spec)
    dynamics = load_dynamics(source, spec.dynamics.cls)
    return build_plant(spec, safety, dynamics, dynamics_file=source, folder=file.resolve().parent)


def build_plant(
    spec: PlantSpec,
    safety: SafetySpec | None,
    dynamics: Any,
    *,
    dynamics_file: Path | None = None,
    folder: Path | None = None,
) -> Plant:
    """Join specs and a dynamics object to a plant.

    Raises:
        PlantError: their names or units do not fit each other.
    """
    _check_members(spec, dynamics)
    _check_names(spec, dynamics)
    _check_signal_units(spec, getattr(dynamics, "signal_units", {}))
    values, factors = [], []
    for name, unit in dynamics.parameters.items():
        value, factor = _parameter(spec, name, unit)
        values.append(value)
        factors.append(factor)
    return Plant(spec, safety, dynamics, tuple(values), tuple(factors), dynamics_file, folder)


def load_dynamics(file: Path, name: str) -> Any:
    """Execute a Python file and make one object of its class ``name``.

    Raises:
        PlantError: the file or the class is missing, or the file cannot be executed.
    """
    if not file.is_file():
        raise PlantError(f"dynamics.file: found no file {file}, expected the Python file of {name}. Correct the path.")
    identity = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]
    module_name = f"fpo_pilot_dynamics_{file.stem}_{identity}"
    loader = _AsWritten(module_name, str(file))
    module_spec = importlib.util.spec_from_file_location(module_name, file, loader=loader)
    if module_spec is None or file.suffix != ".py":
        raise PlantError(f"dynamics.file: found {file.name}, expected a Python file. Name a file that ends in .py.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module  # dataclasses look their module up by name
    try:
        loader.exec_module(module)
        made = getattr(module, name)()
    except AttributeError as error:
        if hasattr(module, name):
            raise _failed(file, name, error) from error
        found = ", ".join(
            n for n, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__
        )
        raise PlantError(
            f"dynamics.class: found no class {name!r} in {file.name}, expected one of "
            f"{found or 'its classes (it has none)'}. "
            "Correct the name."
        ) from error
    except Exception as error:  # a user's file may raise anything; it is told with file and line
        raise _failed(file, name, error) from error
    return made


class _AsWritten(SourceFileLoader):
    """Compiles the file as it stands: a cached compilation may be older than the bytes that a run is signed with."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source; read and write no cache."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _failed(file: Path, name: str, error: Exception) -> PlantError:
    trace = error.__traceback__
    line = error.lineno if isinstance(error, SyntaxError) else None
    while trace is not None and line is None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(file) else None
        trace = trace.tb_next
    place = f"{file}:{line}" if line is not None else str(file)
    return PlantError(
        f"{place}: found {type(error).__name__}: {error}, expected a file that runs and a class {name} that "
        "needs no arguments. "
        "Correct the file; running it with Python shows the whole trace."
    )


def dynamics_file(plant_yaml: Path, spec: PlantSpec) -> Path:
    """Return where the dynamics of a plant are.

    Raises:
        PlantError: outside the project, whose root is above ``envs/``, or else the folder of the spec.
    """
    folder = plant_yaml.resolve().parent
    root = folder.parent.parent if folder.parent.name == "envs" else folder
    file = (folder / spec.dynamics.file).resolve()
    if not file.is_relative_to(root):
        raise PlantError(
            f"dynamics.file: found {spec.dynamics.file}, which is outside the project {root}, expected a file "
            "inside it. "
            "Copy the file beside plant.yaml: code of a plant is reviewed with its project."
        )
    return file


def _check_members(spec: PlantSpec, dynamics: Any) -> None:
    kind = type(dynamics).__name__
    for member in ("states", "actions", "parameters"):
        if not hasattr(dynamics, member):
            raise PlantError(
                f"plant {spec.plant.id}: {kind} has no `{member}`, expected the names of its {member}. "
                f"Declare `{member}: ClassVar[...] = ...` in the class."
            )
    if isinstance(dynamics, ContinuousDynamics):
        if dynamics.time_unit not in SECONDS:
            raise PlantError(
                f"plant {spec.plant.id}: {kind}.time_unit is {dynamics.time_unit!r}, expected one of "
                f"{', '.join(SECONDS)}. "
                "Give the unit of time of the derivative."
            )
    elif not isinstance(dynamics, DiscreteDynamics):
        raise PlantError(
            f"plant {spec.plant.id}: {kind} has neither `derivative` (with `time_unit`) nor `advance`, "
            "expected one of them. "
            "Write `def derivative(self, state, action, disturbance, parameters)`."
        )


def _check_names(spec: PlantSpec, dynamics: Any) -> None:
    """Compare the names of the class with those of the spec, by role and in order: tensors have columns, not names."""
    kind = type(dynamics).__name__
    for role, member in (
        ("state", "states"),
        ("action", "actions"),
        ("disturbance", "disturbances"),
        ("measurement", "output_names"),
    ):
        declared = tuple(getattr(dynamics, member, ()))
        found = tuple(name for name, signal in spec.signals.items() if signal.role == role)
        if found != declared:
            fix = "Put them in the same order" if set(found) == set(declared) else "Use the same names in both"
            raise PlantError(
                f"plant {spec.plant.id}: signals of role {role} are ({', '.join(found)}), expected "
                f"({', '.join(declared)}), as {kind}.{member} has them. {fix}."
            )
    missing = [name for name in dynamics.parameters if name not in spec.parameters]
    unknown = [name for name in spec.parameters if name not in dynamics.parameters]
    if missing or unknown:
        what = f"lack {', '.join(missing)}" if missing else f"have {', '.join(unknown)} too many"
        raise PlantError(
            f"plant {spec.plant.id}: the parameters of plant.yaml {what}, expected "
            f"{', '.join(dynamics.parameters)}, as "
            f"{kind}.parameters has them. Add or delete entries under `parameters:`."
        )


def _check_signal_units(spec: PlantSpec, expected: Mapping[str, str]) -> None:
    for name, unit in expected.items():
        if name not in spec.signals:
            continue
        if parse_unit(spec.signals[name].unit) != parse_unit(unit):
            raise PlantError(
                f"plant {spec.plant.id}: signals.{name}.unit is {spec.signals[name].unit}, expected {unit}, in "
                "which the "
                f"dynamics compute. Declare the signal in {unit}."
            )


def _parameter(spec: PlantSpec, name: str, unit: str) -> tuple[float, float]:
    """Convert a parameter to the unit that the code expects; return also the factor of a change."""
    declared = spec.parameters[name]
    try:
        source, target = parse_unit(declared.unit), parse_unit(unit)
        factor = convert_difference(1.0, source, target)
        if "delta_" in str(target):
            return declared.value * factor, factor
        return convert_point(declared.value, source, target), factor
    except UnitError as error:
        raise PlantError(
            f"plant {spec.plant.id}: parameters.{name} is in {declared.unit}, expected a unit that converts to {unit}. "
            f"{error.fix}"
        ) from error
