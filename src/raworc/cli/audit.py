"""``raworc audit``: who did what, and whether the log of it is what was written."""

from dataclasses import dataclass
from typing import Annotated

import typer

from raworc.cli.address import DatabaseUrl, Home
from raworc.cli.connection import connected
from raworc.cli.options import Json, spread
from raworc.cli.output import moment, print_json, print_rows
from raworc.cli.stop import Stop
from raworc.settings import read_settings
from raworc.supervisor.audit import run_verify

app = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True)
class Filters:
    """Which entries to show."""

    actor: Annotated[str | None, typer.Option(help="Deeds of this account.")] = None
    verb: Annotated[str | None, typer.Option(help="As 'delete' or 'login'.")] = None
    resource: Annotated[str | None, typer.Option(help="A kind of thing, as 'secrets'.")] = None
    space: Annotated[str | None, typer.Option(help="Deeds in this space.")] = None
    refused: Annotated[bool, typer.Option("--refused", help="Refusals only.")] = False
    before: Annotated[int | None, typer.Option(help="Entries with smaller numbers.")] = None
    limit: Annotated[int, typer.Option(help="How many.")] = 30


@app.command("list")
@spread
def list_(filters: Filters, *, as_json: Json = False) -> None:
    """List what was done and what was refused, the newest first. For administrators."""
    with connected() as client:
        found = client.audit.list(
            actor=filters.actor,
            verb=filters.verb,
            resource=filters.resource,
            space=filters.space,
            allowed=False if filters.refused else None,
            before=filters.before,
            limit=filters.limit,
        )
    if as_json:
        print_json(found)
        return
    rows = [
        (
            str(item.number),
            moment(item.at),
            item.actor or "-",
            item.verb + ("" if item.allowed else " (refused)"),
            item.resource,
            item.name or "-",
            item.space or "-",
            item.address or "-",
        )
        for item in found.entries
    ]
    print_rows(("NUMBER", "AT (UTC)", "ACCOUNT", "DID", "TO", "NAME", "SPACE", "FROM"), rows)


@app.command()
def verify(
    *,
    noted: Annotated[
        str | None, typer.Option("--noted", help="A hash that an earlier run printed: it must still be in the log.")
    ] = None,
    home: Home = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Compute the log's chain of hashes anew, in the database itself; while everything runs.

    Keep the printed hash elsewhere: who can write to the database could replace the whole log, but not what you noted.
    """
    verdict = run_verify(read_settings(home=home, database_url=database_url), noted)
    if verdict.broken is not None:
        raise Stop(f"the audit log was changed: {verdict.broken}")
    typer.echo(f"{verdict.entries} entries, each as it was written. The newest hash:")
    typer.echo(verdict.head or "-")
