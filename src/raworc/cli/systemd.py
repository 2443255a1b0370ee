"""``raworc systemd``: the unit that lets systemd run this installation."""

import sys
from typing import Annotated, get_args

import typer

from raworc.cli.address import Home
from raworc.cli.stop import Stop
from raworc.settings import read_settings
from raworc.supervisor.unit import Kind, Wish, unit

KindName = Annotated[str, typer.Argument(metavar="[up|server|operator|recorder]", help="What it runs.")]
User = Annotated[str | None, typer.Option(help="The account it runs as. [default: root, which isolates best]")]


def systemd(kind: KindName = "up", *, home: Home = None, user: User = None) -> None:
    """Print a systemd unit: 'raworc systemd > /etc/systemd/system/raworc.service'."""
    wanted: Kind | None = next((known for known in get_args(Kind) if known == kind), None)
    if wanted is None:
        raise Stop(f"'{kind}' is none of {', '.join(get_args(Kind))}")
    typer.echo(unit(Wish(wanted, read_settings(home=home).home, user, sys.executable)), nl=False)
