"""``raworc up``: everything on this machine."""

from dataclasses import asdict

from raworc.cli.address import Served
from raworc.cli.options import spread
from raworc.settings import read_settings
from raworc.supervisor.up import run_up


@spread
def up(options: Served) -> None:
    """Start everything on this machine; Ctrl-C stops it."""
    run_up(read_settings(**asdict(options)))
