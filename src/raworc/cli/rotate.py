"""``raworc rotate-key``: another master key, while everything runs."""

import typer

from raworc.cli.address import DatabaseUrl, Home
from raworc.settings import read_settings
from raworc.supervisor.rotate import run_rotate


def rotate_key(*, home: Home = None, database_url: DatabaseUrl = None) -> None:
    """Replace the master key: a new one in the home, or the one that RAWORC_MASTER_KEY says now.

    Nothing has to be restarted for a key in the home.
    """
    settings = read_settings(home=home, database_url=database_url)
    count = run_rotate(settings)
    typer.echo(f"{count} data keys were wrapped by the new master key; secrets themselves stay as they are.")
    if settings.master_key is None:
        typer.echo(f"The former key stays in '{settings.home}/keys' until the next rotation, for what was backed up.")
    else:
        typer.echo("Processes that were started with the former RAWORC_MASTER_KEY must be restarted with this one.")
