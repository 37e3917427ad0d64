"""``fpo-pilot export`` of a step log: a data set that Minari, LeRobot or d3rlpy reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fpo_pilot.commands.console import note, say, say_json
from fpo_pilot.exports.choice import Choice
from fpo_pilot.exports.target import check_target, write_whole

Format = Literal["--minari", "--lerobot", "--d3rlpy"]


def run_export_log(run_dir: Path, option: Format, target: Path, choice: Choice, *, force: bool, as_json: bool) -> int:
    """Write the chosen rows of a step log to ``target``; 0."""
    check_target(option, run_dir, target, force=force, folder=option != "--d3rlpy")
    _check_libraries(option)
    from fpo_pilot.exports.d3rlpy_file import write_d3rlpy
    from fpo_pilot.exports.document import document
    from fpo_pilot.exports.episodes import read_log
    from fpo_pilot.exports.lerobot_dataset import write_lerobot
    from fpo_pilot.exports.minari_dataset import write_minari

    log = read_log(run_dir, choice)
    writers = {"--minari": write_minari, "--lerobot": write_lerobot, "--d3rlpy": write_d3rlpy}
    write_whole(target, lambda path: writers[option](log, path))
    facts = document(log)
    if as_json:
        say_json({"format": option.removeprefix("--"), "target": str(target), "metadata": facts})
    else:
        _show(target, option, facts)
    return 0


def _check_libraries(option: Format) -> None:
    """Ask for what is missing before a log of any length is read."""
    if option == "--minari":
        from fpo_pilot.exports.minari_dataset import libraries

        libraries()
    elif option == "--d3rlpy":
        from fpo_pilot.learn.libraries import library

        library(option, "h5py", "d3rlpy")


def _show(target: Path, option: Format, facts: dict[str, Any]) -> None:
    ends = ", ".join(f"{count} by {end}" for end, count in facts["ends"].items() if count)
    say(f"{facts['episodes']} episodes of {', '.join(facts['arms'])}, {facts['rows']:,} rows; ended {ends}")
    say(
        f"observations: {len(facts['observation'])} numbers ({facts['observations']}); action: {facts['action_source']}"
    )
    if option == "--minari":
        say(f"{facts['transitions']:,} transitions; the last row of an episode that was cut is its last observation")
    if facts["rows_left_out"]:
        note(f"{facts['rows_left_out']:,} rows left out: without a row after them, or needed as history behind a gap")
    say(f"written: {target}")
