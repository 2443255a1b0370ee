"""Bring a database to the data model of this program: under a lock, forwards only. Blocks."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from raworc.errors import DatabaseUnavailable, Unavailable
from raworc.store.database import CONNECT_TIMEOUT_S
from raworc.store.records import metadata

MIN_SERVER_MAJOR: Final = 16
_LOCK: Final = 7_236_901  # any number that is ours alone
_FOLDER: Final = Path(__file__).parent / "migrations"


def migrate(url: str) -> None:
    """Apply every step the database lacks. Several processes may call at once: one works, the others wait.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        Unavailable: the server is older than Postgres 16, or the schema is newer than this program.
    """
    with connected(url) as conn:
        conn.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        conn.commit()
        try:
            _refuse_newer(conn, known_schemas())
            upgrade(conn, "head")
            conn.commit()
        finally:
            conn.rollback()  # of a step that failed: else the unlocking fails as well, and is taken for the reason
            conn.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            conn.commit()


def differences(url: str) -> list[object]:
    """What ``store/schema.py`` says that the migrated database lacks, or the other way round."""
    with connected(url) as conn:
        return list(compare_metadata(MigrationContext.configure(conn), metadata))


def known_schemas() -> frozenset[str]:
    """Every revision that this program can bring up to date."""
    return frozenset(script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions())


def lock(conn: Connection) -> None:
    """Keep every other migration out until the transaction ends."""
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def upgrade(conn: Connection, revision: str) -> None:
    """Apply the steps up to ``revision``; inside a transaction that has begun, if it has."""
    command.upgrade(_config(conn), revision)


def driver_of(conn: Connection) -> psycopg.Connection:
    """The driver's own connection, for what SQLAlchemy does not know (COPY)."""
    return cast("psycopg.Connection", conn.connection.driver_connection)


def _refuse_newer(conn: Connection, known: frozenset[str]) -> None:
    for revision in MigrationContext.configure(conn).get_current_heads():
        if revision not in known:
            raise Unavailable(
                f"The database has schema '{revision}', which this program does not know: start the newer version of"
                " raworc that wrote it, or restore a backup"
            )


@contextmanager
def connected(url: str) -> Generator[Connection]:
    """One connection. Raises as :func:`migrate`."""

    def connect() -> psycopg.Connection:
        try:
            return psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S, application_name="raworc migrate")
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(f"The database does not answer: {str(error).strip()}") from error

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    with engine.connect() as conn:
        major = int(str((conn.dialect.server_version_info or (0,))[0]))
        if major < MIN_SERVER_MAJOR:
            raise Unavailable(f"The database is Postgres {major}: raworc needs {MIN_SERVER_MAJOR} or newer")
        yield conn


def _config(conn: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config
