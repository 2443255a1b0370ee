"""A backup made under load, and what is restored from it: nothing acknowledged before it is missing."""

import gzip
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import msgspec
import psycopg
import pytest

from cluster import clone, drop
from conftest import short_home
from raworc.client import Raworc
from raworc.domain.backup import MANIFEST, Manifest
from raworc.errors import BadRequest, Conflict, RaworcError
from raworc.settings import Settings
from raworc.store.migrations import HEAD
from raworc.supervisor.archive import writing
from raworc.supervisor.audit import run_verify
from raworc.supervisor.backup import run_backup
from raworc.supervisor.cluster import Cluster
from raworc.supervisor.home import UNFINISHED, claimed, prepare_home
from raworc.supervisor.restore import needs_key, run_restore
from stack import Stack
from threaded import Threaded, threaded

PROVIDERS_KEY = "sk-kept-in-the-dark-4712"
CANARY = "kept-in-the-dark-8231"
WORK = r"""```bash
mkdir -p a/b && echo deep > a/b/c && chmod 751 a/b/c && ln a/b/c twin && ln -s /etc/passwd out
truncate -s 1G sparse && echo end >> sparse && touch empty "$(printf 'n\377')"
```"""


class Backup:
    """A stack's backup, and what was acknowledged when it began."""

    def __init__(self, stack: Stack, file: Path, provider: Threaded) -> None:
        self.file, self.stack, self.provider = file, stack, provider
        self.acknowledged: set[str] = set()
        client = stack.client()
        self.agents = [client.agents.create(f"kept-{number}", secrets={"CANARY": CANARY}).name for number in range(3)]
        client.responses.ask(self.agents[0], WORK)
        self._stop = threading.Event()
        upstream = client.upstreams.create(
            "kept", "custom", base_url=provider.url, models=["kept-*"], credential=PROVIDERS_KEY
        )
        with ThreadPoolExecutor(len(self.agents)) as threads:
            working = [threads.submit(self._work, agent) for agent in self.agents]
            while len(self.acknowledged) < 6:
                self._stop.wait(0.02)
            self.before = set(self.acknowledged)
            self.manifest = run_backup(stack.settings, file, with_keys=True, tell=lambda _: None)
            self._stop.set()
            for work in working:
                work.result()
        client.upstreams.delete(upstream.id)  # the stack is others', too

    def _work(self, agent: str) -> None:
        with Raworc(self.stack.url) as client:
            client.login("admin", "admin")
            while not self._stop.is_set():
                self.acknowledged.add(client.responses.create(agent, "hello").id)
                self._stop.wait(0.06)


@pytest.fixture(scope="module")
def backup(steady_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backup]:
    with threaded(lambda _: ("application/json", b'{"model": "kept-1"}')) as provider:
        yield Backup(steady_stack, tmp_path_factory.mktemp("backup") / "all.tar.gz", provider)


@pytest.fixture
def target(home: Path, empty_url: str) -> Settings:
    return Settings(home=home, database_url=empty_url, pool_size=4, uid_base=1_800_000_000)


def restore(target: Settings, file: Path, *, replacing: bool = False) -> Manifest:
    return run_restore(target, file, replace=replacing, tell=lambda _: None)


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as conn:
        return conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  a table's name


@pytest.fixture(scope="module")
def restored(backup: Backup, postgres: Cluster) -> Iterator[Stack]:
    """Another home and database, filled from the backup and started."""
    name = clone(postgres, template="template1")
    with short_home() as home:
        settings = Settings(home=home, database_url=postgres.url(name), uid_base=1_800_000_000)
        restore(settings, backup.file)
        running = Stack(settings)
        try:
            running.start("server", "operator", "recorder")
            yield running
        finally:
            running.close()
            drop(postgres, name)


def test_it_holds_what_was_acknowledged_when_it_was_made(backup: Backup, restored: Stack):
    with psycopg.connect(restored.settings.database_url) as conn:
        rows = conn.execute("SELECT id::text FROM turns WHERE created_at <= %s", [backup.manifest.contents.at])
        kept = {turn_id for (turn_id,) in rows}
    assert backup.before <= kept
    assert len(kept) == backup.manifest.contents.turns
    assert backup.file.stat().st_mode & 0o777 == 0o600


def test_what_is_restored_works_on(backup: Backup, restored: Stack):
    client, agent = restored.client(), backup.agents[0]
    said = client.responses.ask(
        agent,
        "```bash\ncat a/b/c twin; stat -c '%a %h' a/b/c; readlink out; stat -c %s sparse; tail -c4 sparse; echo $CANARY"
        "; [ -O a/b/c ] && ls -b\n```",
    )
    lines = said.output_content[0]["content"].splitlines()
    assert lines[:3] == ["deep", "deep", "751 2"]
    assert lines[3:7] == ["/etc/passwd", str(2**30 + 4), "end", CANARY]
    assert {"n\\377", "empty", "a", "sparse"} <= set(lines[7:])
    assert len(client.responses.list(agent, limit=1000)) > 2
    assert client.requests.of_agent(agent)
    assert client.agents.page(limit=1).total == backup.manifest.contents.agents
    client.agents.create("made-later")
    assert client.agents.page(limit=1).total == backup.manifest.contents.agents + 1


def test_providers_accounts_work_on_with_their_credentials(backup: Backup, restored: Stack):
    (upstream,) = restored.client().upstreams.list()
    assert (upstream.name, upstream.credential, upstream.models) == ("kept", "key", ["kept-*"])
    with Raworc(restored.url) as client:
        headers = {"authorization": f"Bearer {client.login('admin', 'admin').token}"}
    body = {"model": "kept-1", "messages": []}
    answer = httpx2.post(f"{restored.url}/v1/chat/completions", json=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"model": "kept-1"})
    (asked,) = backup.provider.seen
    assert asked.headers["authorization"] == f"Bearer {PROVIDERS_KEY}"
    assert PROVIDERS_KEY.encode() not in gzip.decompress(backup.file.read_bytes())


