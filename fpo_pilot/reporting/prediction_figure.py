"""A figure of an identified model: measured against predicted, open loop, with prediction intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fpo_pilot.reporting.drawing import Panel, Panels, Series
from fpo_pilot.reporting.page import Figure
from fpo_pilot.reporting.phrases import Bilingual, Phrase, Verbatim, percent, say
from fpo_pilot.specs.plant import PlantSpec

Floats = npt.NDArray[np.float64]
MOST_PANELS = 6


def prediction_figure(
    plant: PlantSpec, names: Sequence[str], measured: Floats, predicted: Floats, half_width: Floats, level: float
) -> Figure:
    """Draw the first few signals over the steps of one prediction.

    Args:
        plant: labels and units.
        names: of the signals.
        measured: ``[H + 1, S]``, the first row being the moment of the prediction.
        predicted: ``[H + 1, S]``.
        half_width: ``[H + 1, S]`` of the prediction intervals.
        level: of the intervals.
    """
    steps = tuple(float(step) for step in range(len(measured)))
    panels = []
    for column, name in enumerate(names[:MOST_PANELS]):
        values, middle, half = measured[:, column], predicted[:, column], half_width[:, column]
        panels.append(
            Panel(
                _axis(plant, name),
                (
                    Series(
                        say("identification.predicted"),
                        steps,
                        tuple(middle.tolist()),
                        "policy",
                        low=tuple((middle - half).tolist()),
                        high=tuple((middle + half).tolist()),
                    ),
                    Series(say("identification.measured"), steps, tuple(values.tolist()), "incumbent", points=True),
                ),
            )
        )
    return Figure(
        id="prediction",
        caption=say("identification.caption", count=len(measured) - 1),
        description=say("identification.description", count=len(panels), level=percent(level)),
        drawing=Panels(say("identification.steps"), tuple(panels)),
        sources=(),
    )


def _axis(plant: PlantSpec, name: str) -> Phrase:
    signal = plant.signals[name]
    label: Phrase = Verbatim(name)
    if signal.label is not None:
        label = Bilingual(f"{signal.label.en} {name}", f"{signal.label.ja} {name}")
    return label if signal.unit in ("", "1") else say("figure.axis", label=label, unit=signal.unit)
