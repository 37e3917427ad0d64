"""All estimators on one log and one policy, and the answer that follows."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from fpo_pilot.evaluate.offpolicy.atoms import share_on_a_limit
from fpo_pilot.evaluate.offpolicy.batch import LogBatch
from fpo_pilot.evaluate.offpolicy.density import LogDensity
from fpo_pilot.evaluate.offpolicy.estimate import OffPolicyEstimate, off
from fpo_pilot.evaluate.offpolicy.fitted_q import (
    FittedQ,
    NextActions,
    fit_q,
    fitted_q_estimate,
    values_by_other_features,
)
from fpo_pilot.evaluate.offpolicy.importance import kernel_log_ratio, per_decision, weighted_doubly_robust
from fpo_pilot.evaluate.offpolicy.log import BehindShield
from fpo_pilot.evaluate.offpolicy.support import support
from fpo_pilot.evaluate.offpolicy.veto import Answer, decide
from fpo_pilot.learn.logged import LoggedEpisodes

FILE = "offpolicy.json"
KERNEL_WIDTH = 0.15
"""Of the kernel around a deterministic policy, in half spans of the actions."""


class OffPolicyRecord(BaseModel):
    """What is written of one policy on one log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plant: str
    command: str = ""
    seed: int = 0
    """Of features, bootstraps and the policy's draws."""
    deployment: str
    log: str
    log_root: str
    arms: tuple[str, ...]
    stages: tuple[str, ...] = ()
    """Of the log; none named for all."""
    modes: tuple[str, ...] = ()
    """How a policy was deployed that wrote the log; none named for all."""
    behavior_density: str
    """Of the log's proposals: ``known`` by a column, ``recomputed`` from the weights that drove, or ``none``."""
    draws: int
    episodes: int
    rows: int
    logged_return: float
    logged_low: float
    logged_high: float
    margin: float
    beyond: float
    """Share of the policy's actions beyond the log."""
    estimates: tuple[OffPolicyEstimate, ...]
    answer: Answer
    hashes: dict[str, str | None]


def estimate_all(
    batch: LogBatch,
    logged: LoggedEpisodes,
    behind: BehindShield,
    *,
    horizon: int,
    log_density: LogDensity | None,
    no_density: str,
    unknown: str = "",
    seed: int = 0,
) -> tuple[OffPolicyEstimate, ...]:
    """Estimate the mean return of an episode by every method; those that are not valid say why.

    Args:
        batch: the log.
        logged: the same, with readings.
        behind: the policy behind its shield.
        horizon: steps of an episode.
        log_density: of the policy's proposals; None where it has none.
        no_density: why it has none.
        unknown: why the density of the log is not known, where there is more to say than that.
        seed: of features and bootstraps.
    """
    known = batch.log_density is not None
    on_limit = share_on_a_limit(behind.plant, batch, logged.proposal) if known else 0.0
    if on_limit > 0.0:
        unknown = f"{on_limit:.1%} of the logged proposals lie on a limit of range or rate: what was asked for there is not known"
    ahead, at_start = _asked_once(behind.ahead(logged)), behind.at_start(logged, batch.starts)
    fitted = fit_q(batch, ahead, at_start, rounds=horizon, horizon=horizon, seed=seed)
    others = values_by_other_features(batch, ahead, at_start, rounds=horizon, horizon=horizon, seed=seed)
    kept = batch.reward[batch.kept]
    possible = (horizon * min(0.0, float(kept.min())), horizon * max(0.0, float(kept.max())))
    found = [fitted_q_estimate(fitted, batch, seed=seed, possible=possible, others=others)]
    q, v = _values(fitted, batch, logged, behind)
    ratio = None
    if batch.log_density is not None and log_density is not None:
        flat = log_density(batch.obs.flatten(0, 1), logged.proposal.flatten(0, 1)).reshape(batch.kept.shape)
        ratio = torch.where(batch.kept, flat.double() - batch.log_density, 0.0)
    if ratio is not None and not bool(torch.isfinite(ratio).all()):
        ratio, no_density = None, "the policy's density cannot be computed at every logged proposal"
    if unknown:
        return (*found, *(off(name, unknown, batch.episodes) for name in ("SN-PDIS", "WDR", "kernel-WDR")))
    if known and ratio is None:
        found += [off("SN-PDIS", no_density, batch.episodes), off("WDR", no_density, batch.episodes)]
    else:
        found += [per_decision(batch, ratio, seed=seed), weighted_doubly_robust(batch, ratio, q, v, seed=seed)]
    found.append(_kernel(batch, logged, behind, q, v, seed))
    return tuple(found)


def judge_policy(
    estimates: tuple[OffPolicyEstimate, ...],
    batch: LogBatch,
    logged: LoggedEpisodes,
    behind: BehindShield,
    *,
    margin: float,
) -> tuple[Answer, float, float]:
    """Return the answer, the share of actions beyond the log, and the mean logged return."""
    beyond = support(batch, behind.at_logged(logged))
    worth = float(returns_of(batch).mean())
    return decide(estimates, beyond, worth, margin=margin), beyond, worth


def returns_of(batch: LogBatch) -> Tensor:
    """Return the return of each whole episode of the log."""
    whole = batch.starts & (batch.ends & batch.kept).any(dim=0)
    return torch.where(batch.kept, batch.reward.double(), 0.0).sum(dim=0)[whole]


def _asked_once(actions: NextActions) -> NextActions:
    """Remember the answer: every fit asks for the same rows, and a shield takes its time."""
    answers: list[Tensor] = []

    def once(rows: Tensor) -> Tensor:
        if not answers:
            answers.append(actions(rows))
        return answers[0]

    return once


def _values(fitted: FittedQ, batch: LogBatch, logged: LoggedEpisodes, behind: BehindShield) -> tuple[Tensor, Tensor]:
    """Return Q at the logged actions and V, one draw, at the logged states, ``[T, B]``."""
    obs, step = batch.obs.flatten(0, 1), batch.step.flatten()
    own = behind.at_logged(logged).flatten(0, 1)
    shape = batch.kept.shape
    return fitted.q(obs, batch.action.flatten(0, 1), step).reshape(shape), fitted.q(obs, own, step).reshape(shape)


def _kernel(
    batch: LogBatch, logged: LoggedEpisodes, behind: BehindShield, q: Tensor, v: Tensor, seed: int
) -> OffPolicyEstimate:
    if batch.log_density is None:
        return weighted_doubly_robust(batch, None, q, v, seed=seed, name="kernel-WDR")
    if behind.noisy:
        return off("kernel-WDR", "it is for a policy that draws nothing", batch.episodes)
    own = behind.act(batch.obs.flatten(0, 1), torch.Generator().manual_seed(behind.seed)).reshape(logged.proposal.shape)
    density = torch.where(batch.kept, batch.log_density, 0.0)
    ratio = kernel_log_ratio(logged.proposal.double() - own.double(), KERNEL_WIDTH, density)
    estimate = weighted_doubly_robust(batch, torch.where(batch.kept, ratio, 0.0), q, v, seed=seed, name="kernel-WDR")
    told = f"biased by its kernel, {KERNEL_WIDTH:g} half spans wide"
    return estimate.model_copy(update={"warnings": (*estimate.warnings, told)})
