"""The observation: an affine map of readings, applied actions and what is known of time, laid out once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.references import reference_value
from fpo_pilot.specs.plant import ObservationTerm

_ALTERED = ("altered", "", 0)


@dataclass(frozen=True)
class Entry:
    """One number of an observation: source ``key`` minus source ``minus``, mapped from ``scale`` to [−1, 1]."""

    label: str
    key: tuple[str, str, int]  # kind, signal, steps back (or ahead)
    scale: tuple[float, float]
    minus: tuple[str, str, int] | None = None


@dataclass(frozen=True)
class ObservationLayout:
    """Where each entry of an observation comes from.

    Sources stand side by side: measurements, newest first, ``H·M``; applied actions, newest first, ``H·A``; and a row
    of the table of what depends on time alone (zero, references, previews, progress); last, whether the shield altered
    the proposal of the step before.
    """

    names: tuple[str, ...]
    history: int
    table: Tensor  # [horizon + 1, K]
    source: tuple[int, ...]  # O columns
    minus: tuple[int, ...] | None  # O columns; None if no entry is a difference
    gain: Tensor  # [O]
    offset: Tensor  # [O]
    low: tuple[float, ...]
    """Least possible value of each entry: sensors do not read beyond their ranges."""
    high: tuple[float, ...]

    @property
    def size(self) -> int:
        """Number of entries O."""
        return len(self.names)


def build_observation(
    layout: ObservationLayout, measured: Tensor, applied: Tensor, step: Tensor, altered: Tensor | None = None
) -> Tensor:
    """Compose the observation.

    Args:
        layout: of the plant.
        measured: ``[B, H, M]`` readings, newest first.
        applied: ``[B, H, A]`` applied actions, newest first, in engineering units.
        step: ``[B]`` step of the episode.
        altered: ``[B]`` bool, the shield altered the last proposal; nowhere if None.

    Returns:
        ``[B, O]`` float32, each entry mapped from its scale to [−1, 1], unclipped.
    """
    known = layout.table.index_select(0, step.clamp(max=layout.table.shape[0] - 1))
    flag = torch.zeros_like(known[:, 0]) if altered is None else altered.to(known.dtype)
    sources = (*known.unbind(1), *measured.flatten(1).unbind(1), *applied.flatten(1).unbind(1), flag)
    values = torch.stack([sources[column] for column in layout.source], dim=1)
    if layout.minus is not None:
        values = values - torch.stack([sources[column] for column in layout.minus], dim=1)
    return torch.addcmul(layout.offset, values, layout.gain).to(torch.float32)


def observation_layout(plant: Plant, *, device: torch.device, dtype: torch.dtype) -> ObservationLayout:
    """Lay the observation of a plant out.

    Raises:
        PlantError: an entry cannot be built from what the plant measures.
    """
    entries = [entry for term in plant.spec.observations for entry in _entries(plant, term)]
    history = max((term.history for term in plant.spec.observations), default=1)
    timed = [("zero", "", 0)]
    for entry in entries:
        for key in (entry.key, entry.minus):
            if key is not None and key[0] in {"ahead", "progress"} and key not in timed:
                timed.append(key)
    columns = {key: index for index, key in enumerate(timed)}
    for kind, names in (("measured", plant.measured_names), ("applied", plant.action_names)):
        for back in range(history):
            for name in names:
                columns[kind, name, back] = len(columns)
    columns[_ALTERED] = len(columns)
    gains = [2.0 / (entry.scale[1] - entry.scale[0]) for entry in entries]
    offsets = [-1.0 - gain * entry.scale[0] for gain, entry in zip(gains, entries, strict=True)]
    rows = [[_timed_value(plant, key, step) for key in timed] for step in range(plant.horizon + 1)]
    zero = ("zero", "", 0)
    has_differences = any(entry.minus is not None for entry in entries)
    return ObservationLayout(
        names=tuple(entry.label for entry in entries),
        history=history,
        table=torch.tensor(rows, dtype=dtype, device=device),
        source=tuple(columns[entry.key] for entry in entries),
        minus=tuple(columns[entry.minus or zero] for entry in entries) if has_differences else None,
        gain=torch.tensor(gains, dtype=dtype, device=device),
        offset=torch.tensor(offsets, dtype=dtype, device=device),
        low=tuple(_bound(plant, entry, lowest=True) for entry in entries),
        high=tuple(_bound(plant, entry, lowest=False) for entry in entries),
    )


def entry_scales(plant: Plant) -> tuple[tuple[str, str, tuple[float, float]], ...]:
    """Return name, unit, and what −1 and +1 mean in that unit, of each entry of an observation in order."""
    entries = [entry for term in plant.spec.observations for entry in _entries(plant, term)]
    known = plant.spec.signals
    return tuple((one.label, known[one.key[1]].unit if one.key[1] in known else "1", one.scale) for one in entries)


def mirror_signs(plant: Plant, signals: Sequence[str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the signs, +1 or −1, of the observation's entries and of the actions in a mirror.

    Args:
        plant: that is the same in the mirror; this is taken on trust.
        signals: which change sign there.

    Raises:
        PlantError: a name is unknown, or a scale or range is not symmetric about 0, so that a change of sign means
            something else.
    """
    known = (*plant.measured_names, *plant.reference_names, *plant.action_names)
    for name in signals:
        if name not in known:
            raise PlantError(
                f"plant {plant.name}: mirror: found {name!r}, expected signals that a policy sees or sets "
                f"({', '.join(known)}). Correct the name in train.yaml."
            )

    def sign(what: str, names: Sequence[str], scale: tuple[float, float]) -> float:
        changes = [name in signals for name in names]
        if any(changes) and (not all(changes) or not math.isclose(-scale[0], scale[1], rel_tol=1e-9)):
            raise PlantError(
                f"plant {plant.name}: mirror: {what} has the scale {scale[0]:g} to {scale[1]:g} and signals "
                f"{', '.join(names)}, expected one symmetric about 0, of signals that all change sign. "
                "Give it a symmetric scale in plant.yaml, or take `mirror` out of train.yaml."
            )
        return -1.0 if any(changes) else 1.0

    entries = [entry for term in plant.spec.observations for entry in _entries(plant, term)]
    sources = [[key[1] for key in (entry.key, entry.minus) if key is not None] for entry in entries]
    seen = tuple(sign(entry.label, names, entry.scale) for entry, names in zip(entries, sources, strict=True))
    limits = zip(plant.action_names, plant.action_low, plant.action_high, strict=True)
    return seen, tuple(sign(name, [name], (low, high)) for name, low, high in limits)


