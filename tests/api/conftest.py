"""The whole server application behind the real HTTP edge, in the tests' event loop: one for each file of tests.

Operators do not run here: what they would do, ``works`` writes as they would. Tests of a file share a database,
so each makes agents of its own.
"""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from asking import Api, client_of, somebody
from cluster import clone, drop
from raworc.api.edge import EdgeOptions
from raworc.services import progress
from raworc.services.progress import Entry
from raworc.settings import Settings
from raworc.store import agents as agent_rows
from raworc.store.database import Database
from raworc.store.schema import sessions
from raworc.supervisor.cluster import Cluster
from raworc.supervisor.home import prepare_home
from raworc.wiring.server import server_parts
from served import Served, serve
from spaced import begun, made_space
from works import Works


@pytest.fixture(scope="module")
def settings(postgres: Cluster) -> Iterator[Settings]:
    name = clone(postgres)
    with tempfile.TemporaryDirectory(prefix="rw-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        chosen = Settings(home=Path(folder), database_url=postgres.url(name), pool_size=4)
        prepare_home(chosen)
        yield chosen
    drop(postgres, name)


@pytest.fixture(scope="module")
async def db(settings: Settings, anyio_backend: str) -> AsyncIterator[Database]:
    database = Database(str(settings.database_url), pool_size=2)
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def served(settings: Settings) -> AsyncIterator[Served]:
    options = EdgeOptions(
        door_socket=str(settings.gateway_socket), model_socket=str(settings.model_socket), door_key=b"k" * 32
    )
    async with server_parts(settings) as parts, serve(parts.app, options) as running:
        yield running


@pytest.fixture(scope="module")
async def nobody(served: Served) -> AsyncIterator[Api]:
    """A caller without a token."""
    async with client_of(served, None) as api:
        yield api


@pytest.fixture(scope="module")
async def admin(served: Served, nobody: Api) -> AsyncIterator[Api]:
    answer = await nobody.ask("POST", "/operators/admin/login", {"pass": "admin"})
    async with client_of(served, answer.json()["token"]) as api:
        yield api


@pytest.fixture(scope="module")
async def other(served: Served, db: Database) -> AsyncIterator[Api]:
    """An ordinary account, ``olive``."""
    async with somebody(served, db, "olive") as api:
        yield api


@pytest.fixture(scope="module")
async def works(db: Database) -> Works:
    """See ``works.Works``."""

    async def write(name: str, *entries: Entry, **columns: Any) -> int:
        async with db.transaction() as conn:
            row = await agent_rows.find(conn, name)
            assert row is not None
            if columns:
                await conn.execute(update(sessions).where(sessions.c.id == row.session_id).values(**columns))
            return (await progress.write(conn, row.session_id, list(entries))).event_seq

    return write


@pytest.fixture
async def spaces(admin: Api) -> AsyncIterator[Api]:
    token = admin.http.headers["authorization"].removeprefix("Bearer ")
    async with client_of(admin.served, token, "spaces") as api:
        yield api


@pytest.fixture
async def organizations(admin: Api) -> AsyncIterator[Api]:
    token = admin.http.headers["authorization"].removeprefix("Bearer ")
    async with client_of(admin.served, token, "organizations") as api:
        yield api


@pytest.fixture
async def space(spaces: Api) -> str:
    """A new space."""
    return await made_space(spaces)


@pytest.fixture
async def path(spaces: Api, space: str) -> str:
    """The path of a new session of the space."""
    return f"/sessions/{(await begun(spaces, space=space))['id']}"
