"""``raworc backup``: database, keys, spool and workspaces of one home in one archive, while everything runs.

The database is as it was at one moment: whatever was acknowledged before that is in it. Workspaces are read after
that moment, each file as it then is. Recorded calls that are still spooled go along as spool files.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from raworc import __version__
from raworc.domain.backup import DATABASE, FORMAT, KEYS, MANIFEST, SPOOL, WORKSPACES, Manifest
from raworc.errors import BadRequest, Conflict, StorageFull
from raworc.keys import FORMER, MASTER, NEXT, key_id, load_keys
from raworc.sandbox.driver import SandboxError
from raworc.sandbox.packing import pack
from raworc.sandbox.trees import MAX_LEVELS
from raworc.settings import Settings
from raworc.store.dump import Snapshot, snapshot, tables
from raworc.store.migrations import HEAD
from raworc.supervisor.archive import Writing, writing
from raworc.supervisor.cluster import Cluster, url_at
from raworc.supervisor.home import claimed
from raworc.supervisor.postgres import STOP_TIMEOUT_S, cluster_of

Tell = Callable[[str], None]
_KEY_FILES: Final = ("jwt", "door", MASTER, NEXT, FORMER)
"""Read after the database's moment: a rotation at that time leaves both keys there."""
_PIECE_BYTES: Final = 1_048_576


def run_backup(settings: Settings, target: Path | None, *, with_keys: bool, tell: Tell) -> Manifest:
    """Write the archive to ``target`` (0600, only there once it is whole), or to standard output. Blocks.

    Raises:
        Conflict: ``target`` exists.
        RaworcError: it cannot be made; the message says why, and nothing is left.
    """
    if not settings.home.is_dir():
        raise BadRequest(f"There is no home '{settings.home}': say which with '--home'")
    with (
        _sink(target) as sink,
        reachable(settings) as url,
        _spooled(settings.spool_dir) as spooled,
        snapshot(url) as seen,
        writing(sink) as archive,
    ):
        manifest = _manifest(settings, seen, with_keys=with_keys)
        tell(f"the database as it was at {seen.contents.at}: {seen.contents.turns} responses")
        archive.add(MANIFEST, msgspec.json.encode(manifest))
        if with_keys:
            _add_keys(settings, archive)
        for name, descriptor in spooled.items():
            _add_open(archive, f"{SPOOL}/{name}", descriptor)
        _add_rows(seen, archive)
        _add_workspaces(settings, manifest, archive, tell)
    return manifest


@contextmanager
def reachable(settings: Settings) -> Generator[str]:
    """The address of the installation's database; an embedded Postgres that does not run is run for the block.

    Raises:
        BadRequest: the home has none.
        Unavailable: it does not start.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    if not (settings.home / "pg" / "data").is_dir():
        raise BadRequest(f"The home '{settings.home}' holds no database: use '--database-url' or another '--home'")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Conflict):  # 'raworc up' runs, and Postgres with it
            stack.enter_context(claimed(settings))
            stack.enter_context(started(cluster_of(settings)))
        yield url_at(settings.postgres_socket_dir)


@contextmanager
def started(cluster: Cluster) -> Generator[None]:
    """Run it for the block, unless it runs already."""
    if cluster.pid() is not None:
        yield
        return
    cluster.wait_ready(cluster.spawn())
    try:
        yield
    finally:
        cluster.stop(timeout_s=STOP_TIMEOUT_S)


def _manifest(settings: Settings, seen: Snapshot, *, with_keys: bool) -> Manifest:
    return Manifest(
        format=FORMAT,
        program=__version__,
        schema=HEAD,
        node=settings.node,
        contents=seen.contents,
        tables=tables(),
        has_keys=with_keys,
        master_key_id=key_id(load_keys(settings).master),
    )


@contextmanager
def _sink(target: Path | None) -> Generator[IO[bytes]]:
    if target is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if target.exists():
        raise Conflict(f"'{target}' exists already: choose another name, or remove it first")
    draft = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.rename(target)
    except SandboxError as error:
        raise BadRequest(f"The backup was not made: {error}") from error
    except OSError as error:
        raise StorageFull(f"The backup cannot be made: {error.strerror} ('{error.filename or target}')") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _spooled(folder: Path) -> Generator[dict[str, int]]:
    """The spool's files, open before the database's moment: what is loaded and removed meanwhile is still read."""
    opened: dict[str, int] = {}
    try:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                opened[path.name] = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        yield opened
    finally:
        for descriptor in opened.values():
            os.close(descriptor)


def _add_keys(settings: Settings, archive: Writing) -> None:
    for name in _KEY_FILES:
        with contextlib.suppress(FileNotFoundError):
            archive.add(f"{KEYS}/{name}", (settings.home / "keys" / name).read_bytes())


def _add_open(archive: Writing, name: str, descriptor: int) -> None:
    """In parts of a size that is known: the file may still grow."""
    position, number = 0, 0
    while piece := os.pread(descriptor, _PIECE_BYTES, position):
        archive.add(f"{name}/{number:09}", piece)
        position, number = position + len(piece), number + 1


def _add_rows(seen: Snapshot, archive: Writing) -> None:
    for table in tables():
        for number, piece in enumerate(seen.rows(table)):
            archive.add(f"{DATABASE}/{table.name}/{number:09}", piece)


def _add_workspaces(settings: Settings, manifest: Manifest, archive: Writing, tell: Tell) -> None:
    sessions = manifest.contents.sessions
    for number, session in enumerate(sessions, 1):
        left_out = pack(archive.tar, settings.sessions_dir / session.id, f"{WORKSPACES}/{session.id}")
        if left_out:
            tell(f"left out: {left_out} folders of session {session.id} that are deeper than {MAX_LEVELS} levels")
        archive.forget()
        if number % 100 == 0 or number == len(sessions):
            tell(f"{number} of {len(sessions)} workspaces")
