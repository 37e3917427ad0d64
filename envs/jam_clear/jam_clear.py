"""A jammed feeder that is jogged free blindly: a plant in which a single best action does not exist.

Designed here as a proof plant (README.md beside this file): the side of the jam is hidden, so that a policy without memory
must try both sides, and an average of the two sides clears nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class JamClear:
    """One jog a step; the jog that is right clears the jam with a probability, one that is too far hits the end stop.

    States: ``side``, of which only the sign counts; ``jam``, 1 while jammed; ``tries``; ``overtravel``, 1 if the last
    jog hit an end stop; ``given_up``, 1 once the tries are used up. The disturbance ``luck`` is a standard normal
    number, drawn anew at each step.
    """

    states: ClassVar[tuple[str, ...]] = ("side", "jam", "tries", "overtravel", "given_up")
    actions: ClassVar[tuple[str, ...]] = ("jog",)
    disturbances: ClassVar[tuple[str, ...]] = ("luck",)
    parameters: ClassVar[Mapping[str, str]] = {
        "near": "1",
        "far": "1",
        "stop": "1",
        "most_tries": "1",
        "clearing_probability": "1",
    }
    signal_units: ClassVar[Mapping[str, str]] = {"jog": "1"}

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 5]`` after one jog.

        Args:
            state: ``[B, 5]``.
            action: ``[B, 1]``, the jog as a share of its stroke, −1 to 1.
            disturbance: ``[B, 1]``, the luck of this jog.
            parameters: ``[B, 5]`` or ``[1, 5]``.
            period: seconds; a jog has no smaller unit.
        """
        side, jam, tries, _, _ = state.unbind(-1)
        near, far, stop, most, probability = parameters.unbind(-1)
        jog = action[..., 0]
        towards = torch.where(side >= 0.0, jog, -jog)
        # luck below the quantile of the probability is good luck
        lucky = torch.special.ndtr(disturbance[..., 0]) < probability
        jammed = jam > 0.5
        cleared = jammed & (towards >= near) & (towards <= far) & lucky
        stuck = jammed & ~cleared
        made = tries + jammed.to(state.dtype)
        struck = jammed & (jog.abs() > stop)
        flags = (flag.to(state.dtype) for flag in (struck, stuck & (made >= most)))
        return torch.stack((side, stuck.to(state.dtype), made, *flags), dim=-1)
