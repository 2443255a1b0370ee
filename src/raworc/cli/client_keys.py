"""``raworc keys``: what programs outside call models with."""

from dataclasses import dataclass
from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json, spread
from raworc.cli.output import moment, print_json, print_rows

app = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True)
class Bounds:
    """What a key is good for."""

    space: Annotated[str, typer.Option(help="What its calls are booked under.")] = "default"
    train_id: Annotated[str | None, typer.Option(help="The one train of its calls; else the caller names it.")] = None
    model: Annotated[
        list[str] | None, typer.Option(help="A model that it may call, '*' for any text; may be repeated. Else all.")
    ] = None
    expires_at: Annotated[str | None, typer.Option(help="When it ends, as in '2030-01-31T12:00:00Z'.")] = None


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the keys that you may see, the newest first."""
    with connected() as client:
        found = client.keys.list()
    if as_json:
        print_json(found)
        return
    rows = [
        (item.id, item.name, item.prefix, item.space, item.train_id or "-", moment(item.expires_at), item.created_by)
        for item in found
    ]
    print_rows(("ID", "NAME", "BEGINS WITH", "SPACE", "TRAIN", "ENDS (UTC)", "ACCOUNT"), rows)


@app.command()
@spread
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people.", show_default=False)],
    bounds: Bounds,
    *,
    as_json: Json = False,
) -> None:
    """Make a key and print it: it is shown this once."""
    with connected() as client:
        made = client.keys.create(
            name,
            space=bounds.space,
            train_id=bounds.train_id,
            models=bounds.model,
            expires_at=bounds.expires_at,
        )
    if as_json:
        print_json(made)
        return
    typer.echo(made.key)
    typer.echo(f"calls models in space '{made.space}'; revoke it with 'raworc keys delete {made.id}'", err=True)


@app.command()
def delete(
    key_id: Annotated[
        str, typer.Argument(metavar="ID", help="The key's id, as the list shows it.", show_default=False)
    ],
) -> None:
    """Revoke a key."""
    with connected() as client:
        client.keys.delete(key_id)
    typer.echo("Revoked the key.")
