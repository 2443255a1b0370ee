"""``raworc server``: the documented API and the gateway, on a Postgres that is configured."""

from dataclasses import asdict

from raworc.cli.address import Alone
from raworc.cli.options import spread
from raworc.settings import read_settings
from raworc.supervisor.server import run_server


@spread
def server(options: Alone) -> None:
    """Run a server process alone."""
    run_server(read_settings(**asdict(options)))
