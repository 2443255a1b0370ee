"""``raworc spaces``: the tenants of a server."""

from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json
from raworc.cli.output import brief, moment, print_fields, print_json, print_rows
from raworc.cli.stop import Stop
from raworc.client.space_shapes import Space

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SPACE", help="The space's name.", show_default=False)]
Description = Annotated[str | None, typer.Option(help="One line for people.")]


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the spaces that you may see."""
    with connected() as client:
        found = client.spaces.list()
    if as_json:
        print_json(found)
        return
    print_rows(
        ("NAME", "CHANGED (UTC)", "DESCRIPTION"),
        [(item.name, moment(item.updated_at), brief(item.description)) for item in found],
    )


@app.command()
def create(name: Name, *, description: Description = None, as_json: Json = False) -> None:
    """Create a space."""
    with connected() as client:
        _show(client.spaces.create(name, description=description), as_json=as_json)


@app.command()
def get(name: Name, *, as_json: Json = False) -> None:
    """Show one space."""
    with connected() as client:
        _show(client.spaces.get(name), as_json=as_json)


@app.command()
def update(name: Name, *, description: Description = None, as_json: Json = False) -> None:
    """Change a space."""
    with connected() as client:
        _show(client.spaces.update(name, description=description), as_json=as_json)


@app.command()
def delete(name: Name, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a space with its secrets, client keys and bindings; nothing may live in it."""
    with connected() as client:
        if not yes and not typer.confirm(f"Delete space '{name}' with its secrets?", err=True):
            raise Stop("nothing was deleted")
        client.spaces.delete(name)
    typer.echo(f"Deleted '{name}'.")


def _show(space: Space, *, as_json: bool) -> None:
    if as_json:
        print_json(space)
        return
    shown = {
        "name": space.name,
        "description": space.description or "",
        "settings": ", ".join(sorted(space.settings)),
        "created": moment(space.created_at),
        "changed": moment(space.updated_at),
    }
    print_fields([(name, value) for name, value in shown.items() if value])
