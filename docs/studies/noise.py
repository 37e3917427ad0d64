"""Does an ensemble of critics help where the sensors are bad? The benchmark reactor seen through noise and bias.

Concentration with noise of 0.005 mol/L and a bias of 0.002 mol/L, temperature with 0.5 K and 0.3 K; the policy, and the
critics, see nothing else. Resumable; rows go to ``noise-runs.parquet``, the table to ``docs/results.md``.
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

RUNS = Path(__file__).resolve().parent / "noise-runs.parquet"
BUDGET = Budget(120_000, 512)
TASK = "cstr behind noise and bias"
SENSORS = {
    "Ca": {"noise": {"kind": "gauss", "std": 0.005}, "bias": 0.002},
    "T": {"noise": {"kind": "gauss", "std": 0.5}, "bias": 0.3},
}
VARIANTS = {
    "fpo": "one critic",
    "fpo:critics=5": "mean of five critics",
    "fpo:critics=5,uncertainty_weight=0.5": "five critics, advantages weighted, κ 0.5",
    "fpo:critics=5,uncertainty_weight=2.0": "five critics, advantages weighted, κ 2",
}


def with_bad_sensors(data: dict[str, Any]) -> None:
    """Put the noise and the bias into the plant's spec."""
    for name, sensor in SENSORS.items():
        data["signals"][name]["sensor"] = sensor


def table_lines(runs: pd.DataFrame) -> list[str]:
    """Return the cost of each variant, and its difference to one critic, paired by seed."""
    plain = runs[runs["algorithm"] == "fpo"].set_index("seed")["score"]
    lines = [
        "| critics | n seeds | cost, mean | 95 % interval over seeds | less than one critic by | 95 % interval | s a run |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, label in VARIANTS.items():
        own = runs[runs["algorithm"] == variant].set_index("seed")
        mean, low, high = student_interval(-own["score"].to_numpy())
        gain, least, most = student_interval((own["score"] - plain.loc[own.index]).to_numpy())
        difference = "– | –" if variant == "fpo" else f"{gain:.2f} | {least:.2f} to {most:.2f}"
        lines.append(
            f"| {label} | {len(own)} | {mean:.2f} | {low:.2f} to {high:.2f} | {difference} | {own['seconds'].mean():.0f} |"
        )
    return [
        *lines,
        "",
        f"{runs['steps'].max():,} steps, {runs['episodes'].max()} episodes a run. Command: `make study`.",
    ]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/noise"), help="where the run folders go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    options = parser.parse_args()
    path = variant_plant(options.runs / "project", "cstr", with_bad_sensors)
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
    put("noise", table_lines(runs))
    note(f"wrote {RUNS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
