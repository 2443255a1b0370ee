"""``raworc blocklist``: who is kept out for the time being."""

from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json
from raworc.cli.output import moment, print_json, print_rows

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The account's name.", show_default=False)]


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List who is blocked, the last one first."""
    with connected() as client:
        found = client.blocklist.list()
    if as_json:
        print_json(found)
        return
    print_rows(
        ("NAME", "TYPE", "SINCE (UTC)"),
        [(item.principal, item.principal_type, moment(item.created_at)) for item in found],
    )


@app.command()
def block(name: Name) -> None:
    """Keep an account out, from its next request on."""
    with connected() as client:
        client.blocklist.block(name)
    typer.echo(f"Blocked '{name}'.")


@app.command()
def unblock(name: Name) -> None:
    """Let an account in again."""
    with connected() as client:
        client.blocklist.unblock(name)
    typer.echo(f"Unblocked '{name}'.")
