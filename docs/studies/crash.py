"""Crashes: a process that writes the step log is killed, the log is opened again, and what is there is counted.

SIGKILL at each numbered step of the protocol, ten times each at a chance occurrence of it, and at a hundred random
moments; writers on a disk that is full (where tmpfs can be mounted); then roll-outs of a trained run, by the command
line, killed at random moments and run again. Each row of the log is a function of its number, so that a row that came
back otherwise is found. Rows go to ``crash.parquet``, the table to ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from results_page import PAGE, put

from fpo_pilot.commands.console import note
from fpo_pilot.errors import LogError
from fpo_pilot.evidence import clopper_pearson_upper
from fpo_pilot.logs import protocol, wal
from fpo_pilot.logs.reader import read_steps, stages
from fpo_pilot.logs.recovery import read_wal
from fpo_pilot.logs.verify import verify_run
from fpo_pilot.logs.wal import wal_files
from fpo_pilot.logs.writer import StepLog
from fpo_pilot.logs.writing import ROLLOUT, writing

ROWS = Path(__file__).resolve().parent / "crash.parquet"
SEED, AT_A_STEP, AT_RANDOM, ROLLOUTS = 6000, 10, 100, 20
SEGMENT, TOTAL, BATCH, MORE = 240, 40_000, 40, 20
LONGEST = 25.0
"""Seconds that a roll-out has before it is killed: enough for some to have authority."""
SCHEMA = pa.schema(
    [
        ("t", pa.timestamp("ns", tz="UTC")),
        ("seq", pa.int64()),
        ("stage", pa.dictionary(pa.int32(), pa.string())),
        ("episode_id", pa.int64()),
        ("obs.x", pa.float32()),
        ("obs.y", pa.float64()),
        ("shield.reasons", pa.list_(pa.string())),
    ]
)


def row_of(seq: int) -> dict[str, Any]:
    """Return the row with a number: any other content is a loss."""
    reasons = ["rate"] * (seq % 3)
    return {"t": seq * 10**9, "episode_id": seq // 100, "obs.x": seq / 7, "obs.y": seq / 11, "shield.reasons": reasons}


def columns_of(first: int, count: int) -> dict[str, Any]:
    """Return the rows from ``first`` on as columns."""
    rows = [row_of(seq) for seq in range(first, first + count)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def write(run: Path, rows: int, acknowledged: Callable[[int], object]) -> None:
    """Write rows as a roll-out does, singly and now and then a batch; tell after each call how many there are."""
    with writing(run, "rollout", ROLLOUT), StepLog(run, "shadow", SCHEMA, rows_per_segment=SEGMENT) as log:
        end = log.next_seq + rows
        while log.next_seq < end:
            if log.next_seq % 200 == 150:
                log.append(columns_of(log.next_seq, BATCH))
            else:
                log.append_row(row_of(log.next_seq))
            acknowledged(log.next_seq)
            if log.next_seq % 100 == 99:
                log.sync()  # as at the end of a block


def forked(work: Callable[[], object]) -> int:
    """Start ``work`` in a process of its own; this one never touches a log, so that nothing of it is inherited."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as problem:  # noqa: BLE001  # whatever it is, the child must not go on as the study
        sys.stderr.write(f"{problem!r}\n")
        os._exit(1)


def kill_at(step: str, occurrence: int) -> None:
    """Have this process killed when a step is reached for the ``occurrence``-th time from now."""
    left = [occurrence]

    def listen(name: str) -> None:
        if name == step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    protocol.listen(listen)


def killed(run: Path, step: str | None, generator: np.random.Generator) -> dict[str, Any]:
    """Write until killed, at a step or a moment; return what was acknowledged by then, and where it was."""
    shared = mmap.mmap(-1, 8)

    def tell(rows: int) -> None:
        struct.pack_into("<q", shared, 0, rows)

    recovering = step is not None and step.startswith("recovery")
    occurrence = int(generator.integers(1, 400 if recovering or step == "rows appended" else 6))

    def work() -> None:
        if step is not None:
            kill_at("rows appended" if recovering else step, occurrence)
        write(run, TOTAL, tell)

    began = time.monotonic()
    child = forked(work)
    if step is None:
        time.sleep(float(generator.uniform(0.02, 0.6)))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if recovering and step is not None:

        def recover() -> None:
            kill_at(step, 1)
            write(run, MORE, tell)

        status = os.waitpid(forked(recover), 0)[1]
    return {
        "occurrence": occurrence,
        "killed": os.WIFSIGNALED(status),
        "after_s": time.monotonic() - began,
        "acknowledged": struct.unpack_from("<q", shared, 0)[0],
    }


