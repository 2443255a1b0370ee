"""The first data model."""

from alembic import op

from raworc.store.records import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Take the step."""
    metadata.create_all(op.get_bind())
