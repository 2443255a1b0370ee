"""Connections and transactions: the only place that knows the driver and translates its errors.

``connect`` strings are libpq's (a ``postgresql://`` address or ``key=value`` pairs), read by libpq itself, so
sockets, several hosts and TLS options all work. Writers use :meth:`Database.transaction` or
:meth:`Database.run`; both are short, and nothing slow happens inside one.
"""

import asyncio
import random
import select
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Literal, TypeVar, cast

import msgspec
import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy import event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from raworc.errors import DatabaseUnavailable, StorageFull, Unauthorized

T = TypeVar("T")

POOL_WAIT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5
_STATEMENT_TIMEOUT_MS: Final = 60_000
_RUN_ATTEMPTS: Final = 6
_DISK_CLASSES: Final = ("53100",)
_AWAY_CLASSES: Final = ("08", "57P01", "57P02", "57P03", "57P05", "57014", "53300", "25006")
_OWNER: Final = "fk_agents_owner_id"  # broken only by who creates an agent while his account is deleted
_RETRY_STATES: Final = ("40001", "40P01")


class Duplicate(Exception):
    """A row with this key exists; ``constraint`` names the unique constraint or index."""

    def __init__(self, constraint: str) -> None:
        super().__init__(f"duplicate key in '{constraint}'")
        self.constraint = constraint


class Conflicted(Exception):
    """Postgres undid this transaction for the sake of another one; doing all of it again is right."""


def translate(error: BaseException) -> Exception | None:
    """What a driver's error means to us, or None when it is a mistake of ours and should be seen as it is."""
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate or ""
    if state == "23505" or error.diag.constraint_name == _OWNER:
        return Duplicate(error.diag.constraint_name or "") if state == "23505" else _deleted()
    if state in _RETRY_STATES:
        return Conflicted(str(error))
    if state.startswith(_DISK_CLASSES):
        return StorageFull("The database's disk is full: free some space, then try again", headers={"Retry-After": "5"})
    if state.startswith(_AWAY_CLASSES) or (not state and isinstance(error, psycopg.OperationalError)):
        return _away()
    return None


class Database:
    """Bounded connections to one Postgres, half for writing and half for reading. Usable from one event loop.

    Reads have their own, so that a queue of writers does not hold them up, and none has to change its mode.
    """

    def __init__(self, url: str, *, pool_size: int) -> None:
        self.url = url
        self.pool_size = pool_size
        readers = max(pool_size // 2, 1)
        self._writers = _engine(url, max(pool_size - readers, 1), "READ COMMITTED")
        self._readers = _engine(url, readers, "AUTOCOMMIT")
        self._write_turns = asyncio.Semaphore(max(pool_size - readers, 1))
        self._read_turns = asyncio.Semaphore(readers)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One transaction, committed at exit, undone by any exception.

        Raises:
            DatabaseUnavailable: no connection, or it broke; at exit the outcome may be unknown.
            StorageFull: the database's disk is full; nothing was stored.
            Duplicate: a unique key is taken.
            Conflicted: see :meth:`run`.
        """
        return _translated(self._writers.begin(), self._write_turns)

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection whose statements each see what is committed at that moment. Raises as ``transaction``."""
        return _translated(self._readers.connect(), self._read_turns)

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """``work`` in one transaction, all of it again when Postgres asks for it (serialization, deadlock).

        ``work`` must have no effect outside the database.
        """
        for attempt in range(_RUN_ATTEMPTS):
            try:
                async with self.transaction() as conn:
                    return await work(conn)
            except Conflicted:
                await asyncio.sleep(random.uniform(0.005, 0.02) * 2**attempt)  # noqa: S311  spread, not secrecy
        raise DatabaseUnavailable(
            "The database is too busy with the same rows; try again", headers={"Retry-After": "1"}
        )

    @property
    def in_use(self) -> int:
        """Connections that somebody works with now."""
        return sum(cast("QueuePool", engine.pool).checkedout() for engine in (self._writers, self._readers))

    async def close(self) -> None:
        """Give every connection back to Postgres."""
        await self._writers.dispose()
        await self._readers.dispose()


def _busy() -> DatabaseUnavailable:
    return DatabaseUnavailable("Every database connection is busy; try again", headers={"Retry-After": "1"})


def _away() -> DatabaseUnavailable:
    return DatabaseUnavailable("The database does not answer; try again shortly", headers={"Retry-After": "1"})


def _deleted() -> Unauthorized:
    return Unauthorized("The account that asked was deleted meanwhile")


def _engine(url: str, pool_size: int, isolation: Literal["AUTOCOMMIT", "READ COMMITTED"]) -> AsyncEngine:
    adapters = AdaptersMap(psycopg.adapters)  # the engine's own JSON settings stop at a custom connect
    set_json_dumps(msgspec.json.encode, adapters)
    set_json_loads(msgspec.json.decode, adapters)

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            url,
            context=adapters,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="raworc",
            options=f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=UTC",
        )

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        isolation_level=isolation,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        pool_use_lifo=True,
        skip_autocommit_rollback=True,
    )
    event.listen(engine.sync_engine, "handle_error", _replace)
    event.listen(engine.sync_engine.pool, "checkout", _discard_dead)
    return engine


@asynccontextmanager
async def _translated(
    opening: AbstractAsyncContextManager[AsyncConnection], turns: asyncio.Semaphore
) -> AsyncGenerator[AsyncConnection]:
    await _my_turn(turns)
    try:
        async with opening as conn:
            yield conn
    except exc.TimeoutError:
        raise _busy() from None
    except psycopg.Error as error:  # from COPY and the like, which go past SQLAlchemy
        raise (translate(error) or error) from error
    finally:
        turns.release()


async def _my_turn(turns: asyncio.Semaphore) -> None:
    """Wait in line for a connection: the pool gives one that is given back to whoever comes first, not who waited."""
    if not turns.locked():
        await turns.acquire()
        return
    try:
        async with asyncio.timeout(POOL_WAIT_S):
            await turns.acquire()
    except TimeoutError:
        raise _busy() from None


def _replace(context: ExceptionContext) -> None:
    known = translate(context.original_exception)
    if known is not None:
        raise known from context.original_exception


def _discard_dead(_adapted: object, entry: ConnectionPoolEntry, _proxy: object) -> None:
    """Notice a connection that Postgres closed while it lay in the pool, without a round trip.

    An idle connection has nothing to say: bytes (a farewell) or an end of file mean that it is gone.
    """
    connection = entry.driver_connection
    if not isinstance(connection, psycopg.AsyncConnection):
        return
    poller = select.poll()
    try:
        poller.register(connection.fileno(), select.POLLIN)
    except psycopg.Error:
        raise exc.DisconnectionError from None
    if poller.poll(0):
        raise exc.DisconnectionError
