"""``raworc restore FILE``: a home and its database from a backup."""

from pathlib import Path
from typing import Annotated

import typer

from raworc.cli.address import DatabaseUrl, Home
from raworc.settings import read_settings
from raworc.supervisor.restore import needs_key, run_restore

File = Annotated[Path, typer.Argument(metavar="FILE", help="What 'raworc backup' wrote.", show_default=False)]
Replace = Annotated[bool, typer.Option("--replace", help="Throw away what the home and the database hold now.")]


def restore(file: File, *, replace: Replace = False, home: Home = None, database_url: DatabaseUrl = None) -> None:
    """Fill a home from a backup: all of it, or nothing. Nothing may run on the home meanwhile."""
    settings = read_settings(home=home, database_url=database_url)
    manifest = run_restore(settings, file, replace=replace, tell=_tell)
    seen = manifest.contents
    _tell(
        f"'{settings.home}' holds {seen.agents} agents and {seen.turns} responses, as of {seen.at}; start it as before"
    )
    if needs_key(settings, manifest):
        _tell("secrets cannot be opened with the key that is here: start with the master key of the backed-up home")


def _tell(line: str) -> None:
    typer.echo(f"restore: {line}", err=True)
