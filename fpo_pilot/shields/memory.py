"""The memory of shields that count or latch: named tensors ``[B, ...]``, never changed in place.

A batch of another size is refused, not adapted to: to adapt would be to forget a latch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fpo_pilot.errors import ShieldError


class Memory:
    """Named tensors with one row an environment; rows that are forgotten go back to the blank value.

    Args:
        owner: named in errors.
        blanks: for each tensor, its blank value and its number of columns; bool, int and float blanks give bool, int64 and float64.
    """

    def __init__(self, owner: str, blanks: Mapping[str, tuple[bool | int | float, int]]) -> None:
        self._owner = owner
        self._blanks = dict(blanks)
        self._tensors: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    @property
    def started(self) -> bool:
        """Whether any row has been seen since the last full reset."""
        return bool(self._tensors)

    def start(self, batch: int, device: torch.device) -> None:
        """Make blank rows at the first call; later only check that the batch is still the same.

        Raises:
            ShieldError: the batch has another size than before.
        """
        if not self._tensors:
            self._tensors = {
                name: torch.full((batch, columns), blank, dtype=_DTYPES[type(blank)], device=device)
                for name, (blank, columns) in self._blanks.items()
            }
            return
        found = next(iter(self._tensors.values())).shape[0]
        if found != batch:
            raise ShieldError(
                f"{self._owner}: found a batch of {batch} rows, expected {found} as before. "
                "Call reset() first if other plants are meant; it forgets latches too."
            )

    def update(self, **tensors: Tensor) -> None:
        """Replace tensors; gradients end here."""
        self._tensors.update({name: tensor.detach() for name, tensor in tensors.items()})

    def reset(self, mask: Tensor | None) -> None:
        """Blank the rows of ``mask`` ``[B]`` bool, or forget the batch altogether."""
        if mask is None:
            self._tensors = {}
            return
        for name, tensor in self._tensors.items():
            self._tensors[name] = torch.where(mask[:, None], self._blanks[name][0], tensor).to(tensor.dtype)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all tensors; empty before the first call."""
        return {name: tensor.clone() for name, tensor in self._tensors.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ShieldError: a tensor is missing or too many.
        """
        if state and set(state) != set(self._blanks):
            raise ShieldError(
                f"{self._owner}: found a state with {', '.join(sorted(state))}, expected {', '.join(sorted(self._blanks))}. "
                "Load the state that this shield's own state_dict() gave."
            )
        self._tensors = {name: tensor.clone() for name, tensor in state.items()}


def fingerprints(names: Sequence[str]) -> Tensor:
    """Return ``[L]`` int64 made of names, so that the columns of a memory are known again: another rule must not get a latch."""
    digests = (hashlib.sha256(name.encode()).digest()[:8] for name in names)
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


def require_names(owner: str, names: Sequence[str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` without its fingerprints.

    Raises:
        ShieldError: it is of rules of other names, or in another order.
    """
    if state and not torch.equal(state.get("names", torch.zeros(0)).cpu(), fingerprints(names)):
        raise ShieldError(
            f"{owner}: found a state of other rules, expected {', '.join(names)}. A latch would go to another rule: load the state of the "
            "same safety spec."
        )
    return {key: tensor for key, tensor in state.items() if key != "names"}


_DTYPES = {bool: torch.bool, int: torch.int64, float: torch.float64}
