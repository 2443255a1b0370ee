"""``raworc agents remix``, ``publish``, ``unpublish``, ``published`` and ``runtime``."""

from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import AgentName, Json
from raworc.cli.output import brief, moment, print_fields, print_json, print_rows

NewName = Annotated[str, typer.Argument(metavar="NEW", help="The new agent's name.", show_default=False)]
TakeCode = Annotated[bool, typer.Option("--code/--no-code", help="Copy its code, instructions and setup.")]
TakeSecrets = Annotated[bool, typer.Option("--secrets/--no-secrets", help="Copy its secrets.")]
Prompt = Annotated[str | None, typer.Option(help="First work for the new one.")]
Code = Annotated[bool, typer.Option("--code/--no-code", help="Remixes may take its code, instructions and setup.")]
Secrets = Annotated[
    bool | None, typer.Option("--secrets/--no-secrets", help="Remixes may take its secrets. Said by you or not at all.")
]
Limit = Annotated[int, typer.Option(help="At most this many, 100 at once.")]
Offset = Annotated[int, typer.Option(help="How many to skip.")]


def remix(
    name: AgentName,
    new: NewName,
    *,
    code: TakeCode = True,
    secrets: TakeSecrets = True,
    prompt: Prompt = None,
    as_json: Json = False,
) -> None:
    """Make a new agent that starts as another one stands, files included."""
    with connected() as client:
        agent = client.agents.remix(name, new, code=code, secrets=secrets, prompt=prompt)
    if as_json:
        print_json(agent)
    else:
        typer.echo(f"Made '{agent.name}' from '{agent.parent_agent_name}'.")


def publish(name: AgentName, *, code: Code = True, secrets: Secrets = None, as_json: Json = False) -> None:
    """Show an agent to everybody and let every account remix it."""
    with connected() as client:
        agent = client.agents.publish(name, code=code, secrets=secrets)
    if as_json:
        print_json(agent)
        return
    given = ["its files", *(["its code"] if code else []), *(["its secrets"] if secrets else [])]
    typer.echo(f"Published '{agent.name}': everybody can see it, every account can remix {' and '.join(given)}.")


def unpublish(name: AgentName, *, as_json: Json = False) -> None:
    """Show an agent to nobody else any more. Remixes that were made stay."""
    with connected() as client:
        agent = client.agents.unpublish(name)
    if as_json:
        print_json(agent)
    else:
        typer.echo(f"'{agent.name}' is not published.")


def published(*, limit: Limit = 100, offset: Offset = 0, as_json: Json = False) -> None:
    """List published agents, the newest first."""
    with connected() as client:
        found = client.agents.published(limit=limit, offset=offset)
    if as_json:
        print_json(found)
        return
    rows = [(item.name, item.created_by, moment(item.published_at), brief(item.description)) for item in found]
    print_rows(("NAME", "OWNER", "PUBLISHED (UTC)", "DESCRIPTION"), rows)


def runtime(name: AgentName, *, as_json: Json = False) -> None:
    """Show how long an agent has been awake."""
    with connected() as client:
        found = client.agents.runtime(name)
    if as_json:
        print_json(found)
        return
    print_fields(
        [("total", f"{found.total_runtime_seconds} s"), ("since its last wake", f"{found.current_session_seconds} s")]
    )
