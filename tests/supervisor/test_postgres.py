"""The embedded Postgres: who may enter, what survives, who finds it again."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from conftest import short_home
from raworc.errors import Unavailable
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.supervisor.cluster import LOG_BYTES, SUPERUSER, has_ended
from raworc.supervisor.home import prepare_home
from raworc.supervisor.postgres import EmbeddedPostgres
from waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def installed() -> Iterator[Settings]:
    """A home with a database in it; nothing runs."""
    with short_home() as folder:
        settings = Settings(home=folder)
        prepare_home(settings)
        yield settings


@pytest.fixture
async def running(installed):
    embedded = EmbeddedPostgres(installed)
    await embedded.start()
    yield embedded
    await embedded.stop()


def _value(embedded: EmbeddedPostgres, query: str, role: str = "raworc") -> object:
    with psycopg.connect(embedded.cluster.url(role=role), autocommit=True) as conn:
        return conn.execute(query).fetchone()[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen_addresses", ""),
        ("synchronous_commit", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("restart_after_crash", "on"),
        ("timezone", "UTC"),
    ],
)
async def test_it_is_safe_by_default(running, name, value):
    assert _value(running, f"SHOW {name}") == value


async def test_what_stands_in_rows_is_not_logged(running):
    with psycopg.connect(running.cluster.url(), autocommit=True) as conn:
        conn.execute("CREATE TEMP TABLE things (name text UNIQUE CHECK (name <> 'canary-1'))")
        conn.execute("INSERT INTO things VALUES (%s)", ["canary-2"])
        for value in ("canary-1", "canary-2"):
            with pytest.raises(psycopg.IntegrityError):
                conn.execute("INSERT INTO things VALUES (%s)", [value])
    logged = running.cluster.log_file.read_text()
    assert "unique constraint" in logged
    assert "canary" not in logged


async def test_a_full_log_is_emptied_under_the_running_server(running):
    file = running.cluster.log_file
    os.truncate(file, LOG_BYTES + 1)
    running.cluster.turn_log_over()
    assert file.with_name(f"{file.name}.1").stat().st_size > LOG_BYTES
    with (
        psycopg.connect(running.cluster.url(), autocommit=True) as conn,
        pytest.raises(psycopg.errors.UndefinedTable),
    ):
        conn.execute("SELECT * FROM after_the_turn")
    assert "after_the_turn" in file.read_text()
    assert file.stat().st_size < 10_000
    file.with_name(f"{file.name}.1").unlink()


async def test_text_sorts_the_same_everywhere(running):
    query = "SELECT datlocprovider::text || ' ' || datlocale FROM pg_database WHERE datname = current_database()"
    assert _value(running, query) == "b C.UTF-8"


async def test_our_role_is_not_the_superuser_and_owns_the_database(running):
    assert _value(running, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    assert _value(running, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'raworc'") == "raworc"
    assert _value(running, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user", SUPERUSER) is True


async def test_the_folders_of_postgres_are_its_own(running, installed):
    for folder in (running.cluster.data, installed.postgres_socket_dir):
        status = folder.stat()
        assert status.st_mode & 0o777 == 0o700
        assert status.st_uid == running.cluster.installation.owner.pw_uid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_another_user_cannot_connect(running):
    program = f"import psycopg; psycopg.connect({running.url!r})"
    command = ["setpriv", "--reuid", "nobody", "--clear-groups", sys.executable, "-c", program]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "Permission denied" in ended.stderr


async def test_nobody_connects_under_a_name_that_is_not_his(running, installed):
    hba = (running.cluster.data / "pg_hba.conf").read_text().split("\n")
    assert [line for line in hba if line and not line.startswith("#")] == ["local all all peer map=raworc"]
    with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
        psycopg.connect(running.cluster.url(role="somebody"))


async def test_a_killed_postmaster_comes_back_with_all_that_was_committed(running):
    db = Database(running.url, pool_size=2)
    async with db.transaction() as conn:
        await conn.exec_driver_sql("CREATE TABLE IF NOT EXISTS kept (n int)")
        await conn.exec_driver_sql("INSERT INTO kept VALUES (1)")
    before = running.cluster.pid()
    os.kill(before, signal.SIGKILL)
    await until(lambda: running.cluster.condition() == "ready" and running.cluster.pid() != before)
    async with db.reading() as conn:
        assert (await conn.exec_driver_sql("SELECT count(*) FROM kept")).scalar_one() >= 1
    await db.close()


async def test_it_is_found_again_after_our_own_crash(installed):
    crashed = EmbeddedPostgres(installed)
    await crashed.start()
    pid = crashed.cluster.pid()
    crashed._keeping.cancel()  # what a killed supervisor leaves behind: a Postgres and nobody who watches it

    found = EmbeddedPostgres(installed)
    await found.start()
    try:
        assert found.cluster.pid() == pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: found.cluster.condition() == "ready" and found.cluster.pid() != pid)
    finally:
        await found.stop()


async def test_a_stale_pid_file_that_names_a_stranger_is_not_believed(installed):
    embedded = EmbeddedPostgres(installed)
    await embedded.start()
    await embedded.stop()
    (embedded.cluster.data / "postmaster.pid").write_text(f"{os.getpid()}\n{embedded.cluster.data}\n0\n5432\n")
    assert embedded.cluster.pid() is None
    (embedded.cluster.data / "postmaster.pid").unlink()


async def test_stopping_leaves_nothing_behind(installed):
    embedded = EmbeddedPostgres(installed)
    await embedded.start()
    pid = embedded.cluster.pid()
    await embedded.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert embedded.cluster.condition() == "stopped"


def test_the_corpse_of_another_ones_child_counts_as_ended():
    program = "import os, time; pid = os.fork(); print(pid, flush=True) if pid else os._exit(0); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        corpse = int(parent.stdout.readline())
        ends = time.monotonic() + 10
        while not has_ended(corpse):
            assert time.monotonic() < ends
        assert Path(f"/proc/{corpse}").exists()
        assert not has_ended(parent.pid)
        parent.kill()


async def test_a_postgres_that_will_not_stop_is_made_to(installed):
    embedded = EmbeddedPostgres(installed)
    await embedded.start()
    pid = embedded.cluster.pid()
    os.kill(pid, signal.SIGSTOP)
    await embedded.stop(timeout_s=0.1)
    await until(lambda: embedded.cluster.pid() is None)


async def test_a_home_with_a_long_path_gets_a_short_socket(installed):
    with short_home() as folder:
        settings = Settings(home=folder / ("long" * 25))
        prepare_home(settings)
        embedded = EmbeddedPostgres(settings)
        try:
            await embedded.start()
            assert _value(embedded, "SELECT 1") == 1
        finally:
            await embedded.stop()
            shutil.rmtree(settings.socket_dir)


async def test_a_home_may_have_a_strange_name(installed):
    with short_home() as folder:
        settings = Settings(home=folder / "a b'c%41ü&=?")
        prepare_home(settings)
        embedded = EmbeddedPostgres(settings)
        try:
            await embedded.start()
            assert _value(embedded, "SELECT 1") == 1
            db = Database(embedded.url, pool_size=1)
            async with db.reading() as conn:
                assert (await conn.exec_driver_sql("SELECT 2")).scalar_one() == 2
            await db.close()
        finally:
            await embedded.stop()


async def test_data_of_another_major_version_is_left_alone(installed):
    with short_home() as folder:
        settings = Settings(home=folder)
        prepare_home(settings)
        (folder / "pg" / "data").mkdir()
        (folder / "pg" / "data" / "PG_VERSION").write_text("17\n")
        with pytest.raises(Unavailable, match="Postgres 17"):
            await EmbeddedPostgres(settings).start()


async def test_half_an_installation_is_started_over(installed):
    with short_home() as folder:
        settings = Settings(home=folder)
        prepare_home(settings)
        (folder / "pg" / "data.new").mkdir()
        (folder / "pg" / "data.new" / "PG_VERSION").write_text("18\n")
        embedded = EmbeddedPostgres(settings)
        await embedded.start()
        assert _value(embedded, "SELECT current_user") == "raworc"
        await embedded.stop()
