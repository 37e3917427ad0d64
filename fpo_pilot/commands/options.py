"""Options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Run = Annotated[Path, typer.Argument(help="A run folder, such as runs/cstr-fpo-0.")]


def refuse_beside(ctx: typer.Context, option: str, *, taken: tuple[str, ...]) -> None:
    """Refuse what was given beside ``option`` and would be ignored.

    Args:
        ctx: of the command.
        option: as it is written.
        taken: names of the parameters that go with it; its own is one.

    Raises:
        BadParameter: there is such a parameter.
    """
    given = []
    for parameter in ctx.command.params:
        name = parameter.name or ""
        source = ctx.get_parameter_source(name)
        if name not in taken and source is not None and source.name == "COMMANDLINE":
            given.append(parameter.opts[0] if parameter.opts[0].startswith("-") else name.upper())
    if given:
        raise typer.BadParameter(
            f"{option}: found {', '.join(given)} beside it, expected {option} alone: the run goes on as it began. Leave it out, or begin "
            f"another run without {option}."
        )
