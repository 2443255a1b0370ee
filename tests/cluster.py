"""One throw-away Postgres for a whole test run, shared by all its xdist workers.

Every worker holds a shared lock on ``BASE.users`` for as long as it lives. A reaper process, started with the
cluster, waits for the exclusive lock: it gets it when the last worker is gone, however that ended, and then
stops Postgres and removes the folder.
"""

import asyncio
import atexit
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

import reaper
from raworc.services.bootstrap import bootstrap
from raworc.services.passwords import Passwords
from raworc.settings import DEFAULT_PASSWORD
from raworc.store.database import Database
from raworc.store.migrate import migrate
from raworc.supervisor.cluster import SUPERUSER, Cluster, install

HOME_PREFIX = "rw-"
"""Of the homes that tests make; those of killed runs are removed later."""
_OLD_S = 2 * 3600
TEMPLATE = "template_raworc"
_TMP = Path("/tmp")  # noqa: S108  paths of sockets must be short
_SHM = Path("/dev/shm")  # noqa: S108  as above, and it is memory
_WANTED_BYTES = 2 << 30
_PREFIX = f"raworc-tests-{os.geteuid()}-"
_FAST = (
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("autovacuum", "off"),
    ("max_connections", "300"),
    ("deadlock_timeout", "100ms"),
)


@contextmanager
def shared_cluster(run: str) -> Iterator[Cluster]:
    """The cluster of test run ``run``; whoever comes first starts it."""
    base = _TMP / (_PREFIX + run)
    with _locked(f"{base}.users", fcntl.LOCK_SH):
        with _locked(f"{base}.start", fcntl.LOCK_EX):
            cluster = _cluster(base)
            if not (base / "ready").exists():
                _sweep()
                subprocess.Popen([sys.executable, reaper.__file__, str(base)], start_new_session=True)
                _start(cluster)
                (base / "ready").touch()
        yield cluster


def clone(cluster: Cluster, *, template: str = TEMPLATE) -> str:
    """A new database like the template; its name."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    command = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER raworc STRATEGY FILE_COPY")
    _administrator(cluster.url("postgres", SUPERUSER)).execute(
        command.format(sql.Identifier(name), sql.Identifier(template))
    )
    return name


def drop(cluster: Cluster, name: str) -> None:
    """Remove a clone, whoever is still connected."""
    command = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    _administrator(cluster.url("postgres", SUPERUSER)).execute(command.format(sql.Identifier(name)))


@functools.cache
def _administrator(url: str) -> psycopg.Connection:
    """This process' own: to open one for each database took a third of a database's time."""
    connection = psycopg.connect(url, autocommit=True)
    atexit.register(connection.close)
    return connection


def _cluster(base: Path) -> Cluster:
    folder, store = base / "pg", _memory() / f"{base.name}.memory"
    base.mkdir(mode=0o755, exist_ok=True)
    for inner in (folder, store):
        inner.mkdir(mode=0o711, exist_ok=True)
    if not (base / "store").is_symlink():
        (base / "store").symlink_to(store)  # tells the reaper
    return Cluster(install(folder), store / "data", folder / "socket", base / "postgres.log", _FAST)


def _memory() -> Path:
    """Where a database is cloned in 20 ms instead of 250; containers often have too little of it."""
    status = os.statvfs(_SHM) if _SHM.is_dir() else None
    return _SHM if status and status.f_bavail * status.f_frsize >= _WANTED_BYTES else _TMP


def _start(cluster: Cluster) -> None:
    cluster.initialise()
    cluster.wait_ready(cluster.spawn())
    with psycopg.connect(cluster.url("postgres", SUPERUSER), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {TEMPLATE} OWNER raworc")
    url = cluster.url(TEMPLATE)
    migrate(url)
    asyncio.run(_bootstrap(url))


async def _bootstrap(url: str) -> None:
    db = Database(url, pool_size=1)
    await bootstrap(db, Passwords(), DEFAULT_PASSWORD)
    await db.close()


def _sweep() -> None:
    """Remove what earlier runs left whose reaper was killed too."""
    for lock in _TMP.glob(f"{_PREFIX}*.users"):
        reaper.reap(lock.with_suffix(""), wait=False)
    for home in _TMP.glob(f"{HOME_PREFIX}*"):
        with suppress(FileNotFoundError):  # another run ends
            status = home.stat()
            if status.st_uid == os.geteuid() and status.st_mtime < time.time() - _OLD_S:
                shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _locked(path: str, how: int) -> Iterator[IO[str]]:
    """A lock on the file that has this name now: a reaper may remove it while we wait."""
    while True:
        with reaper.open_lock(Path(path)) as file:
            fcntl.flock(file, how)
            try:
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):  # noqa: PTH116  beside fstat
                    yield file
                    return
            except FileNotFoundError:
                continue
