"""``raworc tokens``: tokens for others. ``raworc agents token``: an agent's own."""

from typing import Annotated, Literal

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import moment, print_json

TtlHours = Annotated[float | None, typer.Option(help="How long it holds. [default: 24]")]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def tokens() -> None:
    """Make tokens for others."""


@app.command()
def create(
    principal: Annotated[str, typer.Argument(metavar="NAME", help="The account.", show_default=False)],
    *,
    kind: Annotated[
        Literal["User", "Admin"], typer.Option("--type", help="What the account is; a new one is made for 'User'.")
    ] = "User",
    ttl_hours: TtlHours = None,
    as_json: Json = False,
) -> None:
    """Make a token for an account and print it. For administrators."""
    with connected() as client:
        made = client.tokens.create(principal, kind=kind, ttl_hours=ttl_hours)
    if as_json:
        print_json(made)
        return
    typer.echo(made.token)
    typer.echo(f"speaks for '{made.user}' ({made.role}) until {moment(made.expires_at)} UTC", err=True)


def of_agent(name: AgentName, *, ttl_hours: TtlHours = None, as_json: Json = False) -> None:
    """Make an agent's own token and print it: for a program that works for it from outside."""
    with connected() as client:
        made = client.agents.token(name, ttl_hours=ttl_hours)
    if as_json:
        print_json(made)
        return
    typer.echo(made.token)
    typer.echo(f"speaks for the agent '{made.agent_name}' until {moment(made.expires_at)} UTC", err=True)
