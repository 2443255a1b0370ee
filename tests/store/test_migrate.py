"""Migrations on a real Postgres: the same from any number of starts, and never backwards."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.script import ScriptDirectory

from raworc.errors import DatabaseUnavailable, Unavailable
from raworc.store.first_look import first_look
from raworc.store.migrate import differences, migrate
from raworc.store.migrations import HEAD
from raworc.store.migrations import __path__ as folder


def test_the_migrations_make_what_the_schema_says(database_url):
    assert differences(database_url) == []


def test_the_first_look_knows_the_newest_step():
    assert ScriptDirectory(next(iter(folder))).get_current_head() == HEAD


def test_starts_at_the_same_time_migrate_once(empty_url):
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(migrate, [empty_url] * 4)) == [None] * 4
    assert differences(empty_url) == []


def test_a_first_look_at_an_empty_and_at_a_ready_database(empty_url, database_url):
    empty, ready = first_look(empty_url), first_look(database_url)
    assert (empty.is_current, empty.admin_hash) == (False, None)
    assert ready.is_current
    assert ready.admin_hash.startswith("$argon2id$")
    assert ready.server_major >= 16


def test_a_schema_from_a_newer_program_is_refused_and_kept(database_url):
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match="schema '9999', which this program does not know"):
        migrate(database_url)
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    assert not first_look(database_url).is_current


def test_a_step_that_fails_says_why_and_leaves_everything_as_it_was(empty_url):
    with psycopg.connect(empty_url) as conn:
        conn.execute("CREATE TABLE turns AS SELECT 'kept' AS word")
    with pytest.raises(Exception, match='relation "turns" already exists'):
        migrate(empty_url)
    with psycopg.connect(empty_url) as conn:
        assert conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall() == [("turns",)]
        assert conn.execute("SELECT word FROM turns").fetchone() == ("kept",)
        conn.execute("DROP TABLE turns")
    migrate(empty_url)
    assert differences(empty_url) == []


def test_a_database_that_is_not_there_says_why(tmp_path):
    for look in (migrate, first_look):
        with pytest.raises(DatabaseUnavailable, match="No such file or directory"):
            look(f"postgresql://nobody@/none?host={tmp_path}")
