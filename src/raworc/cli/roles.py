"""``raworc roles``: what accounts may be bound to."""

from typing import Annotated, Final

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json
from raworc.cli.output import brief, moment, print_json, print_rows
from raworc.cli.stop import Stop
from raworc.client.space_shapes import Role, Rule

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ROLE", help="The role's name or id.", show_default=False)]
Rules = Annotated[
    list[str],
    typer.Option(
        "--rule",
        metavar="RESOURCES:VERBS[:SCOPE]",
        help="As 'agents,sessions:read,list' or '*:*:global'; may be repeated.",
        show_default=False,
    ),
]
_SHAPE: Final = "a rule is 'RESOURCES:VERBS' or 'RESOURCES:VERBS:global', as in 'agents,sessions:read,list'"


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """List the roles, the built-in ones first."""
    with connected() as client:
        found = client.roles.list()
    if as_json:
        print_json(found)
        return
    print_rows(("NAME", "RULES", "DESCRIPTION"), [(item.name, _rules(item), brief(item.description)) for item in found])


@app.command()
def create(
    name: Name,
    rule: Rules,
    *,
    description: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    as_json: Json = False,
) -> None:
    """Create a role of no more than you hold yourself."""
    rules = [_rule(given) for given in rule]
    with connected() as client:
        _show(client.roles.create(name, rules, description=description), as_json=as_json)


@app.command()
def get(name: Name, *, as_json: Json = False) -> None:
    """Show one role."""
    with connected() as client:
        _show(client.roles.get(name), as_json=as_json)


@app.command()
def delete(name: Name) -> None:
    """Delete a role that is bound to nobody."""
    with connected() as client:
        client.roles.delete(name)
    typer.echo(f"Deleted '{name}'.")


def _rule(given: str) -> Rule:
    match given.split(":"):
        case [resources, verbs]:
            return Rule(resources.split(","), verbs.split(","))
        case [resources, verbs, scope]:
            return Rule(resources.split(","), verbs.split(","), scope)
        case _:
            raise Stop(_SHAPE)


def _rules(role: Role) -> str:
    return "  ".join(
        f"{','.join(rule.resources)}:{','.join(rule.verbs)}" + (":global" if rule.scope == "global" else "")
        for rule in role.rules
    )


def _show(role: Role, *, as_json: bool) -> None:
    if as_json:
        print_json(role)
    else:
        print_rows(("NAME", "MADE (UTC)", "RULES"), [(role.name, moment(role.created_at), _rules(role))])