def reopened(run: Path) -> dict[str, Any]:
    """Open the log again, go on, and look at everything; in a process of its own."""
    reading, writing_end = os.pipe()

    def work() -> None:
        waiting = sum(read_wal(path).rows for path in wal_files(run))
        with writing(run, "rollout", ROLLOUT) as held, StepLog(run, "shadow", SCHEMA) as log:
            found = log.next_seq
            for _ in range(MORE):
                log.append_row(row_of(log.next_seq))
        table = read_steps(run)
        expected = columns_of(0, found + MORE)
        same = all(
            np.array_equal(table[name].to_numpy(), np.asarray(expected[name], table[name].to_numpy().dtype))
            for name in ("episode_id", "obs.x", "obs.y")
        )
        same &= table["seq"].to_pylist() == list(range(found + MORE))
        same &= table["shield.reasons"].to_pylist() == expected["shield.reasons"]
        checked = verify_run(run, deep=True)
        facts = {"found": found, "waiting": waiting, "same": same, "intact": checked.intact, "notes": len(held.notes)}
        os.write(writing_end, json.dumps(facts).encode())

    status = os.waitpid(forked(work), 0)[1]
    os.close(writing_end)
    facts = json.loads(os.read(reading, 65_536) or b"{}")
    os.close(reading)
    return {"resumed": status == 0, **facts}


def writers(folder: Path) -> list[dict[str, Any]]:
    """Kill writers at every step and at random moments."""
    generator = np.random.default_rng(SEED)
    plan = [step for step in protocol.STEPS for _ in range(AT_A_STEP)] + [None] * AT_RANDOM
    rows = []
    for number, step in enumerate(plan):
        run = folder / f"writer-{number:03d}"
        row = {"what": step or "a random moment", **killed(run, step, generator)}
        row |= reopened(run)
        row["lost"] = max(row["acknowledged"] - row.get("found", 0), 0)
        rows.append(row)
        shutil.rmtree(run)
        note(f"{number + 1} of {len(plan)}: {row}")
    return rows


def full_disk(place: Path, *, checked: bool) -> dict[str, Any] | None:
    """Write until a small disk in memory takes no more; make room, open the log again and look.

    Args:
        place: an empty folder to mount it at.
        checked: whether the log may ask for the room that is left; otherwise only the write finds out.

    Returns:
        None where nothing can be mounted.
    """
    size = 40 if checked else 8
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place)], check=False).returncode:
        return None
    shared = mmap.mmap(-1, 16)

    def work() -> None:
        if not checked:
            wal.RESERVE = -(2**40)
        log = StepLog(place / "run", "shadow", SCHEMA)
        try:
            while True:
                log.append_row(row_of(log.next_seq))
                struct.pack_into("<q", shared, 0, log.next_seq)
        except LogError:
            struct.pack_into("<q", shared, 8, 1)
        try:
            log.close()
        except LogError:
            log.abandon()  # there is no room for a segment: the rows stay where they are

    try:
        os.waitpid(forked(work), 0)
        subprocess.run(["mount", "-o", "remount,size=400m", str(place)], check=True)
        rows, refused = struct.unpack_from("<qq", shared, 0)
        row = {"killed": False, "acknowledged": rows, "refused": bool(refused), **reopened(place / "run")}
    finally:
        subprocess.run(["umount", str(place)], check=True)
    return {"what": f"a full disk, {'as the log asks' if checked else 'as the write fails'}", **row}


def full_disks(folder: Path) -> list[dict[str, Any]]:
    """Fill small disks, three each way."""
    tries = [full_disk(folder / f"disk-{number}", checked=number < 3) for number in range(6)]
    rows = [{**row, "lost": max(row["acknowledged"] - row.get("found", 0), 0)} for row in tries if row is not None]
    for row in rows:
        note(f"{row}")
    return rows


