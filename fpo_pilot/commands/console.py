"""Tables, progress and JSON for the command line: the only place, beside ``cli.py``, that writes to a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

Report = Callable[[float, str], None]
"""``report(done, note)``: how much of the total is done, and a few words on the state."""

PLAIN_INTERVAL = 5.0
"""Seconds between two lines where the terminal is not one."""


def out() -> Console:
    """Return the console for results."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Return the console for progress and errors, so that ``--json`` output stays clean."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(text: str) -> None:
    """Write one line for people."""
    out().print(text, markup=False)


def note(text: str) -> None:
    """Write one line beside the results."""
    err().print(text, markup=False)


def say_json(value: object) -> None:
    """Write one JSON document; keys in a stable order, NaN refused."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=str) + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table; the first column is left-aligned, the others right-aligned."""
    grid = Table(title=title, title_justify="left", show_lines=False)
    for index, name in enumerate(columns):
        grid.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(cell.replace("[", r"\[") for cell in row))
    console = out() if sys.stdout.isatty() else Console(file=sys.stdout, highlight=False, width=160)
    console.print(grid)


@contextmanager
def progress(label: str, total: float, *, quiet: bool = False) -> Iterator[Report]:
    """Show a bar with an estimate on a terminal, and a plain line now and then elsewhere.

    Args:
        label: what is being done.
        total: how much there is to do.
        quiet: show nothing.
    """
    if quiet:
        yield lambda done, text: None
    elif sys.stderr.isatty():
        with _bar(label, total) as report:
            yield report
    else:
        yield _plain(label, total)


@contextmanager
def _bar(label: str, total: float) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=err()) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda done, text: bar.update(task, completed=done, note=text)


def _plain(label: str, total: float) -> Report:
    started = time.monotonic()
    last = started

    def report(done: float, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PLAIN_INTERVAL and done < total:
            return
        last = now
        elapsed = now - started
        left = elapsed / done * (total - done) if done > 0 else float("nan")
        note(f"{label}: {done:,.0f} of {total:,.0f}, {elapsed:.0f} s, about {left:.0f} s left. {text}")

    return report
