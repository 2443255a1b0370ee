"""``raworc builds``: how a space's code agents are made of their repositories."""

from typing import Annotated

import typer

from raworc.cli.connection import connected
from raworc.cli.options import Json
from raworc.cli.output import console, moment, print_fields, print_json, printable
from raworc.cli.stop import Stop
from raworc.client import Raworc
from raworc.client.space_shapes import Build

app = typer.Typer(no_args_is_help=True)

Space = Annotated[str, typer.Argument(metavar="SPACE", help="The space's name.", show_default=False)]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show its log as it comes, until it has ended.")]


@app.command()
def start(space: Space, *, follow: Follow = False, as_json: Json = False) -> None:
    """Have a space built. While a build waits that has not begun, that one will do."""
    with connected() as client:
        build = client.builds.start(space)
        if follow:
            _follow(client, space, build, as_json=as_json)
        else:
            _show(build, as_json=as_json)


@app.command()
def latest(space: Space, *, follow: Follow = False, as_json: Json = False) -> None:
    """Show the build that was asked for last."""
    with connected() as client:
        build = client.builds.latest(space)
        if follow:
            _follow(client, space, build, as_json=as_json)
        else:
            _show(build, as_json=as_json)


@app.command()
def get(
    space: Space,
    build_id: Annotated[str, typer.Argument(metavar="BUILD", help="The build's id.", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Show one build with its log."""
    with connected() as client:
        _show(client.builds.get(space, build_id), as_json=as_json)


def _follow(client: Raworc, space: str, build: Build, *, as_json: bool) -> None:
    """Its log as it grows; a build that failed ends the command with 1."""
    out, told = console(), ""
    for found in client.builds.follow(space, build):
        build = found
        if as_json:
            continue
        fresh = build.logs.removeprefix(told)
        out.print(printable(fresh), end="")
        told = build.logs
    if as_json:
        print_json(build)
    if build.status == "failed":
        raise Stop(f"build '{build.id}' failed")


def _show(build: Build, *, as_json: bool) -> None:
    if as_json:
        print_json(build)
        return
    shown = {"id": build.id, "status": build.status, "began": moment(build.started_at)}
    print_fields([*shown.items(), ("ended", moment(build.completed_at))])
    if build.logs:
        console().print("\n" + printable(build.logs), end="")
