"""``raworc restore``: a home and its database from an archive, all of it or nothing.

The archive is read once to the end before anything is touched. Files go to a folder beside the real ones and rows
into one transaction; then the rows are committed and the folders change places. A mark in the home says that this
is going on: a home that a restore was killed in does not start, until a restore has ended well.
"""

import itertools
import os
import shutil
import tarfile
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from raworc.domain.backup import (
    DATABASE,
    KEYS,
    MANIFEST,
    SPOOL,
    WORKSPACES,
    Manifest,
    SessionFiles,
    check_readable,
    damaged,
)
from raworc.errors import BadRequest, Conflict, StorageFull
from raworc.ids import SessionId
from raworc.keys import MasterKeys
from raworc.sandbox import trees
from raworc.sandbox.driver import SandboxError, Workspace
from raworc.sandbox.files import session_uid
from raworc.sandbox.packing import Unpacking
from raworc.settings import Settings
from raworc.store.dump import Loading, loading
from raworc.store.migrate import known_schemas
from raworc.supervisor.archive import members, reading, verified
from raworc.supervisor.backup import Tell, started
from raworc.supervisor.cluster import url_at
from raworc.supervisor.home import UNFINISHED, claimed, prepare_home
from raworc.supervisor.postgres import cluster_of

_APPENDING: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_STAGE: Final = ".restoring"
_REPLACED: Final = ".replaced"
_FOLDERS: Final = {WORKSPACES: "sessions", SPOOL: "spool", KEYS: "keys"}
"""Of the archive, and of the home."""


def run_restore(settings: Settings, source: Path, *, replace: bool, tell: Tell) -> Manifest:
    """Restore; what was restored. ``replace`` consents to losing what home and database hold. Blocks.

    Raises:
        BadRequest: the archive is damaged, or from a newer program.
        Conflict: something runs here, or would be lost.
        RaworcError: nothing was changed; the message says why.
    """
    if not source.is_file():
        raise BadRequest(f"There is no file '{source}'")
    tell(f"reading '{source}' to its end")
    manifest = verified(source)
    check_readable(manifest, known_schemas())
    prepare_home(settings, resuming=True)
    with claimed(settings), ExitStack() as stack:
        was_cut = (settings.home / UNFINISHED).exists()
        if not (replace or was_cut):
            _refuse_used(settings)
        if settings.database_url is None:
            stack.enter_context(started(cluster_of(settings)))
        url = settings.database_url or url_at(settings.postgres_socket_dir)
        staged = _Staged(settings, manifest)
        try:
            tell("restoring files and rows")
            with reading(source) as tar, loading(url, manifest.schema, replace=replace or was_cut) as rows:
                _unpack(tar, manifest, staged, rows)
                staged.complete()
                rows.finish(old_node=manifest.node, node=settings.node)
                _mark(settings)
            staged.change_places()
        except tarfile.TarError as error:
            raise damaged(str(error)) from error
        except SandboxError as error:
            raise damaged(str(error)) from error
        except OSError as error:
            raise StorageFull(f"The home '{settings.home}' cannot be written to: {error.strerror}") from error
        finally:
            staged.remove()
    return manifest


def needs_key(settings: Settings, manifest: Manifest) -> bool:
    """Whether secrets cannot be opened: the master key here is another one than the backup's."""
    return MasterKeys.of(settings).find(manifest.master_key_id) is None


