"""``raworc operators``: the accounts of a server."""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json, spread
from raworc.cli.output import brief, moment, print_fields, print_json, print_rows
from raworc.cli.passwords import PasswordStdin, new_password, old_password
from raworc.cli.stop import Stop
from raworc.client.shapes import Operator

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The account's name.", show_default=False)]
Role = Annotated[
    Literal["admin", "user"] | None,
    typer.Option(help="'admin' may do everything; 'user' has agents of its own. [default for a new one: user]"),
]


@dataclass(frozen=True)
class ChangeOptions:
    """What may be changed; what is not given stays."""

    description: Annotated[str | None, typer.Option(help="One line for people.")] = None
    active: Annotated[
        bool | None,
        typer.Option("--active/--inactive", help="Whether it may log in; '--inactive' ends its tokens for good."),
    ] = None
    role: Role = None


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the accounts that you may see."""
    with connected() as client:
        found = client.operators.list()
    if as_json:
        print_json(found)
        return
    rows = [
        (item.user, item.role, "yes" if item.active else "no", moment(item.last_login_at), brief(item.description))
        for item in found
    ]
    print_rows(("NAME", "ROLE", "ACTIVE", "LAST LOGIN (UTC)", "DESCRIPTION"), rows)


@app.command()
def create(
    name: Name,
    *,
    description: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    role: Role = None,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Create an account; asks for its password."""
    with connected() as client:
        password = new_password(name, from_stdin=password_stdin)
        made = client.operators.create(name, password, description=description, role=role)
    _show(made, as_json=as_json)


@app.command()
def get(name: Name, *, as_json: Json = False) -> None:
    """Show one account."""
    with connected() as client:
        _show(client.operators.get(name), as_json=as_json)


@app.command()
@spread
def update(name: Name, options: ChangeOptions, *, as_json: Json = False) -> None:
    """Change an account."""
    with connected() as client:
        changed = client.operators.update(
            name, description=options.description, active=options.active, role=options.role
        )
    _show(changed, as_json=as_json)


@app.command()
def delete(name: Name, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete an account that owns no agents."""
    with connected() as client:
        if not yes and not typer.confirm(f"Delete account '{name}'?", err=True):
            raise Stop("nothing was deleted")
        client.operators.delete(name)
    typer.echo(f"Deleted '{name}'.")


@app.command()
def password(name: Name, *, password_stdin: PasswordStdin = False) -> None:
    """Set a password; every token of the account ends.

    Your own takes the current one too. With --password-stdin: the new password on the first line, the current one
    on the second where it is needed.
    """
    with connected() as client:
        is_own = client.whoami().user.lower() == name.lower()
        current = None
        if is_own and not password_stdin:
            current = old_password(name)
        new = new_password(name, from_stdin=password_stdin)
        if is_own and password_stdin:
            current = old_password(name, from_stdin=True)
        client.operators.set_password(name, new, current=current or None)
    typer.echo(f"The password of '{name}' is set." + (" Log in again: 'raworc login'." if is_own else ""))


def _show(operator: Operator, *, as_json: bool) -> None:
    if as_json:
        print_json(operator)
        return
    shown = {
        "name": operator.user,
        "role": operator.role,
        "active": "yes" if operator.active else "no",
        "description": operator.description,
        "created": moment(operator.created_at),
        "last login": moment(operator.last_login_at),
    }
    print_fields([(name, value) for name, value in shown.items() if value])
