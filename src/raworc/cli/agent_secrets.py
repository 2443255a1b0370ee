"""``raworc agents secrets``: put them, take them away, list their names."""

from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import moment, print_json, print_rows
from raworc.cli.passwords import ValueStdin, secret_value

Key = Annotated[str, typer.Argument(metavar="KEY", help="The secret's name.", show_default=False)]

app = typer.Typer(no_args_is_help=True, help="Put an agent's secrets, take them away, list their names.")


@app.command("list")
def list_(name: AgentName, *, as_json: Json = False) -> None:
    """List the names of an agent's secrets. Values are never shown."""
    with connected() as client:
        found = client.agents.secrets(name)
    if as_json:
        print_json(found)
        return
    print_rows(("KEY", "CHANGED (UTC)"), [(secret.key, moment(secret.updated_at)) for secret in found])


@app.command()
def put(name: AgentName, key: Key, *, value_stdin: ValueStdin = False, as_json: Json = False) -> None:
    """Add a secret or give it another value, which is asked for."""
    value = secret_value(key, from_stdin=value_stdin)
    with connected() as client:
        secret = client.agents.put_secret(name, key, value)
    if as_json:
        print_json(secret)
    else:
        typer.echo(f"'{name}' has '{secret.key}' from its next wake.")


@app.command()
def delete(name: AgentName, key: Key) -> None:
    """Take a secret away."""
    with connected() as client:
        client.agents.delete_secret(name, key)
    typer.echo(f"'{name}' has no '{key}' from its next wake.")
