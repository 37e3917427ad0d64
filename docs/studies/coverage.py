"""How often each interval holds what it should, and each sequence at every look: counted on data whose truth is known.

Returns are negative and skewed, episodes of different lengths, violations sticky, and gates looked at after every block. Rows marked
"on purpose wrong" are what is done elsewhere: they show that the count can find a fault. Rows in ``coverage.parquet``, a table
for ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from coverage_seeds import Case, few_seeds, ten_seeds
from results_page import PAGE, put

from fpo_pilot.commands.console import note, progress
from fpo_pilot.evidence import (
    betting_interval,
    block_length,
    block_means,
    blocks_needed,
    bootstrap_interval,
    clopper_pearson,
    clopper_pearson_upper,
    empirical_bernstein_lower,
    hoeffding_lower,
    log_rate_e_value,
    non_inferiority_gate,
    paired_difference,
    student_interval,
    student_lower,
    tail_mean,
)
from fpo_pilot.evidence.evaluation import Candidate
from fpo_pilot.evidence.gates import difference_gate_on_blocks
from fpo_pilot.evidence.verdict import Pair, judge
from fpo_pilot.specs.safety import DifferenceGate

ROWS = Path(__file__).resolve().parent / "coverage.parquet"
WRONG = "on purpose wrong: "
Floats = np.ndarray[Any, np.dtype[np.float64]]
Draw = Callable[[np.random.Generator, int], Floats]


def normal(generator: np.random.Generator, n: int) -> Floats:
    """Returns about −5, normal."""
    return -5.0 + 3.0 * generator.standard_normal(n)


def skewed(generator: np.random.Generator, n: int) -> Floats:
    """Costs between 0 and 100 with a long tail: −100·Beta(0.5, 3), mean −14.29."""
    return -100.0 * generator.beta(0.5, 3.0, n)


def lengths(generator: np.random.Generator, n: int) -> Floats:
    """Sums of step costs, uniform between −1 and 0, over episodes that end with a chance of 1 in 20 a step, at most 200; mean −10."""
    steps = np.minimum(generator.geometric(0.05, n), 200)
    return np.array([-generator.random(count).sum() for count in steps])


def catastrophe(generator: np.random.Generator, n: int) -> Floats:
    """Nothing, or −100 once in 20 episodes; mean −5."""
    return -100.0 * (generator.random(n) < 0.05)


MEANS: dict[str, tuple[Draw, float, tuple[float, float]]] = {
    "normal": (normal, -5.0, (-math.inf, math.inf)),
    "skewed costs": (skewed, -100.0 * 0.5 / 3.5, (-100.0, 0.0)),
    "variable lengths": (lengths, -0.5 * (1.0 - 0.95**200) / 0.05, (-200.0, 0.0)),
    "rare catastrophes": (catastrophe, -5.0, (-100.0, 0.0)),
}


def sticky(generator: np.random.Generator, episodes: int, steps: int, rate: float) -> Floats:
    """Violations ``[episodes, steps]`` that come seldom and stay: an episode has one with the chance ``rate``, and then for ten steps."""
    has = generator.random(episodes) < rate
    start = generator.integers(0, steps - 10, episodes)
    step = np.arange(steps)
    return np.asarray(has[:, None] & (step >= start[:, None]) & (step < start[:, None] + 10), dtype=np.float64)


def autoregressive(generator: np.random.Generator, n: int, keep: float) -> Floats:
    """A series about 0 that keeps ``keep`` of its value from step to step."""
    noise = generator.standard_normal(n)
    series = np.empty(n)
    series[0] = noise[0] / math.sqrt(1.0 - keep**2)
    for index in range(1, n):
        series[index] = keep * series[index - 1] + noise[index]
    return series


def means() -> Iterator[Case]:
    """Yield the intervals of a mean at one look."""
    for data, (draw, truth, (low, high)) in MEANS.items():
        for n in (20, 60):
            yield (
                "BCa bootstrap",
                data,
                n,
                0.95,
                _covers(lambda x: bootstrap_interval(x, resamples=1999), draw, n, truth),
            )
            yield "Student, two-sided", data, n, 0.95, _student(draw, n, truth)
            yield "Student, lower", data, n, 0.95, _below(student_lower, draw, n, truth)
            if math.isfinite(low):
                yield "Hoeffding, lower", data, n, 0.95, _below(_ranged(hoeffding_lower, low, high), draw, n, truth)
                bernstein = _ranged(empirical_bernstein_lower, low, high)
                yield "empirical Bernstein, lower", data, n, 0.95, _below(bernstein, draw, n, truth)
    yield "paired difference", "skewed costs, 1 better", 40, 0.95, _paired
    yield "tail mean (worst 20 %), lower", "skewed costs", 200, 0.95, _tail


def _covers(
    interval: Callable[[Floats], Any], draw: Draw, n: int, truth: float
) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        found = interval(draw(generator, n))
        return bool(found.low <= truth <= found.high)

    return once


def _student(draw: Draw, n: int, truth: float) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        _, low, high = student_interval(draw(generator, n))
        return low <= truth <= high

    return once


def _ranged(limit: Callable[..., float], low: float, high: float) -> Callable[[Floats], float]:
    return lambda values: limit(values, low, high)


def _below(limit: Callable[[Floats], float], draw: Draw, n: int, truth: float) -> Callable[[np.random.Generator], bool]:
    return lambda generator: limit(draw(generator, n)) <= truth


def _paired(generator: np.random.Generator) -> bool:
    shared = skewed(generator, 40)
    ours = shared + 1.0 + 2.0 * generator.standard_normal(40)
    found = paired_difference(ours, shared)
    return found.low <= 1.0 <= found.high


WORST = float(np.sort(skewed(np.random.default_rng(99), 4_000_000))[:800_000].mean())
"""Of four million values: its error is 1 in 2,000 of it, far below the distance of the limit."""


def _tail(generator: np.random.Generator) -> bool:
    return tail_mean(skewed(generator, 200), -100.0, 0.0, share=0.2).low <= WORST


def verdicts() -> Iterator[Case]:
    """Yield the offline verdict where the policy is worse by exactly the margin: covered is a replication that does not pass."""
    for data, (draw, truth) in DIFFERENCES.items():
        for n in (20, 30, 60):
            yield (
                "offline verdict does not pass",
                f"{data}, difference at −margin",
                n,
                0.975,
                _not_passed(draw, truth, n),
            )
    for n in (2, 8, 20):
        text = "normal, difference at −margin"
        yield "lower end of the BCa bootstrap alone", text, n, 0.975, _below_bootstrap(n)


DIFFERENCES: dict[str, tuple[Draw, float]] = {
    "normal": (normal, -5.0),
    "skewed costs": (skewed, MEANS["skewed costs"][1]),
    "rare catastrophes and noise": (lambda g, n: catastrophe(g, n) + g.standard_normal(n), -5.0),
}


def _not_passed(draw: Draw, truth: float, n: int) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        pair = Pair("nominal", draw(generator, n), np.zeros(n), 0, 0, deterministic=False)
        found = judge(Candidate(arm="a"), Candidate(arm="b"), [pair], margin=-truth, confidence=0.95, seed=0)
        return found.result != "pass"

    return once


def _below_bootstrap(n: int) -> Callable[[np.random.Generator], bool]:
    draw, truth, _ = MEANS["normal"]
    return lambda generator: bootstrap_interval(draw(generator, n), resamples=1999).low <= truth


def rates() -> Iterator[Case]:
    """Yield the intervals of a rate at one look: of independent episodes, and of sticky steps."""
    for p, n in ((0.05, 59), (0.01, 299), (0.3, 40)):
        yield "Clopper–Pearson", f"rate {p:g}", n, 0.95, _rate(p, n)
    yield (
        "Clopper–Pearson upper, on episodes",
        "sticky violations, 5 % of episodes",
        100,
        0.95,
        _sticky(by_episode=True),
    )
    yield (
        f"{WRONG}Clopper–Pearson upper, on steps",
        "sticky violations, 5 % of episodes",
        5000,
        0.95,
        _sticky(by_episode=False),
    )


def _rate(p: float, n: int) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        low, high = clopper_pearson(int((generator.random(n) < p).sum()), n)
        return low <= p <= high

    return once


def _sticky(*, by_episode: bool) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        seen = sticky(generator, 100, 50, 0.05)
        if by_episode:
            return clopper_pearson_upper(int(seen.any(axis=1).sum()), 100) >= 0.05
        return clopper_pearson_upper(int(seen.sum()), seen.size) >= 0.05 * 10 / 50

    return once


def looks() -> Iterator[Case]:
    """Yield what is looked at after every block: covered is a replication in which no look at all was wrong."""
    for limit, blocks in ((0.05, 600), (0.01, 2000)):
        yield "rate e-process", f"rate at the limit {limit:g}, every look", blocks, 0.95, _e_process(limit, blocks)
        yield (
            f"{WRONG}Clopper–Pearson",
            f"rate at the limit {limit:g}, every look",
            blocks,
            0.95,
            _peeking(limit, blocks),
        )
    for data, (draw, truth, (low, high)) in MEANS.items():
        if math.isfinite(low):
            yield "betting sequence", f"{data}, every look", 200, 0.95, _betting(draw, truth, low, high, 200)
    yield f"{WRONG}Student", "skewed costs, every look from 10", 200, 0.95, _student_peeking
    yield "non-inferiority gate never passes", "difference at −margin, every look", 60, 0.95, _gate
    sticky = "difference at −margin that keeps 90 %, every look"
    yield "non-inferiority gate never passes", sticky, 60, 0.95, _sticky_gate(asked=True)
    yield f"{WRONG}the same, whatever neighbours have in common", sticky, 60, 0.95, _sticky_gate(asked=False)


def _e_process(limit: float, blocks: int) -> Callable[[np.random.Generator], bool]:
    target = math.log(20.0)
    first = blocks_needed(limit)  # with fewer blocks nothing can be certified, whatever they say

    def once(generator: np.random.Generator) -> bool:
        seen = np.cumsum(generator.random(blocks) < limit)
        return not any(
            seen[n - 1] / n < limit and log_rate_e_value(int(seen[n - 1]), n, limit) >= target
            for n in range(first, blocks + 1)
        )

    return once


def _peeking(limit: float, blocks: int) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        seen = np.cumsum(generator.random(blocks) < limit)
        return not any(clopper_pearson_upper(int(seen[n - 1]), n) < limit for n in range(1, blocks + 1, 5))

    return once


def _betting(draw: Draw, truth: float, low: float, high: float, n: int) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        lower, upper = betting_interval(draw(generator, n), low, high)  # the running intersection: every look at once
        return lower <= truth <= upper

    return once


def _student_peeking(generator: np.random.Generator) -> bool:
    values, truth = skewed(generator, 200), MEANS["skewed costs"][1]
    for n in range(10, 201):
        _, low, high = student_interval(values[:n])
        if not low <= truth <= high:
            return False
    return True


GATE = DifferenceGate(id="G", margin=5.0, range=(-100.0, 100.0))


def _gate(generator: np.random.Generator) -> bool:
    differences = -5.0 + 60.0 * (generator.beta(2.0, 2.0, 60) - 0.5)
    return not any(non_inferiority_gate(GATE, differences[:n]).verdict == "pass" for n in range(4, 61, 2))


def _sticky_gate(*, asked: bool) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        differences = np.clip(-5.0 + 13.0 * autoregressive(generator, 60, 0.9), *GATE.range)
        for n in range(4, 61, 2):
            if (difference_gate_on_blocks if asked else non_inferiority_gate)(GATE, differences[:n]).verdict == "pass":
                return False
        return True

    return once


def series() -> Iterator[Case]:
    """Yield the intervals of the mean of a long series of steps."""
    yield "Student on block means", "series that keeps 95 %", 20_000, 0.95, _blocks(by_block=True)
    yield f"{WRONG}Student on steps", "series that keeps 95 %", 20_000, 0.95, _blocks(by_block=False)


def _blocks(*, by_block: bool) -> Callable[[np.random.Generator], bool]:
    def once(generator: np.random.Generator) -> bool:
        series = autoregressive(generator, 20_000, 0.95)
        size = block_length(series) if by_block else 1
        if size is None:
            return True
        _, low, high = student_interval(block_means(series, size))
        return low <= 0.0 <= high

    return once


def count(cases: list[Case], replications: int, seed: int) -> pd.DataFrame:
    """Count the covered replications of every case."""
    rows, began = [], time.perf_counter()
    with progress("coverage", float(len(cases)), quiet=False) as report:
        for index, (interval, data, n, nominal, once) in enumerate(cases):
            generator = np.random.default_rng([seed, index])
            covered = sum(once(generator) for _ in range(replications))
            rows.append(
                {
                    "interval": interval,
                    "data": data,
                    "n": n,
                    "nominal": nominal,
                    "covered": covered,
                    "of": replications,
                    "seed": seed,
                }
            )
            report(index + 1.0, f"{interval}, {data}: {time.perf_counter() - began:.0f} s")
    return pd.DataFrame(rows)


def lines_of(rows: pd.DataFrame) -> list[str]:
    """Return the table."""
    lines = ["| interval or sequence | data | n | nominal | covered (95 % interval) | |", "|---|---|---|---|---|---|"]
    for row in rows.itertuples():
        low, high = clopper_pearson(int(row.covered), int(row.of))
        word = "short of nominal" if high < row.nominal else "kept, with room" if low > row.nominal else "kept"
        lines.append(
            f"| {row.interval} | {row.data} | {row.n:,} | {100 * row.nominal:g}% "
            f"| {row.covered / row.of:.1%} ({low:.1%} to {high:.1%}) | {word} |"
        )
    return [
        *lines,
        "",
        f"{rows['of'].iloc[0]:,} replications each, seed {rows['seed'].iloc[0]}. Command: `python docs/studies/coverage.py`.",
    ]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cases = [*means(), *rates(), *looks(), *ten_seeds(), *series(), *verdicts(), *few_seeds()]
    rows = count(cases, options.replications, options.seed)
    rows.to_parquet(ROWS, index=False)
    put("coverage", lines_of(rows))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
