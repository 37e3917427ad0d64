"""Makes the scenarios of a campaign from what the specs declare: corners, noise levels, faults of sensors and actuators, disturbances.

Names are stable: they are made of the names in plant.yaml and of words, never of numbers that a spec may change. A fault begins after a
third of the episode and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

from fpo_pilot.errors import PolicyError
from fpo_pilot.specs.evaluation import ActuatorFault, FaultKind, Scenario, SensorFault
from fpo_pilot.specs.plant import PlantSpec
from fpo_pilot.specs.plant_rules import measured_names, names_of
from fpo_pilot.specs.safety import SafetySpec
from fpo_pilot.specs.uncertainty import half_width, parameter_half_widths

MOST_CORNERS = 64
NOISE_FACTORS = (0, 2, 4)
FAULT_SHARE = 0.03
"""Of the signal's range: a bias, the standard deviation of noise on top, an actuator's offset, and what a drift adds in ten steps."""
SLOW_SHARE = 0.25
"""Of an actuator's rate, or of its span where it has none: how far a slow one still moves in a step."""


def grid_scenarios(plant: PlantSpec, safety: SafetySpec | None, kinds: Sequence[str]) -> tuple[Scenario, ...]:
    """Make the scenarios of the kinds that are asked for, in the order of :data:`KINDS`.

    Args:
        plant: whose parameters, sensors, actuators and disturbances.
        safety: whose uncertainty set, where it has its own, and whose rates and limits of actuators.
        kinds: of ``corners``, ``noise``, ``faults`` and ``disturbances``.

    Returns:
        The scenarios; none of a kind of which nothing is declared.

    Raises:
        PolicyError: there is no such kind, or there are too many corners.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        found = repr(unknown[0]) if unknown else "none"
        raise PolicyError(f"--grid: found {found}, expected some of {', '.join(KINDS)}, parted by commas. Correct it.")
    return tuple(one for kind, make in KINDS.items() if kind in kinds for one in make(plant, safety))


def with_grid(scenarios: Sequence[Scenario], more: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """Return hand-written scenarios and those of a grid.

    Raises:
        PolicyError: two that differ have one name.
    """
    by_name = {one.name: one for one in scenarios}
    for one in more:
        if by_name.setdefault(one.name, one) != one:
            raise PolicyError(
                f"--grid: found another scenario {one.name!r} in evaluate.yaml, expected the name to be free. Rename that one."
            )
    return tuple(by_name.values())


def _corners(plant: PlantSpec, safety: SafetySpec | None) -> Iterator[Scenario]:
    """``corner_low_high``: the ends of the declared set, parameter by parameter in the order of their declaration."""
    if safety is not None:
        widths = parameter_half_widths(safety, plant)
    else:
        declared = {name: own.uncertainty for name, own in plant.parameters.items() if own.uncertainty is not None}
        widths = {name: half_width(plant, name, own) for name, own in declared.items()}
    widths = {name: widths[name] for name in plant.parameters if widths.get(name, 0.0) > 0.0}
    if 2 ** len(widths) > MOST_CORNERS:
        raise PolicyError(
            f"--grid corners: found {len(widths)} uncertain parameters with {2 ** len(widths):,} corners, expected {MOST_CORNERS} corners "
            "at most. Write the corners that matter as scenarios in evaluate.yaml."
        )
    for signs in product((-1.0, 1.0), repeat=len(widths)) if widths else ():
        moved = zip(widths.items(), signs, strict=True)
        parameters = {name: plant.parameters[name].value + sign * width for (name, width), sign in moved}
        name = "_".join(("corner", *("high" if sign > 0.0 else "low" for sign in signs)))
        yield Scenario(name=name, parameters=parameters)


def _noise(plant: PlantSpec, safety: SafetySpec | None) -> Iterator[Scenario]:
    """``noise_4``: the declared noise of every sensor times so much."""
    sensors = [plant.signals[name].sensor for name in measured_names(plant)]
    if any(sensor.noise is not None and sensor.noise.std > 0.0 for sensor in sensors):
        for factor in NOISE_FACTORS:
            yield Scenario(name=f"noise_{factor}", noise_factor=float(factor))


def _faults(plant: PlantSpec, safety: SafetySpec | None) -> Iterator[Scenario]:
    """``T_bias_high``, ``Tc_stuck``: one fault of one sensor or actuator."""
    begin = plant.timing.horizon // 3
    for signal in measured_names(plant):
        low, high = plant.signals[signal].range
        size = FAULT_SHARE * (high - low)
        kinds: tuple[tuple[FaultKind, str, float], ...] = (
            ("nan", "", 0.0), ("range", "", 0.0), ("stale", "", 0.0), ("stuck", "", 0.0), ("bias", "_low", -size), ("bias", "_high", size),
            ("drift", "_low", -size / 10.0), ("drift", "_high", size / 10.0), ("noise", "", size),
        )  # fmt: skip
        for kind, side, value in kinds:
            fault = SensorFault(signal=signal, kind=kind, from_step=begin, value=value)
            yield Scenario(name=f"{signal}_{kind}{side}", faults=(fault,))
    for action in names_of(plant, "action"):
        limit = None if safety is None else safety.actions[action]
        low, high = plant.signals[action].range if limit is None else (limit.low, limit.high)
        rate = high - low if limit is None or limit.rate is None else limit.rate
        size = FAULT_SHARE * (high - low)
        faults = {
            "stuck": ActuatorFault(action=action, kind="stuck", from_step=begin),
            "slow": ActuatorFault(action=action, kind="slow", from_step=begin, value=SLOW_SHARE * rate),
            "offset_low": ActuatorFault(action=action, kind="offset", from_step=begin, value=-size),
            "offset_high": ActuatorFault(action=action, kind="offset", from_step=begin, value=size),
        }
        for name, found in faults.items():
            yield Scenario(name=f"{action}_{name}", actuator_faults=(found,))


def _disturbances(plant: PlantSpec, safety: SafetySpec | None) -> Iterator[Scenario]:
    """``no_disturbances``, and each declared one alone and for certain: ``only_inflow_step``, ``only_weather_replay`` for measured data."""
    if not plant.disturbances:
        return
    yield Scenario(name="no_disturbances", disturbances=())
    seen: dict[str, int] = {}
    for one in plant.disturbances:
        name = f"only_{one.channel}_{one.kind}"
        seen[name] = seen.get(name, 0) + 1
        number = f"_{seen[name]}" if seen[name] > 1 else ""
        yield Scenario(name=name + number, disturbances=(one.model_copy(update={"probability": 1.0}),))


KINDS: dict[str, Callable[[PlantSpec, SafetySpec | None], Iterator[Scenario]]] = {
    "corners": _corners,
    "noise": _noise,
    "faults": _faults,
    "disturbances": _disturbances,
}
