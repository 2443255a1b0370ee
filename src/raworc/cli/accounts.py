"""``raworc accounts``: service accounts, whose rights come from bindings."""

from dataclasses import dataclass
from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json, spread
from raworc.cli.output import brief, moment, print_json, print_rows
from raworc.cli.passwords import PasswordStdin, new_password, old_password
from raworc.cli.stop import Stop
from raworc.client.space_shapes import ServiceAccount

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name or id.", show_default=False)]


@dataclass(frozen=True)
class NewOptions:
    """What else a new account may have."""

    space: Annotated[str | None, typer.Option(help="Where it belongs; which gives it no right there.")] = None
    description: Annotated[str | None, typer.Option(help="One line for people.")] = None


@dataclass(frozen=True)
class ChangeOptions(NewOptions):
    """What may be changed; what is not given stays."""

    active: Annotated[
        bool | None,
        typer.Option("--active/--inactive", help="Whether it may log in; '--inactive' ends its tokens for good."),
    ] = None


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the accounts that you may see."""
    with connected() as client:
        found = client.accounts.list()
    if as_json:
        print_json(found)
    else:
        _rows(list(found))


@app.command()
@spread
def create(name: Name, options: NewOptions, *, password_stdin: PasswordStdin = False, as_json: Json = False) -> None:
    """Create an account; asks for its password. 'raworc bindings create' gives it rights."""
    with connected() as client:
        password = new_password(name, from_stdin=password_stdin)
        made = client.accounts.create(name, password, space=options.space, description=options.description)
    _show(made, as_json=as_json)


@app.command()
def get(name: Name, *, as_json: Json = False) -> None:
    """Show one account."""
    with connected() as client:
        _show(client.accounts.get(name), as_json=as_json)


@app.command()
@spread
def update(name: Name, options: ChangeOptions, *, as_json: Json = False) -> None:
    """Change an account."""
    with connected() as client:
        changed = client.accounts.update(
            name, space=options.space, description=options.description, active=options.active
        )
    _show(changed, as_json=as_json)


@app.command()
def delete(name: Name, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete an account that owns no agents, with its bindings."""
    with connected() as client:
        if not yes and not typer.confirm(f"Delete account '{name}'?", err=True):
            raise Stop("nothing was deleted")
        client.accounts.delete(name)
    typer.echo(f"Deleted '{name}'.")


@app.command()
def password(name: Name, *, password_stdin: PasswordStdin = False) -> None:
    """Set a password by who knows the current one; every token of the account ends.

    With --password-stdin: the current password on the first line, the new one on the second.
    """
    with connected() as client:
        current = old_password(name, from_stdin=password_stdin)
        client.accounts.set_password(name, current=current, new=new_password(name, from_stdin=password_stdin))
    typer.echo(f"The password of '{name}' is set.")


def _show(account: ServiceAccount, *, as_json: bool) -> None:
    if as_json:
        print_json(account)
    else:
        _rows([account])


def _rows(found: list[ServiceAccount]) -> None:
    rows = [
        (
            item.user,
            item.space or "-",
            "yes" if item.active else "no",
            moment(item.last_login_at),
            brief(item.description),
        )
        for item in found
    ]
    print_rows(("NAME", "SPACE", "ACTIVE", "LAST LOGIN (UTC)", "DESCRIPTION"), rows)