def test_the_audit_log_is_whole_where_it_is_restored_and_goes_on(backup: Backup, restored: Stack):
    before = run_verify(restored.settings, None)
    assert (before.broken, before.entries > 0) == (None, True)
    with restored.client() as client:
        client.spaces.create("after")
    after = run_verify(restored.settings, before.head)
    assert (after.broken, after.entries > before.entries) == (None, True)


def test_files_belong_to_their_session_where_it_is_restored(backup: Backup, restored: Stack):
    with psycopg.connect(restored.settings.database_url) as conn:
        row = conn.execute(
            "SELECT s.id, s.number, s.node FROM sessions s JOIN agents a ON a.session_id = s.id WHERE a.name = %s",
            [backup.agents[0]],
        ).fetchone()
    folder = restored.settings.sessions_dir / str(row[0])
    owner = 1_800_000_000 + row[1] if os.geteuid() == 0 else os.geteuid()
    assert {found.lstat().st_uid for found in (folder, folder / "a" / "b" / "c", folder / "out")} == {owner}
    assert (folder / "sparse").stat().st_blocks * 512 < 2**20
    assert row[2] == restored.settings.node


def test_a_stopped_embedded_database_is_restored_and_backed_up(backup: Backup, home: Path):
    embedded = Settings(home=home)
    manifest = restore(embedded, backup.file)
    assert not needs_key(embedded, manifest)
    again = run_backup(embedded, home / "again", with_keys=False, tell=lambda _: None)
    assert again.contents.turns == manifest.contents.turns
    assert not again.has_keys


def damaged(whole: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "noise", os.urandom(10_000)
    yield "cut in the middle", whole[: len(whole) // 2]
    yield "cut at its end", whole[:-20]
    plain = gzip.decompress(whole)
    yield "without its last member", gzip.compress(plain[: -4 * 512], 1)
    yield "another byte", gzip.compress(plain[:5000] + bytes([plain[5000] ^ 1]) + plain[5001:], 1)
    yield "a member more", gzip.compress(plain + plain[:1024], 1)
    yield "no backup", gzip.compress(b"hello" * 1000)


def test_a_damaged_one_is_refused_and_nothing_is_touched(backup: Backup, target: Settings, tmp_path: Path):
    for what, content in damaged(backup.file.read_bytes()):
        file = tmp_path / "damaged"
        file.write_bytes(content)
        with pytest.raises(BadRequest, match="nothing was restored"):
            restore(target, file)
        assert list(target.home.iterdir()) == [], what


@pytest.mark.parametrize("change", [{"format": 2}, {"schema": "9999"}])
def test_one_from_a_newer_program_is_refused(
    backup: Backup, target: Settings, tmp_path: Path, change: dict[str, object]
):
    file = tmp_path / "newer"
    with file.open("wb") as sink, writing(sink) as archive:
        archive.add(MANIFEST, msgspec.json.encode(replace(backup.manifest, **change)))
    with pytest.raises(BadRequest, match="newer than this program"):
        restore(target, file)


def test_what_is_in_use_is_only_replaced_by_consent(backup: Backup, target: Settings):
    prepare_home(target)
    mine = target.sessions_dir / "mine"
    mine.mkdir()
    with pytest.raises(Conflict, match="'sessions' is not empty"):
        restore(target, backup.file)
    mine.rmdir()
    restore(target, backup.file)
    turns = count(target.database_url, "turns")
    mine.mkdir()
    with pytest.raises(Conflict, match="'--replace'"):
        restore(target, backup.file)
    with claimed(target), pytest.raises(Conflict, match="is in use by process"):
        restore(target, backup.file, replacing=True)
    restore(target, backup.file, replacing=True)
    assert count(target.database_url, "turns") == turns
    assert not mine.exists()
    assert {path.name for path in target.home.iterdir()} - {"builds"} == {
        *("run", "keys", "logs", "spool", "pg", "sessions")
    }


def test_a_used_database_is_only_replaced_by_consent(backup: Backup, home: Path, database_url: str):
    target = Settings(home=home, database_url=database_url)
    with pytest.raises(Conflict, match="holds a raworc already"):
        restore(target, backup.file)
    assert count(database_url, "turns") == 0
    assert not any(target.sessions_dir.iterdir())
    restore(target, backup.file, replacing=True)
    assert count(database_url, "turns") == backup.manifest.contents.turns
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)


def test_one_that_was_cut_is_finished_by_the_next(backup: Backup, target: Settings):
    restore(target, backup.file)
    (target.home / UNFINISHED).touch()
    (target.home / "spool").rename(target.home / ".replaced")
    with pytest.raises(Conflict, match="cut short: run 'raworc restore' again"):
        prepare_home(target)
    restore(target, backup.file)
    prepare_home(target)
    assert count(target.database_url, "turns") == backup.manifest.contents.turns


def test_no_backup_is_left_that_is_not_whole(steady_stack: Stack, tmp_path: Path):
    there = tmp_path / "there"
    there.write_bytes(b"mine")
    with pytest.raises(Conflict, match="exists already"):
        run_backup(steady_stack.settings, there, with_keys=True, tell=lambda _: None)
    assert there.read_bytes() == b"mine"
    away = replace(steady_stack.settings, database_url=f"postgresql://nobody@/none?host={tmp_path}")
    for settings in (away, replace(away, database_url=None), replace(away, home=tmp_path / "none")):
        with pytest.raises(RaworcError):
            run_backup(settings, tmp_path / "new", with_keys=True, tell=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
