"""``fpo-pilot ope``: what a log says of a policy that did not write it; exit code 1 on a veto and where there is no answer."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fpo_pilot.commands.console import note, say, say_json, table
from fpo_pilot.errors import PolicyError
from fpo_pilot.logs.atomic import without_nan, write_json_atomic
from fpo_pilot.logs.manifest import Manifest
from fpo_pilot.logs.writing import writing
from fpo_pilot.specs import load_evaluation_spec, spec_hash

if TYPE_CHECKING:
    from fpo_pilot.evaluate.offpolicy.judgement import OffPolicyRecord
    from fpo_pilot.learn import Deployment, TrainedPolicy


def run_ope(
    run_dir: Path,
    log: Path,
    *,
    arms: Sequence[str],
    margin: float | None,
    draws: int,
    seed: int,
    as_json: bool,
    stages: Sequence[str] = (),
    modes: Sequence[str] = (),
) -> int:
    """Judge the policy of ``run_dir`` by a log, write offpolicy.json, and print the estimates and the answer."""
    from fpo_pilot.evaluate.offpolicy.judgement import FILE

    record = judge_run(run_dir, log, arms=arms, margin=margin, draws=draws, seed=seed, stages=stages, modes=modes)
    with writing(run_dir, "ope", (FILE,)):
        write_json_atomic(run_dir / FILE, without_nan(record.model_dump(mode="json")))
    if as_json:
        say_json(without_nan(record.model_dump(mode="json")))
    else:
        _show(record, run_dir)
    return 0 if record.answer.result == "no veto" else 1


def judge_run(
    run_dir: Path,
    log: Path,
    *,
    arms: Sequence[str],
    margin: float | None,
    draws: int,
    seed: int,
    stages: Sequence[str] = (),
    modes: Sequence[str] = (),
) -> OffPolicyRecord:
    """Estimate what the policy of ``run_dir`` is worth from the episodes of ``arms`` in ``log``.

    Of the log only rows of ``stages`` and ``modes`` count, where any are named.
    """
    import numpy as np

    from fpo_pilot.evaluate.offpolicy.density import density_of, saturated, with_density
    from fpo_pilot.evaluate.offpolicy.judgement import OffPolicyRecord, estimate_all, judge_policy, returns_of
    from fpo_pilot.evaluate.offpolicy.log import BehindShield, lacking, read_batch
    from fpo_pilot.evidence import bootstrap_interval
    from fpo_pilot.learn import load_policy
    from fpo_pilot.plants.load import load_plant

    manifest = Manifest.read(run_dir)
    plant = load_plant(manifest.plant)
    accepted = load_evaluation_spec(plant.name).margin if margin is None else _checked_margin(margin)
    policy = load_policy(run_dir)
    deployment = _deployment(run_dir, policy)
    batch, logged = read_batch(log, plant, tuple(arms), {"stage": stages, "mode": modes})
    said, unknown = ("none" if batch.log_density is None else "known"), ""
    if batch.log_density is None:
        batch, unknown = with_density(batch, logged, log)
        unknown = lacking(logged) or unknown
        said = "none" if batch.log_density is None else "recomputed"
    acting = policy.deploy(deployment)
    noisy = deployment.noise_scale > 0.0
    behind = BehindShield(
        plant, lambda obs, noise: acting.act(obs, noise)[0], draws=draws if noisy else 1, seed=seed, noisy=noisy
    )
    density, reason = density_of(policy, deployment)
    lost = saturated(policy, logged)
    density, reason = (None, lost) if lost and density is not None else (density, reason)
    estimates = estimate_all(
        batch,
        logged,
        behind,
        horizon=plant.horizon,
        log_density=density,
        no_density=reason,
        unknown=unknown,
        seed=seed,
    )
    answer, beyond, worth = judge_policy(estimates, batch, logged, behind, margin=accepted)
    interval = bootstrap_interval(np.asarray(returns_of(batch)), 0.95, seed)
    words = ["fpo-pilot", "ope", str(run_dir), "--log", str(log), "--arms", ",".join(arms), "--margin", f"{accepted:g}"]
    words += [word for stage in stages for word in ("--stage", stage)]
    words += [word for mode in modes for word in ("--mode", mode)]
    return OffPolicyRecord(
        plant=plant.name,
        command=shlex.join([*words, "--draws", str(draws), "--seed", str(seed)]),
        seed=seed,
        deployment=deployment.label,
        log=str(log),
        log_root=logged.source.ledger_root,
        arms=tuple(arms),
        stages=tuple(stages),
        modes=tuple(modes),
        behavior_density=said,
        draws=behind.draws,
        episodes=batch.episodes,
        rows=int(batch.kept.sum()),
        logged_return=worth,
        logged_low=interval.low,
        logged_high=interval.high,
        margin=accepted,
        beyond=beyond,
        estimates=estimates,
        answer=answer,
        hashes={
            "model": manifest.hashes.get("model"),
            "plant": spec_hash(plant.spec),
            "safety": None if plant.safety is None else spec_hash(plant.safety),
        },
    )


def _checked_margin(margin: float) -> float:
    """Return it; nothing is below a return less NaN or infinity, and so nothing would ever be vetoed."""
    if not math.isfinite(margin) or margin < 0.0:
        raise PolicyError(
            f"--margin: found {margin}, expected a number that is not negative. Give one, or leave it out."
        )
    return margin


def _deployment(run_dir: Path, policy: TrainedPolicy) -> Deployment:
    """Return the deployment that the offline evaluation chose; without one, that without noise."""
    from fpo_pilot.commands.deployment import deployment_of, evaluation_of
    from fpo_pilot.learn import Deployment

    evaluation = evaluation_of(run_dir, policy)
    if evaluation is None:
        note(f"{run_dir}: no offline evaluation has chosen a deployment; judged without noise.")
        return Deployment()
    return deployment_of(evaluation, run_dir)


def _show(record: OffPolicyRecord, run_dir: Path) -> None:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    table(
        f"{record.plant}: mean return of an episode, {record.deployment}, from {record.episodes} logged episodes",
        ("method", "estimate", "95 % interval", "effective", "largest weight", "note"),
        (
            (
                one.method,
                number(one.value),
                f"{number(one.low)} to {number(one.high)}" if one.valid else "–",
                number(one.effective_sample_size),
                "–" if one.largest_weight_share is None else f"{one.largest_weight_share:.1%}",
                one.reason or "; ".join(one.warnings),
            )
            for one in record.estimates
        ),
    )
    low, high = number(record.logged_low), number(record.logged_high)
    say(
        f"the log ({', '.join(record.arms)}): {number(record.logged_return)} ({low} to {high}); margin {record.margin:g}"
    )
    say(f"beyond the log: {record.beyond:.1%} of the policy's actions")
    say(f"answer: {record.answer.result.upper()}. {'; '.join(record.answer.reasons)}")
    say(f"written: {run_dir / 'offpolicy.json'}")


def check_arms(text: str) -> tuple[str, ...]:
    """Split names of arms.

    Raises:
        PolicyError: there is none.
    """
    arms = tuple(part.strip() for part in text.split(",") if part.strip())
    if not arms:
        raise PolicyError("--arms: found none, expected who drove in the episodes to judge by, such as incumbent.")
    return arms
