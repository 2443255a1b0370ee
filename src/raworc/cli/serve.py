"""``raworc up``, ``server``, ``operator`` and ``recorder``: the processes themselves."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from raworc.cli.options import spread
from raworc.settings import read_settings
from raworc.supervisor.entry import run_operator, run_recorder, run_server
from raworc.supervisor.up import run_up

Home = Annotated[
    Path | None, typer.Option(help="Where everything is kept. [default: /var/lib/raworc as root, else ~/.raworc]")
]


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 9000]", min=0, max=65535)] = None
    home: Home = None


@dataclass(frozen=True)
class Everything(Address):
    """Where to listen, and with how many server processes."""

    workers: Annotated[int | None, typer.Option(help="Server processes. [default: 1]", min=1, max=64)] = None


@spread
def up(options: Everything) -> None:
    """Start everything on this machine; Ctrl-C stops it."""
    run_up(read_settings(**asdict(options)))


@spread
def server(options: Address) -> None:
    """Run a server process alone."""
    run_server(read_settings(**asdict(options)))


def operator(*, home: Home = None) -> None:
    """Run an operator process alone."""
    run_operator(read_settings(home=home))


def recorder(*, home: Home = None) -> None:
    """Run a recorder process alone."""
    run_recorder(read_settings(home=home))
