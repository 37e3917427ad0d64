"""The seam of every shield: what it is told, what it answers, and what it must keep.

Letters: B rows of the batch (environments, or one live plant), M measured signals, A actions. Actions and measurements are in
engineering units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError


class Readings(Protocol):
    """Where a context is read from: a simulation, or a live link."""

    @property
    def measurement(self) -> Tensor:
        """``[B, M]``."""
        ...

    @property
    def quality(self) -> Tensor:
        """``[B, M]``."""
        ...

    @property
    def age(self) -> Tensor:
        """``[B, M]``."""
        ...

    @property
    def applied(self) -> Tensor:
        """``[B, A]``, the read-back."""
        ...


@dataclass(frozen=True, eq=False)
class ShieldContext:
    """What a shield may know in one control cycle.

    Args:
        measurement: ``[B, M]`` what the sensors read now.
        quality: ``[B, M]`` uint8: 0 good, 1 bad, 2 held, 3 out of the range of the instrument.
        age: ``[B, M]`` seconds since each value was fresh.
        previous: ``[B, A]`` the READ-BACK of the applied action, never the last command: rates are counted from it.
        fallback: ``[B, A]`` what the fallback controller asks for in this cycle; may be garbage, and is then not used.
        period: seconds between two cycles.
        incumbent: ``[B, A]`` what the controller in charge today asks for, where it is not the fallback.
        operator: ``[B, A]`` what a person sets by hand, NaN where nobody does; it overrides all but interlocks, box and rate.
        sound: ``[B, M]`` bool: the readings that an integrity layer believes; None where none has judged them. A stack sets it.
    """

    measurement: Tensor
    quality: Tensor
    age: Tensor
    previous: Tensor
    fallback: Tensor
    period: float
    incumbent: Tensor | None = None
    operator: Tensor | None = None
    sound: Tensor | None = None

    @classmethod
    def read(
        cls,
        source: Readings,
        *,
        fallback: Tensor,
        period: float,
        incumbent: Tensor | None = None,
        operator: Tensor | None = None,
    ) -> ShieldContext:
        """Take what ``source`` reads now; the others are as in the class."""
        return cls(
            source.measurement, source.quality, source.age, source.applied, fallback, period, incumbent, operator
        )

    @property
    def batch(self) -> int:
        """B."""
        return self.previous.shape[0]

    @property
    def believed(self) -> Tensor:
        """``[B, M]``: the measurement, NaN where it is not to be believed; what is certified must not rest on such a reading."""
        return self.measurement if self.sound is None else torch.where(self.sound, self.measurement, torch.nan)

    def rows(self, index: slice) -> ShieldContext:
        """Return the context of some rows only."""
        return ShieldContext(
            self.measurement[index],
            self.quality[index],
            self.age[index],
            self.previous[index],
            self.fallback[index],
            self.period,
            None if self.incumbent is None else self.incumbent[index],
            None if self.operator is None else self.operator[index],
            None if self.sound is None else self.sound[index],
        )

    def require(self, measured: int, actions: int, proposal: Tensor) -> None:
        """Refuse tensors that do not fit each other: a shield never guesses by broadcasting.

        Raises:
            ShieldError: a shape is not the expected one.
        """
        shapes = [
            ("context.measurement", self.measurement, (self.batch, measured)),
            ("context.quality", self.quality, (self.batch, measured)),
            ("context.age", self.age, (self.batch, measured)),
            ("context.previous", self.previous, (self.batch, actions)),
            ("context.fallback", self.fallback, (self.batch, actions)),
            ("proposal", proposal, (self.batch, actions)),
        ]
        if self.operator is not None:
            shapes.append(("context.operator", self.operator, (self.batch, actions)))
        for where, tensor, expected in shapes:
            if tuple(tensor.shape) != expected:
                raise ShieldError(
                    f"{where}: found shape {tuple(tensor.shape)}, expected {expected}. "
                    "Give one row an environment, one column a measured signal or an action, in the order of the plant spec."
                )


@dataclass(frozen=True, eq=False)
class Verdict:
    """A shield's answer.

    Args:
        action: ``[B, A]`` what may go to the actuators.
        reasons: for each code that this shield can give, ``[B]`` bool: where it applies. Codes are stable, such as
            ``integrity.nan:T``, ``rate:Tc``, ``interlock:IL-1``; all of them are present in every verdict.
        margin: ``[B]`` least distance to a limit that the shield watches, as a fraction of that signal's range; positive is
            inside, −inf where it cannot be known.
        feasible: ``[B]`` bool: False where the promise could not be kept by an action of the shield's own choice, so that the
            last resort was taken.
        alpha: ``[B]`` share of the proposal in the action of a predictive shield; None without one.
        margins: ``[B]`` least distance to each limit that a shield looks ahead to, in the unit of its signal, by ``layer:limit``.
        seconds: that the decision took; None where no clock may matter, which is everywhere but live.
    """

    action: Tensor
    reasons: Mapping[str, Tensor]
    margin: Tensor
    feasible: Tensor
    alpha: Tensor | None = None
    margins: Mapping[str, Tensor] = field(default_factory=dict)
    seconds: float | None = None

    def altered(self, proposal: Tensor) -> Tensor:
        """Return ``[B]`` bool: where the action is not the proposal; a proposal that is not finite always counts."""
        return ~(self.action == proposal.to(self.action.dtype)).all(dim=-1)

    def reasons_of(self, row: int) -> tuple[str, ...]:
        """List the codes that apply to one row, for logs; waits for the device, so keep it out of batched loops."""
        if not self.reasons:
            return ()
        table = torch.stack([flag[row] for flag in self.reasons.values()]).tolist()
        return tuple(code for code, applies in zip(self.reasons, table, strict=True) if applies)


def require_verdict(verdict: Verdict, batch: int, action: Tensor) -> None:
    """Refuse an answer that is none: what a stack does with it must not depend on broadcasting.

    Raises:
        ShieldError: a tensor of the verdict on ``action`` ``[B, A]`` is missing, or has another shape or dtype than the class says.
    """
    flags = {"feasible": verdict.feasible, **verdict.reasons}
    numbers = {"margin": verdict.margin, **verdict.margins}
    if verdict.alpha is not None:
        numbers["alpha"] = verdict.alpha
    if verdict.action.shape != action.shape or not verdict.action.is_floating_point():
        raise ShieldError(
            f"verdict.action: found {verdict.action.dtype} of shape {tuple(verdict.action.shape)}, expected floats of shape "
            f"{tuple(action.shape)}. Return one action a row."
        )
    for kind, tensors in (("bool", flags), ("float", numbers)):
        for name, tensor in tensors.items():
            fits = tensor.dtype == torch.bool if kind == "bool" else tensor.is_floating_point()
            if tuple(tensor.shape) != (batch,) or not fits:
                raise ShieldError(
                    f"verdict.{name}: found {tensor.dtype} of shape {tuple(tensor.shape)}, expected {kind} of shape ({batch},). "
                    "Return one value a row."
                )


@runtime_checkable
class Shield(Protocol):
    """Turns a proposal into a safe action and says why; batched, and safe to call with any floats at all."""

    @property
    def promise(self) -> str:
        """One sentence: what holds of every action that this shield returns."""
        ...

    def __call__(self, context: ShieldContext, proposal: Tensor) -> Verdict:
        """Judge one proposal ``[B, A]`` a row; advances the memory of shields that count or latch."""
        ...

    def holds(self, context: ShieldContext, action: Tensor) -> Tensor:
        """Return ``[B]`` bool: whether ``action`` keeps this shield's promise in the present cycle; changes nothing."""
        ...

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the rows of ``mask`` ``[B]``, or everything: another plant (a new simulated episode) starts there."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return the memory of counters and latches."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        ...
