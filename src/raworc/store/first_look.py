"""What a start asks the database before it loads anything larger than the driver."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

from raworc.errors import DatabaseUnavailable
from raworc.store.migrations import HEAD

CONNECT_TIMEOUT_S = 5


@dataclass(frozen=True)
class FirstLook:
    """``server_major`` is Postgres' version; ``admin_hash`` is None until there is an account ``admin``."""

    server_major: int
    is_current: bool
    admin_hash: str | None


def first_look(url: str) -> FirstLook:
    """Look; nothing is changed.

    Raises:
        DatabaseUnavailable: no answer; the message carries the driver's reason.
    """
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S, autocommit=True) as conn:
            major = conn.info.server_version // 10_000
            if _one(conn, "SELECT to_regclass('alembic_version') IS NOT NULL") is not True:
                return FirstLook(major, is_current=False, admin_hash=None)
            revision = _one(conn, "SELECT version_num FROM alembic_version")
            stored = _one(conn, "SELECT password_hash FROM accounts WHERE lower(name) = 'admin'")
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"The database does not answer: {str(error).strip()}") from error
    return FirstLook(major, is_current=revision == HEAD, admin_hash=stored if isinstance(stored, str) else None)


def _one(conn: psycopg.Connection, query: LiteralString) -> object:
    row = conn.execute(query).fetchone()
    return row[0] if row else None
