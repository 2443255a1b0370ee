"""What Alembic runs for every command: our metadata, on the connection that ``migrate.py`` hands in."""

from alembic import context

from raworc.store.records import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_server_default=False,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