def _bound(plant: Plant, entry: Entry, *, lowest: bool) -> float:
    """Return the least or greatest value of an entry, with a little room for rounding to float32."""
    (low, high), (from_low, from_high) = _reach(plant, entry.key), _reach(plant, entry.minus)
    value = low - from_high if lowest else high - from_low
    mapped = 2.0 * (value - entry.scale[0]) / (entry.scale[1] - entry.scale[0]) - 1.0
    room = 1e-5 * max(1.0, abs(mapped))
    return mapped - room if lowest else mapped + room


def _reach(plant: Plant, key: tuple[str, str, int] | None) -> tuple[float, float]:
    if key is None:
        return 0.0, 0.0
    return (0.0, 1.0) if key[0] in {"progress", "altered"} else plant.spec.signals[key[1]].range


def _timed_value(plant: Plant, key: tuple[str, str, int], step: int) -> float:
    kind, name, ahead = key
    if kind == "zero":
        return 0.0
    if kind == "progress":
        return step / plant.horizon
    return reference_value(plant.spec.signals[name], step + ahead)


def _entries(plant: Plant, term: ObservationTerm) -> Iterator[Entry]:
    """Write a term of the spec out as entries."""
    if term.term == "progress":
        yield Entry("progress", ("progress", "", 0), term.scale or (0.0, 1.0))
    elif term.term == "shield_active":
        yield Entry("shield active", _ALTERED, term.scale or (0.0, 1.0))
    elif term.term == "preview":
        name = _known(plant, term.of, plant.reference_names, "preview")
        yield Entry(f"{name}[+{term.ahead}]", ("ahead", name, term.ahead), term.scale or _span(plant, name))
    elif term.term == "setpoint_error":
        name = _known(plant, term.of, plant.measured_names, "setpoint_error")
        reference = _known(plant, term.reference, plant.reference_names, "setpoint_error")
        width = _span(plant, name)[1] - _span(plant, name)[0]
        for back in range(term.history):
            scale = term.scale or (-width, width)
            yield Entry(f"{name}-{reference}{_ago(back)}", ("measured", name, back), scale, ("ahead", reference, 0))
    elif term.term == "previous_action":
        names = (
            plant.action_names if term.of is None else (_known(plant, term.of, plant.action_names, "previous_action"),)
        )
        for back in range(term.history):
            for name in names:
                yield Entry(f"previous {name}{_ago(back)}", ("applied", name, back), term.scale or _span(plant, name))
    else:
        yield from _signal(plant, term)


def _signal(plant: Plant, term: ObservationTerm) -> Iterator[Entry]:
    known = (*plant.measured_names, *plant.reference_names, *plant.action_names)
    name = _known(plant, term.signal, known, "signal")
    scale = term.scale or _span(plant, name)
    for back in range(term.history):
        if name in plant.reference_names:
            yield Entry(f"{name}{_ago(back)}", ("ahead", name, -back), scale)
        else:
            kind = "measured" if name in plant.measured_names else "applied"
            yield Entry(f"{name}{_ago(back)}", (kind, name, back), scale)


def _ago(back: int) -> str:
    return f"[-{back}]" if back else ""


def _span(plant: Plant, name: str) -> tuple[float, float]:
    """Return the default scale: the limits of an action (as the policy wrote it), else the signal's range."""
    if name in plant.action_names:
        index = plant.action_names.index(name)
        return plant.action_low[index], plant.action_high[index]
    return plant.spec.signals[name].range


def _known(plant: Plant, name: str | None, known: tuple[str, ...], kind: str) -> str:
    if name in known:
        return str(name)
    raise PlantError(
        f"plant {plant.name}: observations: the {kind} names {name!r}, expected one of "
        f"{', '.join(known) or '(there is none)'}. "
        "Correct the name in plant.yaml."
    )
