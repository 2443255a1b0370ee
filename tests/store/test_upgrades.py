"""Databases that exist: what people and agents did on them is there after an upgrade, and none is damaged."""

import hashlib
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.engine.mock import MockConnection

from asking import client_of
from catalog import catalog
from raworc.api.edge import EdgeOptions
from raworc.errors import Unavailable
from raworc.services.audit_log import verify
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.migrate import migrate
from raworc.store.migrations import __path__ as folder
from raworc.store.records import metadata
from raworc.supervisor.home import prepare_home
from raworc.wiring.server import server_parts
from served import serve

pytestmark = pytest.mark.anyio
INSTALLED = Path(__file__).with_name("installed_0001.sql")
STEPS = Path(next(iter(folder))) / "versions"
RELEASED = {
    "0001_first.py": "e3e80288c857301c",
    "0001_first.sql": "37ef6df3ddfe27e2",
    "0002_known.py": "8adcae98a3882d0f",
    "0003_chosen_conversations.py": "9c18df64bb054d58",
    "0003_chosen_conversations.sql": "8cbaa5b6346a9c16",
    "0004_placed_links.py": "c2d0f2a9bb27b675",
    "0004_placed_links.sql": "34cbc3ecd204ae41",
}
"""Digests of the steps that databases have taken: another one is added, these stay."""


def model() -> str:
    """The statements that make the data model in an empty database, as it is now."""
    said: list[str] = []
    speech = dialect(paramstyle="named")  # so that '%' is written once

    def note(clause: object, *_: object, **__: object) -> None:
        said.append(str(clause.compile(dialect=speech)))

    metadata.create_all(MockConnection(speech, note), checkfirst=False)
    return ";\n".join(said)


def rows(conn: psycopg.Connection) -> dict[str, int]:
    names = conn.execute("SELECT schemaname, relname FROM pg_stat_user_tables").fetchall()
    counts = {name: sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*name)) for name in names}
    return {".".join(name): conn.execute(count).fetchone()[0] for name, count in counts.items()}


@pytest.fixture
def installed_url(empty_url: str) -> str:
    """A database of the first step on which agents worked."""
    with psycopg.connect(empty_url, autocommit=True) as conn:
        conn.execute(INSTALLED.read_bytes())
    return empty_url


def test_the_steps_make_what_the_data_model_says(database_url: str, empty_url: str):
    with psycopg.connect(empty_url) as anew, psycopg.connect(database_url) as migrated:
        anew.execute(model().encode())
        assert catalog(migrated) == catalog(anew)


def test_a_database_that_exists_becomes_what_a_new_one_is_and_keeps_every_row(installed_url: str, database_url: str):
    with psycopg.connect(installed_url, autocommit=True) as conn, psycopg.connect(database_url) as new:
        before = rows(conn)
        migrate(installed_url)
        assert catalog(conn) == catalog(new)
        assert rows(conn) == before
    assert before["public.turns"] == 5


def test_a_step_that_databases_have_taken_stays_as_it_is():
    steps = {
        step.name: hashlib.sha256(step.read_bytes()).hexdigest()[:16] for step in STEPS.iterdir() if step.is_file()
    }
    assert steps == RELEASED


async def test_what_was_done_before_an_upgrade_is_told_after_it(installed_url: str, home: Path):
    migrate(installed_url)
    settings = Settings(home=home, database_url=installed_url, pool_size=4)
    prepare_home(settings)
    options = EdgeOptions(str(settings.gateway_socket), str(settings.model_socket), b"k" * 32)
    async with server_parts(settings) as parts, serve(parts.app, options) as served:
        async with client_of(served, None) as nobody:
            token = (await nobody.ask("POST", "/operators/admin/login", {"pass": "admin"})).json()["token"]
        async with client_of(served, token) as admin:
            sessions = (await admin.http.get(f"{served.url}/spaces/api/v0/sessions")).json()
            calls = (await admin.http.get(f"{served.url}/api/requests")).json()["requests"]
            talks = (await admin.http.get(f"{served.url}/api/conversations?model=scripted")).json()["conversations"]
    assert [(one["space"], one["state"]) for one in sessions] == [("studio", "TERMINATED")] * 3
    assert (len(calls), len(talks)) == (14, 5)
    db = Database(installed_url, pool_size=1)
    verdict = await verify(db)
    await db.close()
    assert (verdict.entries, verdict.broken) == (57 + 1, None)  # the login of just now


def test_a_database_of_an_unfinished_first_step_is_refused_and_kept(installed_url: str):
    with psycopg.connect(installed_url, autocommit=True) as conn:
        conn.execute("ALTER TABLE links DROP COLUMN retry_of CASCADE")
        before = rows(conn)
        with pytest.raises(Unavailable, match="from before its first release"):
            migrate(installed_url)
        assert conn.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert rows(conn) == before
