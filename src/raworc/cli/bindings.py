"""``raworc bindings``: who has which role where."""

from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json
from raworc.cli.output import moment, print_json, print_rows
from raworc.client.space_shapes import Binding

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The binding's id, as the list shows it.", show_default=False)]


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the bindings that you may see, the eldest first."""
    with connected() as client:
        found = client.bindings.list()
    if as_json:
        print_json(found)
        return
    _rows(list(found))


@app.command()
def create(
    subject: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="Who; 'authenticated' is everybody.", show_default=False)
    ],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role's name.", show_default=False)],
    *,
    space: Annotated[str | None, typer.Option(help="Where it counts. [default: everywhere]")] = None,
    as_json: Json = False,
) -> None:
    """Give an account a role of no more than you hold there yourself."""
    with connected() as client:
        made = client.bindings.create(subject, role, space=space)
    if as_json:
        print_json(made)
        return
    where = f"in '{made.space}'" if made.space else "everywhere"
    typer.echo(
        f"'{made.subject}' has role '{made.role_ref}' {where}; end that with 'raworc bindings delete {made.id}'."
    )


@app.command()
def get(binding_id: Id, *, as_json: Json = False) -> None:
    """Show one binding."""
    with connected() as client:
        found = client.bindings.get(binding_id)
    if as_json:
        print_json(found)
    else:
        _rows([found])


@app.command()
def delete(binding_id: Id) -> None:
    """Take a role away."""
    with connected() as client:
        client.bindings.delete(binding_id)
    typer.echo("Deleted the binding.")


def _rows(found: list[Binding]) -> None:
    rows = [
        (item.id, item.subject, item.role_ref, item.space or "everywhere", moment(item.created_at)) for item in found
    ]
    print_rows(("ID", "ACCOUNT", "ROLE", "SPACE", "SINCE (UTC)"), rows)
