"""``raworc operator``: one operator process, on a Postgres that is configured."""

from raworc.cli.address import DatabaseUrl, Home
from raworc.settings import read_settings
from raworc.supervisor.operator import run_operator


def operator(*, home: Home = None, database_url: DatabaseUrl = None) -> None:
    """Run an operator process alone."""
    run_operator(read_settings(home=home, database_url=database_url))