def rollout(source: Path, folder: Path, generator: np.random.Generator) -> dict[str, Any]:
    """Kill a roll-out by the command line at a random moment after its first row; run it again; look."""
    run = folder / "rollout"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    for name in (
        "manifest.json",
        "metrics.parquet",
        "checkpoints",
        "evaluation.json",
        "episodes.parquet",
        "selection.parquet",
        "worst.json",
        "worst.parquet",
    ):
        (shutil.copytree if (source / name).is_dir() else shutil.copy2)(source / name, run / name)
    shutil.copytree(source / "steps" / "stage=offline", run / "steps" / "stage=offline")
    with writing(run, "copy", (), begin_ledger=True):
        pass
    command = [sys.executable, "-m", "fpo_pilot.cli"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "rollout", str(run), "--max-episodes", "200", "--json"], **quiet)
    while not wal_files(run) and process.poll() is None:
        time.sleep(0.02)
    wait = float(generator.uniform(0.0, LONGEST))
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = sum(read_wal(path).rows for path in wal_files(run)) + rollout_rows(run)
    again = subprocess.run([*command, "rollout", str(run), "--max-episodes", "2", "--json"], check=False, **quiet)
    verified = subprocess.run([*command, "verify", str(run), "--deep", "--json"], check=False, **quiet)
    earlier = run / "earlier" / "rollout-000"
    before, after = read_steps(earlier), read_steps(run, "shadow")
    numbers = np.sort(before["seq"].to_numpy())
    return {
        "what": "a roll-out",
        "killed": process.returncode == -signal.SIGKILL,
        "after_s": wait,
        "acknowledged": whole,
        "found": before.num_rows,
        "lost": max(whole - before.num_rows, 0),
        "same": np.array_equal(numbers, np.arange(len(numbers))),
        "intact": verified.returncode == 0,
        "resumed": again.returncode in (0, 1),
        "authority_before": float(np.nanmax(before["authority"].to_numpy())),
        "authority_after": float(np.nanmax(after["authority"].to_numpy()[:1])),
    }


def rollout_rows(run: Path) -> int:
    """Count the rows of a roll-out that are in segments."""
    return sum(read_steps(run, stage).num_rows for stage in stages(run) if stage != "offline")


def table_lines(rows: pd.DataFrame) -> list[str]:
    """Return the table of results.md."""
    head = (
        "killed at",
        "n",
        "rows acknowledged",
        "lost (95 % upper bound on a kill that loses one)",
        "all rows as written",
    )
    lines = ["| " + " | ".join((*head, "goes on", "`verify --deep`")) + " |", "|" + "---|" * 7]
    for what, part in rows.groupby("what", sort=False):
        n, losing = len(part), int((part["lost"] > 0).sum())
        bound = clopper_pearson_upper(losing, n, 0.95)
        cells = [f"{int(part[name].fillna(False).astype(bool).sum())} of {n}" for name in ("same", "resumed", "intact")]
        lost = f"{int(part['lost'].sum())} ({100 * bound:.2g} %)"
        lines.append(f"| {what} | {n} | {int(part['acknowledged'].sum()):,} | {lost} | {' | '.join(cells)} |")
    kills = rows[~rows["what"].str.startswith("a full disk")]
    lines += ["", f"Of {len(kills)} processes {int(kills['killed'].sum())} were killed."]
    disks = rows[rows["what"].str.startswith("a full disk")]
    if len(disks):
        lines.append(
            f"Full disks are of memory (tmpfs, 40 and 8 MiB); each of {len(disks)} writers was refused a row "
            f"({int(disks['refused'].sum())} of {len(disks)}), and the log was opened again when there was room."
        )
    drives = rows[rows["what"] == "a roll-out"]
    if len(drives):
        used = drives["authority_before"]
        lines.append(
            f"Roll-outs were killed 0 to {LONGEST:g} s after their first row, {int((used > 0).sum())} of {len(drives)} of them "
            f"with the policy at an authority up to {used.max():.2g}; each began again in shadow, with authority "
            f"{drives['authority_after'].max():g}. Their count of acknowledged rows is what could be read in segments and "
            "write-ahead log right after the kill."
        )
    return [
        *lines,
        "",
        f"Command: `python docs/studies/crash.py --run RUN`, seed {SEED}. Machine: two CPU cores, x86_64, Python 3.11.7.",
    ]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run",
        type=Path,
        help="a trained and evaluated run, to be rolled out and killed; without it earlier rows stay",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fpo-pilot-crash-") as name:
        folder = Path(name)
        found = writers(folder) + full_disks(folder)
        if options.run is None and ROWS.exists():
            before = pd.read_parquet(ROWS)
            found += before[before["what"] == "a roll-out"].to_dict("records")
        generator = np.random.default_rng(SEED + 1)
        for number in range(ROLLOUTS if options.run is not None else 0):
            found.append(rollout(options.run, folder, generator))
            note(f"roll-out {number + 1} of {ROLLOUTS}: {found[-1]}")
    rows = pd.DataFrame(found)
    rows.to_parquet(ROWS, index=False)
    put("crash", table_lines(rows))
    note(f"wrote {ROWS} and {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
