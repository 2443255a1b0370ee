"""``raworc operator``: one operator process, on a Postgres that is configured."""

from raworc.cli.address import Home
from raworc.settings import read_settings
from raworc.supervisor.operator import run_operator


def operator(*, home: Home = None) -> None:
    """Run an operator process alone."""
    run_operator(read_settings(home=home))
