"""``raworc backup FILE``: all of an installation in one file, while it runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from raworc.cli.address import DatabaseUrl, Home
from raworc.cli.stop import Stop
from raworc.settings import read_settings
from raworc.supervisor.backup import run_backup

File = Annotated[str, typer.Argument(metavar="FILE", help="A file that is not there yet; '-' is standard output.")]
WithoutKeys = Annotated[
    bool, typer.Option("--without-keys", help="Leave the keys out: what is sealed opens only with the key kept here.")
]


def backup(
    file: File, *, without_keys: WithoutKeys = False, home: Home = None, database_url: DatabaseUrl = None
) -> None:
    """Write database, keys, spool and workspaces to one file, while everything runs.

    The database is as it is at the start: all that was acknowledged before is in it.
    """
    settings = read_settings(home=home, database_url=database_url)
    target = None if file == "-" else Path(file)
    if target is None and sys.stdout.isatty():
        raise Stop("a backup is no text for a terminal: name a file, or send the output somewhere")
    manifest = run_backup(settings, target, with_keys=not without_keys, tell=_tell)
    seen = manifest.contents
    where = f"'{file}'" if target else "standard output"
    _tell(f"{where} holds {seen.agents} agents and {seen.turns} responses, as of {seen.at}")
    if not manifest.has_keys:
        _tell("it holds no keys: keep those of this home, or its secrets can never be opened")
    elif settings.master_key:
        _tell("its master key is not inside: keep what 'RAWORC_MASTER_KEY' says")
    else:
        _tell("it holds the keys to all secrets: keep it as safe as this machine")


def _tell(line: str) -> None:
    typer.echo(f"backup: {line}", err=True)
