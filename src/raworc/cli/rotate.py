"""``raworc rotate-key``: another master key, or other data keys of spaces, while everything runs."""

from typing import Annotated

import typer

from raworc.cli.address import DatabaseUrl, Home
from raworc.settings import read_settings
from raworc.supervisor.rotate import run_rotate, run_rotate_data

Spaces = Annotated[
    list[str] | None,
    typer.Option("--space", metavar="SPACE", help="Replace this space's data key instead; may be given again."),
]
EverySpace = Annotated[bool, typer.Option("--every-space", help="Replace the data key of every space instead.")]


def rotate_key(
    *, spaces: Spaces = None, every_space: EverySpace = False, home: Home = None, database_url: DatabaseUrl = None
) -> None:
    """Replace the master key: a new one in the home, or the one that RAWORC_MASTER_KEY says now.

    Nothing has to be restarted for a key in the home, nor for data keys, under which secrets are sealed anew.
    """
    settings = read_settings(home=home, database_url=database_url)
    if spaces or every_space:
        for space, sealed in run_rotate_data(settings, [] if every_space else spaces or []).items():
            typer.echo(f"Space '{space}' has another data key: {sealed} values were sealed anew.")
        return
    count = run_rotate(settings)
    typer.echo(f"{_keys(count)} wrapped by the new master key; secrets themselves stay as they are.")
    if settings.master_key is None:
        typer.echo(f"The former key stays in '{settings.home}/keys' until the next rotation, for what was backed up.")
    else:
        typer.echo("Processes that were started with the former RAWORC_MASTER_KEY must be restarted with this one.")


def _keys(count: int) -> str:
    return "1 data key was" if count == 1 else f"{count} data keys were"
