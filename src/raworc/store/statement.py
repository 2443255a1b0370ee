"""SQL that runs on every request: compiled once, then given straight to the driver.

An execution through SQLAlchemy costs about 0.3 ms of processor, the driver's own about 0.1 ms (it prepares what
comes again). Connections, transactions and the translation of errors stay ``database.py``'s.
"""

from collections.abc import Mapping
from typing import Any, cast

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import psycopg as dialects
from sqlalchemy.ext.asyncio import AsyncConnection

Row = tuple[Any, ...]


class Statement:
    """One text with ``:named`` parameters. Those whose type is given are cast to it; JSONB ones take plain values."""

    def __init__(self, clause: TextClause) -> None:
        compiled = clause.compile(dialect=dialects.dialect())
        self._sql = b" ".join(compiled.string.encode().split())  # the driver remembers texts of up to 4,096 bytes
        self._documents = tuple(name for name, bind in compiled.binds.items() if isinstance(bind.type, JSONB))

    async def all(self, conn: AsyncConnection, parameters: Mapping[str, Any]) -> list[Row]:
        """Every row of the result."""
        return await (await self._execute(conn, parameters)).fetchall()

    async def first(self, conn: AsyncConnection, parameters: Mapping[str, Any]) -> Row | None:
        """The first row, or None."""
        return await (await self._execute(conn, parameters)).fetchone()

    async def scalar(self, conn: AsyncConnection, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401  a column's
        """The first column of the first row, or None."""
        row = await self.first(conn, parameters)
        return None if row is None else row[0]

    async def run(self, conn: AsyncConnection, parameters: Mapping[str, Any]) -> None:
        """For its effect."""
        await self._execute(conn, parameters)

    async def _execute(self, conn: AsyncConnection, parameters: Mapping[str, Any]) -> psycopg.AsyncCursor[Row]:
        if conn.sync_connection is None:
            raise TypeError("The connection is not open")
        driver = cast("psycopg.AsyncConnection[Row]", conn.sync_connection.connection.driver_connection)
        given = dict(parameters)
        for name in self._documents:
            if given[name] is not None:
                given[name] = Jsonb(given[name])
        return await driver.execute(self._sql, given, binary=True)


async def composed(conn: AsyncConnection, statement: str, parameters: object) -> list[dict[str, Any]]:
    """The rows of a statement in the driver's own words (``%(name)s``), for texts that are put together when asked.

    Planned anew for its values each time: what fits a day does not fit a year.
    """
    return await _fetched(conn, statement, parameters, prepare=False)


async def repeated(conn: AsyncConnection, statement: str, parameters: object) -> list[dict[str, Any]]:
    """The same for statements that come again and again with values that are alike: the driver prepares them."""
    return await _fetched(conn, statement, parameters, prepare=None)


async def _fetched(
    conn: AsyncConnection, statement: str, parameters: object, *, prepare: bool | None
) -> list[dict[str, Any]]:
    raw = await conn.get_raw_connection()
    driver = cast("psycopg.AsyncConnection[Any]", raw.driver_connection)
    async with driver.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement.encode(), cast("Any", parameters), prepare=prepare)
        return await cursor.fetchall() if cursor.description else []
