"""``raworc agents``: create agents and look after them."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from raworc.cli import agent_secrets, agent_sharing, files, log, tokens
from raworc.cli.agent_states import sleep, wake
from raworc.cli.approvals import approvals
from raworc.cli.connection import connected
from raworc.cli.context import context
from raworc.cli.options import AgentName, Json, spread
from raworc.cli.output import brief, moment, print_fields, print_json, print_rows
from raworc.cli.stop import Stop
from raworc.client.shapes import Agent

app = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True)
class NewOptions:
    """What may be said about a new agent."""

    description: Annotated[str | None, typer.Option(help="One line for people.")] = None
    instructions: Annotated[str | None, typer.Option(help="What the model is told before every prompt.")] = None
    setup: Annotated[str | None, typer.Option(help="Bash that runs at creation and at every wake.")] = None
    prompt: Annotated[str | None, typer.Option(help="Its first work.")] = None
    model: Annotated[str | None, typer.Option(help="The model; 'scripted' needs no key.")] = None
    tag: Annotated[list[str], typer.Option(help="A tag; may be repeated.")] = field(default_factory=list[str])
    secret: Annotated[
        list[str], typer.Option(help="KEY=VALUE for its environment (KEY alone asks for the value); may be repeated.")
    ] = field(default_factory=list[str])
    idle_timeout: Annotated[int | None, typer.Option(help="Seconds without work until it sleeps.")] = None
    busy_timeout: Annotated[int | None, typer.Option(help="Seconds that one work may take.")] = None


@dataclass(frozen=True)
class ListOptions:
    """Which agents, and how many."""

    q: Annotated[str | None, typer.Option("--search", "-q", help="Part of the name or description.")] = None
    tag: Annotated[list[str], typer.Option(help="A tag they must have; may be repeated.")] = field(
        default_factory=list[str]
    )
    state: Annotated[str | None, typer.Option(help="init, idle, busy or slept.")] = None
    limit: Annotated[int, typer.Option(help="At most this many.")] = 30
    page: Annotated[int, typer.Option(help="Which page of them.")] = 1


@dataclass(frozen=True)
class ChangeOptions:
    """What may be changed; what is not given stays."""

    description: Annotated[str | None, typer.Option()] = None
    instructions: Annotated[str | None, typer.Option()] = None
    setup: Annotated[str | None, typer.Option()] = None
    model: Annotated[str | None, typer.Option()] = None
    tag: Annotated[list[str] | None, typer.Option(help="All its tags; may be repeated.")] = None
    idle_timeout: Annotated[int | None, typer.Option(help="Seconds.")] = None
    busy_timeout: Annotated[int | None, typer.Option(help="Seconds.")] = None


@app.command()
@spread
def create(name: AgentName, options: NewOptions, *, as_json: Json = False) -> None:
    """Create an agent."""
    with connected() as client:
        agent = client.agents.create(
            name,
            description=options.description,
            instructions=options.instructions,
            setup=options.setup,
            prompt=options.prompt,
            model=options.model,
            tags=options.tag,
            secrets=dict(_pair(secret) for secret in options.secret),
            idle_timeout_seconds=options.idle_timeout,
            busy_timeout_seconds=options.busy_timeout,
        )
    _show(agent, as_json=as_json)


@app.command("list")
@spread
def list_(options: ListOptions, *, as_json: Json = False) -> None:
    """List the agents that you may see, newest first."""
    conditions: dict[str, Any] = {"q": options.q, "tags": options.tag or None, "state": options.state}
    with connected() as client:
        page = client.agents.page(limit=options.limit, page=options.page, **conditions)
    if as_json:
        print_json(page)
        return
    rows = [
        (agent.name, agent.state, agent.created_by, moment(agent.last_activity_at), brief(agent.description))
        for agent in page.items
    ]
    print_rows(("NAME", "STATE", "OWNER", "LAST ACTIVITY (UTC)", "DESCRIPTION"), rows)
    if page.total > len(page.items):
        typer.echo(f"page {page.page} of {page.pages}, {page.total} agents", err=True)


@app.command()
def get(name: AgentName, *, as_json: Json = False) -> None:
    """Show one agent."""
    with connected() as client:
        _show(client.agents.get(name), as_json=as_json)


@app.command()
@spread
def update(name: AgentName, options: ChangeOptions, *, as_json: Json = False) -> None:
    """Change an agent."""
    with connected() as client:
        agent = client.agents.update(
            name,
            description=options.description,
            instructions=options.instructions,
            setup=options.setup,
            model=options.model,
            tags=options.tag,
            idle_timeout_seconds=options.idle_timeout,
            busy_timeout_seconds=options.busy_timeout,
        )
    _show(agent, as_json=as_json)


@app.command()
def delete(name: AgentName, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete an agent and its files."""
    with connected() as client:
        if not yes and not typer.confirm(f"Delete '{name}' and all its files?", err=True):
            raise Stop("nothing was deleted")
        client.agents.delete(name)
    typer.echo(f"Deleted '{name}'.")


app.command()(sleep)
app.command()(wake)
app.command()(spread(context))
app.command()(spread(approvals))
app.command()(agent_sharing.remix)
app.command()(agent_sharing.publish)
app.command()(agent_sharing.unpublish)
app.command()(agent_sharing.published)
app.command()(agent_sharing.runtime)
app.command("token")(tokens.of_agent)
app.add_typer(agent_secrets.app, name="secrets")
app.command("log")(log.log)
app.command("requests")(log.requests)
app.command("files")(files.files)


def _pair(secret: str) -> tuple[str, str]:
    key, equals, value = secret.partition("=")
    if not equals:  # a value on the command line can be seen by everyone on this machine
        value = str(typer.prompt(f"Value of '{key}'", hide_input=True, err=True))
    return key, value


def _show(agent: Agent, *, as_json: bool) -> None:
    if as_json:
        print_json(agent)
        return
    shown = {
        "name": agent.name,
        "state": agent.state,
        "owner": agent.created_by,
        "description": agent.description,
        "tags": ", ".join(agent.tags),
        "model": agent.model,
        "remix of": agent.parent_agent_name,
        "published": f"{moment(agent.published_at)} by {agent.published_by}" if agent.is_published else None,
        "idle timeout": f"{agent.idle_timeout_seconds} s",
        "busy timeout": f"{agent.busy_timeout_seconds} s",
        "created": moment(agent.created_at),
        "last activity": moment(agent.last_activity_at),
    }
    print_fields([(name, value) for name, value in shown.items() if value])
