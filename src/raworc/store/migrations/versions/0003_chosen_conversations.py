"""Conversations know what their calls asked for: ``0003_chosen_conversations.sql``."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Take the step: all statements at once, as they stand."""
    connection = op.get_bind().connection.driver_connection
    connection.execute(Path(__file__).with_suffix(".sql").read_text())
