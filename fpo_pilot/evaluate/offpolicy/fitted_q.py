r"""Fitted Q evaluation (Le, Voloshin, Yue, arXiv 1903.08738) by least squares on fixed features.

.. math:: y = r + \gamma (1 - \text{end}) \frac1M \sum_m \bar Q(s', \Pi(s', F(s', \varepsilon_m)))

is regressed on features of (s, a) again and again, as many times as an episode has steps, from Q = 0: after k rounds Q is the worth
of k more steps. The draws :math:`\varepsilon_m` are the same in every round (common random numbers), and the mean over them is taken of
the features, since Q is linear in them. A cut stretch bootstraps; the end of an episode does not. It needs no density.

Features of z = (s, a, share of the horizon), each scaled by its spread: 1, z, all products, and random cosines (Rahimi and Recht
2007), so that quadratic values are hit exactly; not where z is so long that of the products only the squares are taken. The interval is
a percentile bootstrap over stretches, with limits that reach as far as so few need: the sums that a fit needs are kept for each, so that a
resample costs a solution of a small system and no pass over the data. It knows the luck of the log; what the features get wrong is told by
how far other features are from these (:func:`values_by_other_features`), by which the interval is widened. An episode with gaps is several
stretches, which are drawn apart: its interval is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from fpo_pilot.evaluate.offpolicy.batch import LogBatch
from fpo_pilot.evaluate.offpolicy.estimate import OffPolicyEstimate, off
from fpo_pilot.evidence.statistics import expanded_quantile

LEAST_EPISODES = 20
RIDGE = 1e-6
"""Of the mean of the squared features; Q is pulled to 0 by it where the log says nothing."""
COSINES = 64
MOST_PRODUCTS = 1_000
"""Where there would be more products than this, only squares are taken: memory grows with the square of the features."""
_ONES_AT_ONCE = 16_384

NextActions = Callable[[Tensor], Tensor]
"""From rows of the batch ``[N]`` (numbers into T·B) to M actions ``[N, M, A]`` of policy∘shield at the next state, normalised."""


@dataclass(frozen=True, eq=False)
class Features:
    """The map from (s, a, share of the horizon) ``[N, Z]`` to features ``[N, D]``."""

    mean: Tensor
    spread: Tensor
    directions: Tensor
    phases: Tensor

    @classmethod
    def fitted(cls, z: Tensor, *, cosines: int = COSINES, seed: int = 0) -> Features:
        """Scale by mean and spread of the log; what never varies there is left out of all products."""
        generator = torch.Generator().manual_seed(seed)
        mean, spread = z.mean(dim=0), z.std(dim=0)
        size = z.shape[1]
        directions = torch.randn((size, cosines), generator=generator, dtype=torch.float64) / math.sqrt(size)
        phases = 2.0 * math.pi * torch.rand(cosines, generator=generator, dtype=torch.float64)
        return cls(mean, torch.where(spread > 1e-9, spread, torch.inf), directions, phases)

    def __call__(self, z: Tensor) -> Tensor:
        """Return features in float64."""
        scaled = (z.double() - self.mean) / self.spread
        rows, columns = torch.triu_indices(scaled.shape[1], scaled.shape[1])
        if len(rows) > MOST_PRODUCTS:
            rows = columns = torch.arange(scaled.shape[1])
        products = scaled[:, rows] * scaled[:, columns]
        waves = torch.cos(scaled @ self.directions + self.phases)
        return torch.cat((torch.ones_like(scaled[:, :1]), scaled, products, waves), dim=1)


@dataclass(frozen=True, eq=False)
class FittedQ:
    """A fitted Q, and what a bootstrap needs of each episode.

    Args:
        features: of (s, a, share of the horizon).
        weights: ``[D]`` of the fit to all episodes.
        gram: ``[B, D, D]`` of each stretch, Σ φφᵀ.
        cross: ``[B, D, D]``, Σ φ·γ(1 − end)·φ̄'ᵀ.
        worth: ``[B, D]``, Σ φ·r.
        first: ``[E, D]`` features of the policy's own first action, mean over draws, of the stretches that begin an episode.
        rounds: of the regression.
    """

    features: Features
    weights: Tensor
    gram: Tensor
    cross: Tensor
    worth: Tensor
    first: Tensor
    rounds: int

    def q(self, obs: Tensor, action: Tensor, step: Tensor) -> Tensor:
        """Return Q ``[N]`` at observations ``[N, O]``, actions ``[N, A]`` and shares of the horizon ``[N]``."""
        return self.features(_z(obs, action, step)) @ self.weights


def fit_q(
    batch: LogBatch,
    next_actions: NextActions,
    first_actions: Tensor,
    *,
    discount: float = 1.0,
    rounds: int,
    horizon: int,
    cosines: int = COSINES,
    seed: int = 0,
    apart: bool = True,
) -> FittedQ:
    """Fit Q of a policy behind its shield to a log.

    Args:
        batch: the log.
        next_actions: policy∘shield at the next states; asked once.
        first_actions: ``[E, M, A]`` of policy∘shield where episodes begin.
        discount: γ; 1 for the return of an episode.
        rounds: of the regression: the steps of an episode, or enough for γ to forget.
        horizon: steps of an episode, by which the share of the next step grows.
        cosines: random features.
        seed: of the random features.
        apart: keep the sums of each stretch apart, as a bootstrap needs them; they take B·D² numbers.
    """
    flat = batch.kept.flatten().nonzero()[:, 0]
    count = batch.kept.shape[1] if apart else 1
    stretch = flat % count
    obs, following = (t.flatten(0, 1)[flat] for t in (batch.obs, batch.next_obs))
    action, step = batch.action.flatten(0, 1)[flat], batch.step.flatten()[flat]
    z = _z(obs, action, step)
    features = Features.fitted(z, cosines=cosines, seed=seed)
    now = features(z)
    goes_on = discount * (~batch.ends.flatten()[flat]).double()
    ahead = _mean_features(features, following, next_actions(flat), step + 1.0 / horizon) * goes_on[:, None]
    size = now.shape[1]
    gram = torch.zeros(count, size, size, dtype=torch.float64)
    cross, worth = torch.zeros_like(gram), torch.zeros(count, size, dtype=torch.float64)
    reward = batch.reward.flatten()[flat].double()
    for index in range(count):
        own = stretch == index
        gram[index], cross[index] = now[own].T @ now[own], now[own].T @ ahead[own]
        worth[index] = now[own].T @ reward[own]
    begins = batch.starts.nonzero()[:, 0]
    first = _mean_features(features, batch.obs[0, begins], first_actions, batch.step[0, begins])
    weights = _rounds(gram.sum(dim=0), cross.sum(dim=0), worth.sum(dim=0), rounds)
    return FittedQ(features, weights, gram, cross, worth, first, rounds)


def values_by_other_features(
    batch: LogBatch,
    next_actions: NextActions,
    first_actions: Tensor,
    *,
    discount: float = 1.0,
    rounds: int,
    horizon: int,
    seed: int = 0,
) -> tuple[float, ...]:
    """Return what the policy is worth by features that might as well have been taken: fewer, more, and others drawn.

    Quadratic ones alone are too stiff for most plants, and twice as many cosines looser than a small log bears. With four times as
    many the interval was wider than it need be, and fewer bad policies were vetoed (docs/studies/offpolicy.py).
    Arguments as of :func:`fit_q`, whose features are those of ``seed``.
    """
    others = ((0, seed), (COSINES, seed + 1), (COSINES, seed + 2), (2 * COSINES, seed), (2 * COSINES, seed + 1))
    settings = {"discount": discount, "rounds": rounds, "horizon": horizon, "apart": False}
    fits = [fit_q(batch, next_actions, first_actions, cosines=n, seed=s, **settings) for n, s in others]  # type: ignore[arg-type]
    return tuple(float((fit.first @ fit.weights).mean()) for fit in fits)


def fitted_q_estimate(
    fitted: FittedQ,
    batch: LogBatch,
    *,
    resamples: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
    possible: tuple[float, float] | None = None,
    others: Sequence[float] = (),
) -> OffPolicyEstimate:
    """Return the mean return of an episode under the policy, with a bootstrap over stretches, widened to what other features say.

    Args:
        fitted: from :func:`fit_q`.
        batch: the same log.
        resamples: of the bootstrap.
        confidence: of the interval.
        seed: of the bootstrap.
        possible: least and greatest return that the logged rewards allow; an interval that reaches beyond is not valid.
        others: from :func:`values_by_other_features`; where one is no number, the log does not tell.
    """
    if batch.distinct_episodes < LEAST_EPISODES:
        told = f"{batch.episodes} episodes, {batch.distinct_episodes} of them no copy of another"
        return off("FQE", f"{told}, expected {LEAST_EPISODES} or more", batch.episodes)
    value = float((fitted.first @ fitted.weights).mean())
    generator = torch.Generator().manual_seed(seed)
    count = fitted.gram.shape[0]
    where = torch.cumsum(batch.starts, dim=0) - 1
    drawn = []
    for _ in range(resamples):
        picked = torch.randint(0, count, (count,), generator=generator)
        times = torch.bincount(picked, minlength=count).double()
        gram, cross, worth = (
            torch.einsum("b,b...->...", times, part) for part in (fitted.gram, fitted.cross, fitted.worth)
        )
        weights = _rounds(gram, cross, worth, fitted.rounds)
        begun = picked[batch.starts[picked]]
        if len(begun):
            drawn.append(float((fitted.first[where[begun]] @ weights).mean()))
    low, high = limits(drawn, count, confidence)
    if not math.isfinite(value) or not math.isfinite(low) or not math.isfinite(high):
        return off("FQE", "the regression does not settle on this log", batch.episodes)
    if not all(map(math.isfinite, others)):
        return off("FQE", "the regression on other features does not settle on this log", batch.episodes)
    low, high = low + min((value, *others)) - value, high + max((value, *others)) - value
    if possible is not None and (low < possible[0] or high > possible[1]):
        told = (
            f"{low:.3g} to {high:.3g} lies beyond what the logged rewards allow, {possible[0]:.3g} to {possible[1]:.3g}"
        )
        return off("FQE", f"{told}: the policy goes where the log has nothing", batch.episodes)
    return OffPolicyEstimate(
        method="FQE",
        valid=True,
        value=value,
        low=low,
        high=high,
        episodes=batch.episodes,
    )


def limits(drawn: Sequence[float], count: int, confidence: float) -> tuple[float, float]:
    """Return the percentile limits of a bootstrap of ``count`` episodes, as far out as so many need."""
    if len(drawn) < 2 or count < 2:
        return math.nan, math.nan
    share = float(special.ndtr(expanded_quantile([count], confidence)))
    ends = torch.quantile(torch.tensor(drawn, dtype=torch.float64), torch.tensor([1 - share, share]).double())
    return float(ends[0]), float(ends[1])


def _rounds(gram: Tensor, cross: Tensor, worth: Tensor, rounds: int) -> Tensor:
    """Regress as often as asked, from Q = 0: w ← (Φᵀ Φ + λ)⁻¹ (Φᵀ r + Φᵀ Φ̄' w)."""
    size = gram.shape[0]
    ridge = RIDGE * gram.diagonal().mean().clamp(min=1e-12)
    factor = torch.linalg.cholesky_ex(gram + ridge * torch.eye(size, dtype=gram.dtype))[0]
    start = torch.cholesky_solve(worth[:, None], factor)[:, 0]
    step = torch.cholesky_solve(cross, factor)
    weights = torch.zeros_like(start)
    for _ in range(rounds):
        weights = start + step @ weights
    return weights


def _mean_features(features: Features, obs: Tensor, actions: Tensor, step: Tensor) -> Tensor:
    """Return the mean over draws of the features ``[N, D]`` at actions ``[N, M, A]``."""
    parts = []
    for first in range(0, len(obs), _ONES_AT_ONCE):
        some = slice(first, first + _ONES_AT_ONCE)
        draws = [features(_z(obs[some], actions[some, draw], step[some])) for draw in range(actions.shape[1])]
        parts.append(torch.stack(draws).mean(dim=0))
    return torch.cat(parts)


def _z(obs: Tensor, action: Tensor, step: Tensor) -> Tensor:
    return torch.cat((obs.double(), action.double(), step.double()[:, None]), dim=1)
