"""All rows out of a database and into another one: one snapshot out, one transaction in. Blocks.

Rows travel as COPY's text, which every version of Postgres reads; the target's tables are made by the migrations
up to the revision that the rows were written under, and brought to today's only then.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Final

import psycopg
from psycopg import IsolationLevel, sql
from sqlalchemy import Table

from raworc.clock import rfc3339
from raworc.domain.backup import Contents, SessionFiles, TableDump
from raworc.errors import Conflict, DatabaseUnavailable, Unavailable
from raworc.store import migrate
from raworc.store.database import CONNECT_TIMEOUT_S, translate
from raworc.store.migrations import HEAD
from raworc.store.recordings import day_statements
from raworc.store.records import metadata

PIECE_BYTES: Final = 4 * 1_048_576
_LEFT_OUT: Final = frozenset({"workers"})
"""Processes that ran then: none of them runs where it is restored."""


def tables() -> tuple[TableDump, ...]:
    """What is kept, parents before their children."""
    kept = (table for table in metadata.sorted_tables if table.name not in _LEFT_OUT)
    return tuple(TableDump(str(table.name), _columns(table)) for table in kept)


class Snapshot:
    """A database as it was at one moment, however long the reading takes. Made by :func:`snapshot`."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn
        self.contents = self._look()

    def rows(self, table: TableDump) -> Iterator[bytes]:
        """A table's rows, in pieces of about ``PIECE_BYTES`` that end with a row."""
        listed = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(listed, sql.Identifier(table.name))
        piece = bytearray()
        with self._conn.cursor() as cursor, cursor.copy(query) as copy:
            for row in copy:
                piece += row
                if len(piece) >= PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
        if piece:
            yield bytes(piece)

    def _look(self) -> Contents:
        run = self._conn.execute
        at = run("SELECT now()").fetchone()
        counts = run("SELECT (SELECT count(*) FROM agents), (SELECT count(*) FROM turns)").fetchone()
        days = run("SELECT DISTINCT (created_at AT TIME ZONE 'UTC')::date FROM requests ORDER BY 1").fetchall()
        sessions = run("SELECT id, number FROM sessions ORDER BY number").fetchall()
        agents, turns = counts or (0, 0)
        return Contents(
            at=rfc3339(at[0] if at else datetime.now(UTC)),
            agents=agents,
            turns=turns,
            days=tuple(day.isoformat() for (day,) in days),
            sessions=tuple(SessionFiles(str(session_id), number) for session_id, number in sessions),
        )


@contextmanager
def snapshot(url: str) -> Generator[Snapshot]:
    """Everything that was acknowledged before this is called is in it. Nobody else is held up.

    Raises:
        DatabaseUnavailable: no answer, or none any more.
        Unavailable: the database was not brought to this program's schema yet, or by a newer program.
    """
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S, application_name="raworc backup") as conn:
            conn.isolation_level = IsolationLevel.REPEATABLE_READ
            conn.read_only = True
            _check_current(conn)
            yield Snapshot(conn)
    except psycopg.Error as error:
        raise _meaning(error) from error


class Loading:
    """A database that is being filled. Made by :func:`loading`."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn

    def make_days(self, days: Iterable[str]) -> None:
        """The partitions that rows of recorded calls belong to."""
        for day in days:
            for statement in day_statements(date.fromisoformat(day)):
                self._conn.execute(statement)

    def fill(self, table: TableDump, pieces: Iterable[bytes]) -> None:
        """Add a table's rows. What its triggers would make of them is restored as well, so they keep still."""
        listed = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), listed)
        triggers = sql.SQL("ALTER TABLE {} {} TRIGGER USER")
        self._conn.execute(triggers.format(sql.Identifier(table.name), sql.SQL("DISABLE")))
        with self._conn.cursor() as cursor, cursor.copy(query) as copy:
            for piece in pieces:
                copy.write(piece)
        self._conn.execute(triggers.format(sql.Identifier(table.name), sql.SQL("ENABLE")))

    def finish(self, *, old_node: str, node: str) -> None:
        """Numbers go on behind the last one; what belonged to the old home belongs to this one."""
        owned = """SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = current_schema() AND is_identity = 'YES'"""
        for table, column in self._conn.execute(owned).fetchall():
            names = (sql.Literal(table), sql.Literal(column), sql.Identifier(column), sql.Identifier(table))
            command = "SELECT setval(pg_get_serial_sequence({}, {}), coalesce(max({}), 0) + 1, false) FROM {}"
            self._conn.execute(sql.SQL(command).format(*names))
        self._conn.execute("UPDATE sessions SET node = %s WHERE node = %s", [node, old_node])
        self._conn.execute("UPDATE builds SET node = %s WHERE node = %s", [node, old_node])
        self._conn.execute("UPDATE spool_positions SET node = %s WHERE node = %s", [node, old_node])


@contextmanager
def loading(url: str, revision: str, *, replace: bool) -> Generator[Loading]:
    """Fill a database in one transaction: all of it at the block's end, or nothing when the block fails.

    Raises:
        Conflict: there is a raworc in it already, and ``replace`` is not wanted.
        DatabaseUnavailable: no answer, or none any more.
        StorageFull: its disk is full.
    """
    try:
        with migrate.connected(url) as conn:
            with conn.begin():
                driver = migrate.driver_of(conn)
                migrate.lock(conn)
                if _is_used(driver):
                    if not replace:
                        raise Conflict("The database holds a raworc already: use '--replace' to have it thrown away")
                    _empty(driver)
                migrate.upgrade(conn, revision)
                yield Loading(driver)
                migrate.upgrade(conn, HEAD)
            driver.execute("ANALYZE")
            conn.commit()
    except psycopg.Error as error:
        raise _meaning(error) from error


def _is_used(conn: psycopg.Connection) -> bool:
    row = conn.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
    return row == (True,)


def _empty(conn: psycopg.Connection) -> None:
    """Ours only: others may have tables in this database."""
    names = [*(table.name for table in metadata.sorted_tables), "alembic_version"]
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.SQL(", ").join(map(sql.Identifier, names))))
    conn.execute("DROP SCHEMA IF EXISTS request_days CASCADE")
    ours = """SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'raworc\\_%'"""
    for (name,) in conn.execute(ours).fetchall():
        conn.execute(sql.SQL("DROP FUNCTION {} CASCADE").format(sql.SQL(name)))


def _check_current(conn: psycopg.Connection) -> None:
    found = conn.execute("SELECT version_num FROM alembic_version").fetchone() if _is_used(conn) else None
    if found is None:
        raise Unavailable("The database holds no raworc: nothing to back up")
    if found != (HEAD,):
        raise Unavailable(
            f"The database has schema '{found[0]}' and this program works with '{HEAD}': back it up with the version"
            " that runs on it, or start this one first, which brings an older schema up to date"
        )


def _columns(table: Table) -> tuple[str, ...]:
    return tuple(str(column.name) for column in table.columns if column.computed is None)


def _meaning(error: psycopg.Error) -> Exception:
    known = translate(error)
    if isinstance(known, Unavailable):
        return known
    return DatabaseUnavailable(f"The database refused: {str(error).strip()}")
