"""``raworc relink``: every conversation made again, while everything runs."""

import typer

from raworc.cli.address import DatabaseUrl, Home
from raworc.settings import read_settings
from raworc.supervisor.ledger import run_relink


def relink(*, home: Home = None, database_url: DatabaseUrl = None) -> None:
    """Find out again which conversation each recorded call belongs to, by the rules of this version.

    The result does not depend on when or how often this is run. Until it ends, some calls have no conversation.
    """
    count = run_relink(read_settings(home=home, database_url=database_url), _tell)
    typer.echo(f"{count} calls have their place in a conversation.")


def _tell(doing: str, count: int) -> None:
    typer.echo(f"{count} calls {doing}", err=True)
