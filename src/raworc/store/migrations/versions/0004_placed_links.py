"""Calls are in the index of conversations once they are placed: ``0004_placed_links.sql``."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Take the step: all statements at once, as they stand."""
    connection = op.get_bind().connection.driver_connection
    connection.execute(Path(__file__).with_suffix(".sql").read_text())
