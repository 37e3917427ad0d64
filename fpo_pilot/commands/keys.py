"""``fpo-pilot keys``: the group of commands that make and show keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fpo_pilot.commands.options import Json

keys = typer.Typer(help="Make and show Ed25519 keys.", no_args_is_help=True)


@keys.command("new")
def keys_new(
    path: Annotated[Path, typer.Argument(help="Where the private key goes; the public one gets `.pub` added.")],
    json: Json = False,
) -> None:
    """Make a key pair; the private key is encrypted and readable by its owner alone. A new one replaces an old by use."""
    from fpo_pilot.commands.verify import run_new_key

    raise typer.Exit(run_new_key(path, as_json=json))


@keys.command("rotate")
def keys_rotate(
    old: Annotated[Path, typer.Argument(help="The private key until now.")],
    new: Annotated[Path, typer.Argument(help="The private key from now on, made by `keys new`.")],
    output: Annotated[Path | None, typer.Option("--output", help="Default: NEW.handover.json.")] = None,
    json: Json = False,
) -> None:
    """Let a key say which one follows it: `verify --pubkey OLD.pub --handover FILE` then takes signatures of both."""
    from fpo_pilot.commands.verify import run_rotate

    raise typer.Exit(run_rotate(old, new, output, as_json=json))


@keys.command("show")
def keys_show(path: Annotated[Path, typer.Argument(help="A public key.")], json: Json = False) -> None:
    """Print the fingerprint of a public key, to be compared in person."""
    from fpo_pilot.commands.verify import run_show_key

    raise typer.Exit(run_show_key(path, as_json=json))
