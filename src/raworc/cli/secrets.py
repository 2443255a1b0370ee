"""``raworc secrets``: the secrets of a space."""

from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json
from raworc.cli.output import brief, moment, print_json, print_rows
from raworc.cli.passwords import ValueStdin, secret_value

app = typer.Typer(no_args_is_help=True)

Space = Annotated[str, typer.Argument(metavar="SPACE", help="The space's name.", show_default=False)]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The secret's name.", show_default=False)]
Description = Annotated[str | None, typer.Option(help="One line for people.")]
ShowValues = Annotated[
    bool, typer.Option("--show-values", help="With their values, if you may read them; the audit log keeps that.")
]


@app.command("list")
def list_(space: Space, *, show_values: ShowValues = False, as_json: Json = False) -> None:
    """List a space's secrets."""
    with connected() as client:
        found = client.spaces.secrets(space, show_values=show_values)
    if as_json:
        print_json(found)
        return
    heads = ("KEY", "CHANGED (UTC)", "DESCRIPTION", *(("VALUE",) if show_values else ()))
    rows = [(item.key_name, moment(item.updated_at), brief(item.description)) for item in found]
    values = [((item.value or "",) if show_values else ()) for item in found]
    print_rows(heads, [(*row, *value) for row, value in zip(rows, values, strict=True)])


@app.command()
def get(space: Space, key: Key, *, as_json: Json = False) -> None:
    """Print a secret's value, if you may read it; the audit log keeps that."""
    with connected() as client:
        secret = client.spaces.secret(space, key, show_value=True)
    if as_json:
        print_json(secret)
    else:
        typer.echo(secret.value)


@app.command()
def create(
    space: Space, key: Key, *, description: Description = None, value_stdin: ValueStdin = False, as_json: Json = False
) -> None:
    """Put a new secret into a space; its value is asked for."""
    value = secret_value(key, from_stdin=value_stdin)
    with connected() as client:
        made = client.spaces.create_secret(space, key, value, description=description)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"'{space}' has '{made.key_name}'.")


@app.command()
def update(space: Space, key: Key, *, value_stdin: ValueStdin = False, as_json: Json = False) -> None:
    """Give a secret another value, which is asked for."""
    value = secret_value(key, from_stdin=value_stdin)
    with connected() as client:
        changed = client.spaces.update_secret(space, key, value=value)
    if as_json:
        print_json(changed)
    else:
        typer.echo(f"'{changed.key_name}' of '{space}' is changed.")


@app.command()
def delete(space: Space, key: Key) -> None:
    """Take a secret away."""
    with connected() as client:
        client.spaces.delete_secret(space, key)
    typer.echo(f"'{space}' has no '{key}' any more.")