class _Staged:
    """Folders that are being filled beside the real ones."""

    def __init__(self, settings: Settings, manifest: Manifest) -> None:
        self._settings = settings
        self._sessions = {session.id: session for session in manifest.contents.sessions}
        self._stage = settings.home / _STAGE
        self._unpacking: tuple[str, Unpacking] | None = None
        self.remove()
        self._stage.mkdir(mode=0o700)
        for name in (WORKSPACES, SPOOL, *((KEYS,) if manifest.has_keys else ())):
            (self._stage / name).mkdir(mode=0o700)

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, kind: str, names: list[str]) -> None:
        """One member: ``names`` is its path below ``kind``."""
        if kind == WORKSPACES:
            self._add_to_workspace(tar, member, names)
        elif kind in (KEYS, SPOOL) and (self._stage / kind).is_dir() and names and _is_plain(names[0]):
            source = tar.extractfile(member)
            opened = os.open(
                self._stage / kind / names[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600
            )
            with os.fdopen(opened, "ab") as file:
                shutil.copyfileobj(source, file) if source else None
        else:
            raise damaged(f"it holds '{member.name!r}'")

    def complete(self) -> None:
        """Everything is there, and on disk."""
        if self._unpacking is not None:
            self._unpacking[1].finish()
            self._unpacking = None
        trees.sync(self._stage)

    def change_places(self) -> None:
        """The new folders take the names of the old ones, which go for good. A home that is cut here is marked."""
        home, replaced = self._settings.home, self._settings.home / _REPLACED
        trees.remove(home, _REPLACED)
        replaced.mkdir(mode=0o700)
        for staged, name in _FOLDERS.items():
            if (self._stage / staged).is_dir():
                mode = (home / name).stat().st_mode & 0o777
                (home / name).rename(replaced / name)
                (self._stage / staged).chmod(mode)
                (self._stage / staged).rename(home / name)
        trees.sync(home)
        (home / UNFINISHED).unlink()
        trees.remove(home, _REPLACED)

    def remove(self) -> None:
        """What is left of the stage."""
        if self._unpacking is not None:
            self._unpacking[1].close()
        trees.remove(self._settings.home, _STAGE)

    def _add_to_workspace(self, tar: tarfile.TarFile, member: tarfile.TarInfo, names: list[str]) -> None:
        session = self._sessions.get(names[0]) if names else None
        if session is None or not _is_plain(session.id):
            raise damaged(f"it holds '{member.name!r}', which belongs to no session")
        if self._unpacking is None or self._unpacking[0] != session.id:
            if self._unpacking is not None:
                self._unpacking[1].finish()
            folder = self._stage / WORKSPACES / session.id
            self._unpacking = (session.id, Unpacking(folder, member, self._uid(session)))
        if len(names) > 1:
            linked = member.linkname.split("/")[2:] if member.islnk() else []
            self._unpacking[1].add(tar, member, names[1:], linked)

    def _uid(self, session: SessionFiles) -> int | None:
        return session_uid(self._settings.uid_base, Workspace(SessionId(uuid.UUID(session.id)), session.number))


def _unpack(tar: tarfile.TarFile, manifest: Manifest, staged: _Staged, rows: Loading) -> None:
    """Every member to its place: rows to their tables, one table after the other."""
    tables = {table.name: table for table in manifest.tables}
    rows.make_days(manifest.contents.days)
    for (kind, name), run in itertools.groupby(members(tar), key=_place):
        if kind == DATABASE:
            if name not in tables:
                raise damaged(f"it holds rows of '{name}'")
            rows.fill(tables[name], (_content(tar, member) for member in run))
        elif kind != MANIFEST:
            for member in run:
                staged.add(tar, member, kind, member.name.split("/")[1:])


def _place(member: tarfile.TarInfo) -> tuple[str, str]:
    """What kind of member, and of which table."""
    kind, *names = member.name.split("/")
    return kind, names[0] if kind == DATABASE and names else ""


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = tar.extractfile(member)
    return source.read() if source else b""


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not name.startswith(".")


def _refuse_used(settings: Settings) -> None:
    for name in ("sessions", "spool", "keys"):
        if any((settings.home / name).iterdir()):
            raise Conflict(
                f"The home '{settings.home}' is in use ('{name}' is not empty): restore into another '--home', or use"
                " '--replace' to have all of it thrown away"
            )


def _mark(settings: Settings) -> None:
    (settings.home / UNFINISHED).touch(mode=0o600)
    trees.sync(settings.home)
