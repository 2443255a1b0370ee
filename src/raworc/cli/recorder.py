"""``raworc recorder``: one recorder process, on a Postgres that is configured."""

from raworc.cli.address import DatabaseUrl, Home
from raworc.settings import read_settings
from raworc.supervisor.recorder import run_recorder


def recorder(*, home: Home = None, database_url: DatabaseUrl = None) -> None:
    """Run a recorder process alone."""
    run_recorder(read_settings(home=home, database_url=database_url))
