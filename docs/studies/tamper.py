"""One byte of a run folder is changed, a thousand times: does ``verify --deep`` find it, and name the file?

Half of the bytes are drawn from all bytes of the folder, half from a file drawn first. The ledger and a signature over it
are files like any other; the key is given to the verification. Rows go to ``tamper.parquet``, the table to
``docs/results.md``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from results_page import PAGE, put

from fpo_pilot.commands.console import note
from fpo_pilot.commands.verify import deep_faults
from fpo_pilot.errors import LogError
from fpo_pilot.evidence import clopper_pearson_upper
from fpo_pilot.logs.keys import make_key, read_private_key, read_public_key, sign
from fpo_pilot.logs.ledger import FILE, Ledger, kind_of
from fpo_pilot.logs.verify import verify_run

ROWS = Path(__file__).resolve().parent / "tamper.parquet"
SEED, CHANGES = 7000, 1000


def files_to_change(run: Path) -> list[Path]:
    """List every file of a run but locks and leftovers, which hold nothing."""
    return sorted(path for path in run.rglob("*") if path.is_file() and path.suffix != ".tmp" and path.stat().st_size)


def places(files: list[Path], generator: np.random.Generator) -> Iterator[tuple[Path, int, int]]:
    """Yield files, and in each a place and what is added to the byte there, never 0."""
    sizes = np.array([path.stat().st_size for path in files])
    for number in range(CHANGES):
        share = sizes / sizes.sum() if number % 2 else None
        path = files[int(generator.choice(len(files), p=share))]
        yield path, int(generator.integers(path.stat().st_size)), int(generator.integers(1, 256))


def faults_of(run: Path, public: Path) -> list[str]:
    """Return where `verify RUN --pubkey K --deep` finds something."""
    try:
        found = verify_run(run, public_keys=(read_public_key(public),), deep=True)
    except LogError as problem:
        return [str(problem)]
    if not found.intact:
        return [fault.where for fault in found.faults]
    return [fault.where for fault in deep_faults(run)]


def collect(source: Path, folder: Path) -> pd.DataFrame:
    """Change one byte at a time in a copy of a run."""
    run = Path(shutil.copytree(source, folder / "run"))
    make_key(folder / "key", "a passphrase of a study")
    public = folder / "key.pub"
    sign(run, tuple(Ledger(run).records), read_private_key(folder / "key", "a passphrase of a study"))
    if faults_of(run, public):
        raise SystemExit(f"{source}: found faults before any change, expected an intact run: {faults_of(run, public)}")
    rows = []
    generator = np.random.default_rng(SEED)
    for number, (path, place, added) in enumerate(places(files_to_change(run), generator)):
        before = path.read_bytes()
        changed = bytearray(before)
        changed[place] = (changed[place] + added) % 256
        path.write_bytes(changed)
        name = path.relative_to(run).as_posix()
        where = faults_of(run, public)
        path.write_bytes(before)
        kind = "ledger" if name == FILE else "signature" if name.startswith("attestations/") else kind_of(name)
        named = any(one.startswith(name) for one in where)
        rows.append({"file": name, "kind": kind, "place": place, "found": bool(where), "named": named})
        if number % 50 == 0 or not where:
            note(f"{number}: {rows[-1]} {where[:2]}")
    if faults_of(run, public):
        raise SystemExit("found faults after the last byte was put back: the study changed the run itself")
    return pd.DataFrame(rows)


def table_lines(rows: pd.DataFrame) -> list[str]:
    """Return the table of results.md."""
    lines = ["| changed in | changes | found | file named |", "|---|---|---|---|"]
    for kind, part in [*rows.groupby("kind"), ("all", rows)]:
        lines.append(f"| {kind} | {len(part)} | {int(part['found'].sum())} | {int(part['named'].sum())} |")
    missed = len(rows) - int(rows["found"].sum())
    bound = clopper_pearson_upper(missed, len(rows), 0.95)
    return [
        *lines,
        "",
        f"{missed} of {len(rows)} missed: with 95 % confidence fewer than {100 * bound:.2g} % of such changes. {rows['file'].nunique()} "
        f"files were changed. Command: `python docs/studies/tamper.py RUN`, seed {SEED}, on a run of `fpo-pilot demo`, signed.",
    ]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run that verifies, such as one of the demo")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fpo-pilot-tamper-") as name:
        rows = collect(options.run, Path(name))
    rows.to_parquet(ROWS, index=False)
    put("tamper", table_lines(rows))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
