"""``raworc code-agents``: agents of spaces that are code of a repository."""

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json, spread
from raworc.cli.output import console, moment, print_fields, print_json, print_rows, printable
from raworc.cli.stop import Stop
from raworc.client.space_shapes import CodeAgent, Deployment

app = typer.Typer(no_args_is_help=True)

Space = Annotated[str, typer.Argument(metavar="SPACE", help="The space's name.", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.", show_default=False)]


@dataclass(frozen=True)
class NewOptions:
    """What may be said about a new agent."""

    source_branch: Annotated[str | None, typer.Option("--branch", help="Branch or tag; else the default one.")] = None
    description: Annotated[str | None, typer.Option(help="One line for people.")] = None
    purpose: Annotated[str | None, typer.Option(help="Which messages it is for.")] = None


@dataclass(frozen=True)
class ChangeOptions(NewOptions):
    """What may be changed; what is not given stays."""

    source_repo: Annotated[str | None, typer.Option("--repo", help="Where its code comes from.")] = None


@app.command("list")
def list_(space: Space, *, as_json: Json = False) -> None:
    """List the code agents of a space."""
    with connected() as client:
        found = client.code_agents.list(space)
    if as_json:
        print_json(found)
        return
    heads = ("NAME", "STATUS", "REPOSITORY", "BRANCH", "PURPOSE")
    rows = [(one.name, one.status, one.source_repo, one.source_branch or "-", one.purpose or "") for one in found]
    print_rows(heads, rows)


@app.command()
@spread
def create(
    space: Space,
    name: Name,
    source_repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name or an address.", show_default=False)],
    options: NewOptions,
    *,
    as_json: Json = False,
) -> None:
    """Make an agent of a repository; 'raworc builds latest --follow' shows how."""
    with connected() as client:
        _show(client.code_agents.create(space, name, source_repo, **asdict(options)), as_json=as_json)


@app.command()
def get(space: Space, name: Name, *, as_json: Json = False) -> None:
    """Show one of them."""
    with connected() as client:
        _show(client.code_agents.get(space, name), as_json=as_json)


@app.command()
@spread
def update(space: Space, name: Name, options: ChangeOptions, *, as_json: Json = False) -> None:
    """Change an agent; its space is built then."""
    with connected() as client:
        _show(client.code_agents.update(space, name, **asdict(options)), as_json=as_json)


@app.command()
def activate(space: Space, name: Name, *, as_json: Json = False) -> None:
    """Let an agent take messages again; its space is built then."""
    with connected() as client:
        _show(client.code_agents.switch(space, name, active=True), as_json=as_json)


@app.command()
def deactivate(space: Space, name: Name, *, as_json: Json = False) -> None:
    """Let an agent take no messages, and leave it out of builds."""
    with connected() as client:
        _show(client.code_agents.switch(space, name, active=False), as_json=as_json)


@app.command()
def delete(
    space: Space, name: Name, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Take an agent away."""
    with connected() as client:
        if not yes and not typer.confirm(f"Delete code agent '{name}' of space '{space}'?", err=True):
            raise Stop("nothing was deleted")
        client.code_agents.delete(space, name)
    typer.echo(f"Deleted '{name}'.")


@app.command()
def deploy(space: Space, name: Name, *, as_json: Json = False) -> None:
    """Keep an agent's handler warm in each session."""
    with connected() as client:
        _show_deployments((client.code_agents.deploy(space, name),), as_json=as_json)


@app.command()
def stop(space: Space, name: Name, *, as_json: Json = False) -> None:
    """Keep it warm no longer; it still answers messages."""
    with connected() as client:
        _show_deployments((client.code_agents.stop(space, name),), as_json=as_json)


@app.command()
def running(space: Space, *, as_json: Json = False) -> None:
    """List the agents whose handlers are kept warm."""
    with connected() as client:
        _show_deployments(client.code_agents.running(space), as_json=as_json)


@app.command()
def logs(
    space: Space, name: Name, *, last: Annotated[int, typer.Option(help="How many lines.")] = 100, as_json: Json = False
) -> None:
    """Show what an agent's handlers wrote."""
    with connected() as client:
        found = client.code_agents.logs(space, name, limit=last)
    if as_json:
        print_json(found)
        return
    out = console()
    for line in found.logs:
        out.print(printable(line))


def _show(agent: CodeAgent, *, as_json: bool) -> None:
    if as_json:
        print_json(agent)
        return
    shown = {
        "name": agent.name,
        "status": agent.status,
        "repository": agent.source_repo,
        "branch": agent.source_branch or "",
        "purpose": agent.purpose or "",
        "description": agent.description or "",
    }
    print_fields([(name, value) for name, value in shown.items() if value])


def _show_deployments(found: tuple[Deployment, ...], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_rows(("NAME", "STATUS", "SINCE (UTC)"), [(one.name, one.status, moment(one.started_at)) for one in found])
