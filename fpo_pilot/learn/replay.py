"""What an off-policy training remembers: transitions in a ring, the oldest of which make room.

Letters: T steps, B environments, R rows of the ring, N rows that are added or drawn, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Transitions:
    """What Q learns from, ``[N, ...]``: Q(obs, action) = ``reward`` + ``continuation`` · Q(``next_obs``, next action)."""

    obs: Tensor
    action: Tensor
    """``[N, A]`` normalised: what was proposed, cut to the limits."""
    reward: Tensor
    """``[N]``, discounted sum over the steps to ``next_obs``."""
    next_obs: Tensor
    """True next observation, before any reset."""
    continuation: Tensor
    """``[N]``, γ to the power of these steps; 0 where the task ended."""


def transitions(
    obs: Tensor,
    action: Tensor,
    reward: Tensor,
    next_obs: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    discount: float,
    n_step: int,
) -> Transitions:
    """Return the transitions of a rollout, ``[T·B, ...]``: each sums the rewards of up to ``n_step`` steps.

    The sum ends with the episode, and with the rollout: there it has fewer steps, and bootstraps from where it is. A
    truncation bootstraps from the true next observation; a termination does not.

    Args:
        obs: ``[T, B, O]``.
        action: ``[T, B, A]``; cut to ±1 here.
        reward: ``[T, B]``.
        next_obs: ``[T, B, O]``, before any reset.
        terminated: ``[T, B]`` bool.
        truncated: ``[T, B]`` bool.
        discount: γ.
        n_step: n.
    """
    alive = discount * (~terminated).to(reward.dtype)
    over = terminated | truncated
    total, reached, continuation, going = reward.clone(), next_obs.clone(), alive.clone(), ~over
    for ahead in range(1, min(n_step, len(reward))):
        rows = len(reward) - ahead  # the last ones have no step so far ahead
        going = going[:rows]
        total[:rows] += torch.where(going, continuation[:rows] * reward[ahead:], 0.0)
        reached[:rows] = torch.where(going.unsqueeze(-1), next_obs[ahead:], reached[:rows])
        continuation[:rows] = torch.where(going, continuation[:rows] * alive[ahead:], continuation[:rows])
        going = going & ~over[ahead:]
    return Transitions(
        obs.flatten(0, 1),
        action.clamp(-1.0, 1.0).flatten(0, 1),
        total.flatten(),
        reached.flatten(0, 1),
        continuation.flatten(),
    )


class ReplayBuffer:
    """A ring of transitions on the device; how many it holds is known without asking the device.

    Args:
        capacity: R.
        observation_size: O.
        action_size: A.
        device: where it lives.
    """

    def __init__(self, capacity: int, observation_size: int, action_size: int, *, device: torch.device | str) -> None:
        self.capacity = capacity
        self.size = self.position = 0
        sizes = {"obs": (observation_size,), "action": (action_size,), "reward": ()}
        sizes |= {"next_obs": (observation_size,), "continuation": ()}
        self._columns = {name: torch.zeros((capacity, *size), device=device) for name, size in sizes.items()}

    def add(self, rows: Transitions) -> None:
        """Remember ``rows``; the newest of them if they are more than there is room for."""
        surplus = max(0, len(rows.reward) - self.capacity)
        count = len(rows.reward) - surplus
        start = torch.arange(count, device=rows.reward.device)
        where = (start + self.position) % self.capacity
        for name, column in self._columns.items():
            column.index_copy_(0, where, getattr(rows, name)[surplus:].to(column.dtype))
        self.position = (self.position + count) % self.capacity
        self.size = min(self.size + count, self.capacity)

    def draw(self, count: int, generator: torch.Generator | None) -> Transitions:
        """Draw ``count`` rows, each as likely as another."""
        device = self._columns["reward"].device
        rows = torch.randint(0, self.size, (count,), generator=generator, device=device)
        return Transitions(**{name: column.index_select(0, rows) for name, column in self._columns.items()})

    def drop_broken(self) -> None:
        """Forget rows with a value that is no number, so that a training does not break at them again and again."""
        held = {name: column[: self.size] for name, column in self._columns.items()}
        flat = [value.reshape(self.size, -1).isfinite().all(dim=1) for value in held.values()]
        sound = torch.stack(flat).all(dim=0)
        oldest = self.position if self.size == self.capacity else 0
        order = (torch.arange(self.size, device=sound.device) + oldest) % max(1, self.size)
        kept = order[sound[order]]  # oldest first
        for name, value in held.items():
            self._columns[name][: len(kept)] = value[kept]
        self.size, self.position = len(kept), len(kept) % self.capacity

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows held, and where the next one goes."""
        held = {name: column[: self.size] for name, column in self._columns.items()}
        return held | {"position": torch.tensor(self.position)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self.size, self.position = len(state["reward"]), int(state["position"])
        for name, column in self._columns.items():
            column[: self.size] = state[name]
