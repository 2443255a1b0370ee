"""A database that goes away for a while, and a way to know that someone ran into it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql

from raworc.errors import DatabaseUnavailable
from raworc.store.database import Database
from raworc.supervisor.cluster import SUPERUSER, Cluster
from waiting import until


class Watched(Database):
    """Counts the readers that found nobody at home."""

    misses = 0

    @asynccontextmanager
    async def reading(self):
        try:
            async with super().reading() as conn:
                yield conn
        except DatabaseUnavailable:
            self.misses += 1
            raise


@asynccontextmanager
async def away(postgres: Cluster, db: Watched, *, misses: int = 1) -> AsyncIterator[None]:
    """Shut the database's doors, and open them once ``misses`` readers met them shut."""
    name = sql.Identifier(psycopg.conninfo.conninfo_to_dict(db.url)["dbname"])
    wanted = db.misses + misses
    with psycopg.connect(postgres.url("postgres", SUPERUSER), autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name.as_string()[1:-1]]
        )
        try:
            yield
            await until(lambda: db.misses >= wanted)
        finally:
            conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
