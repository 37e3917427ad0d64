"""Can "safe" be learned and not only enforced? The semi-batch reactor paid for product alone, with and without a constraint.

The reward's term for the band of quality (± 2 K) is taken out; the constrained variant is told instead that at most 2 % of
its steps may leave it, and a PID-Lagrangian finds the price. Resumable; rows go to ``constraint-runs.parquet``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from results_page import PAGE, put
from variant_plant import collect_variants, variant_plant

from fpo_pilot.commands.console import note
from fpo_pilot.evaluate.comparison import Budget
from fpo_pilot.evidence import student_interval

RUNS = Path(__file__).resolve().parent / "constraint-runs.parquet"
BUDGET = Budget(80_000, 32)
TASK = "poly_semibatch paid for product alone"
LIMIT = 0.02
VARIANTS = {
    "fpo": "fpo, no constraint",
    f"fpo:constraint.limit={LIMIT}": "fpo, PID-Lagrangian",
}


def for_product_alone(data: dict[str, Any]) -> None:
    """Take the soft band out of the reward."""
    data["reward"] = [term for term in data["reward"] if term["name"] != "band"]


def table_lines(runs: pd.DataFrame) -> list[str]:
    """Return the product and the share of steps outside a limit, with and without the constraint."""
    lines = [
        "| training | n seeds | return (t, less trips) | 95 % interval over seeds | steps outside a limit | 95 % interval | each seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, label in VARIANTS.items():
        own = runs[runs["algorithm"] == variant].sort_values("seed")
        mean, low, high = student_interval(own["score"].to_numpy())
        share, least, most = student_interval(own["violation_rate"].to_numpy())
        each = ", ".join(f"{value:.1%}" for value in own["violation_rate"])
        several = len(own) > 1
        scores = f"{low:.2f} to {high:.2f}" if several else "none: one seed"
        shares = f"{max(least, 0.0):.1%} to {most:.1%}" if several else "none: one seed"
        lines.append(f"| {label} | {len(own)} | {mean:.2f} | {scores} | {share:.1%} | {shares} | {each} |")
    return [*lines, "", f"{runs['steps'].max():,} steps. The limit asked for is {LIMIT:.0%}. Command: `make study`."]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/constraint"), help="where the run folders go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    options = parser.parse_args()
    path = variant_plant(options.runs / "project", "poly_semibatch", for_product_alone)
    runs = collect_variants(
        TASK,
        path,
        VARIANTS,
        BUDGET,
        RUNS,
        runs_dir=options.runs,
        seeds=options.seeds,
        processes=options.processes,
    )
    put("constraint", table_lines(runs))
    note(f"wrote {RUNS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
