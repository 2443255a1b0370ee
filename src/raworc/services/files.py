"""An awake agent's files, read without its sandbox. A sleeping one answers a conflict and is not woken."""

import asyncio
import errno
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, TypeVar

from raworc.domain.access import Verb
from raworc.domain.agents import disk_mb
from raworc.domain.lifecycle import ASLEEP
from raworc.domain.paths import check_path
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, NotFound, PayloadTooLarge, StorageFull
from raworc.ids import SessionId
from raworc.sandbox.driver import (
    BadPath,
    DirectoryNotEmpty,
    FileEntry,
    FileList,
    Files,
    FileTooLarge,
    NoSuchFile,
    Workspace,
    WorkspaceFull,
)
from raworc.services import agents
from raworc.services.accounts import Caller
from raworc.store.database import Database

T = TypeVar("T")

MAX_PAGE: Final = 1000
ROOT: Final = ""
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_AT_ONCE: Final = 8  # a read may hold 25 MiB


class AgentFiles:
    """Files below ``/agent``.

    Every method raises as ``agents.find``, ``BadRequest`` for a path that cannot be named, ``NotFound`` where
    nothing is, and ``Conflict`` while the agent sleeps.
    """

    def __init__(self, db: Database, files: Callable[[Workspace], Files]) -> None:
        self._db = db
        self._files = files
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def listing(self, caller: Caller, name: str, path: str, *, offset: int, limit: int) -> FileList:
        """What lies directly below ``path`` ("" is the root), by name ignoring case. ``limit`` is clamped to 1..1000.

        Names that are not text are shown with U+FFFD for what cannot be.
        """
        if path != ROOT:
            check_path(path)
        start, count = max(offset, 0), min(max(limit, 1), MAX_PAGE)
        try:
            found = await self._run(caller, name, "get", lambda files: files.list(path, start, count))
        except NotFound:
            if path != ROOT:
                raise
            await self._workspace(caller, name, "get")  # the agent is there, its sandbox was not opened yet
            return FileList((), 0)
        return FileList(tuple(_shown(entry) for entry in found.entries), found.total)

    async def stat(self, caller: Caller, name: str, path: str) -> FileEntry:
        """One entry itself; a link is described, not followed."""
        check_path(path)
        return _shown(await self._run(caller, name, "get", lambda files: files.stat(path)))

    async def read(self, caller: Caller, name: str, path: str) -> bytes:
        """A file's bytes.

        Raises:
            BadRequest: also for a directory, or a link that leaves the workspace.
            PayloadTooLarge: above 26,214,400 bytes.
        """
        check_path(path)
        return await self._run(caller, name, "get", lambda files: files.read(path))

    async def delete(self, caller: Caller, name: str, path: str) -> None:
        """Remove a file, a link itself, or an empty directory.

        Raises:
            Conflict: also for a directory that is not empty.
        """
        check_path(path)
        await self._run(caller, name, "update", lambda files: files.delete(path))

    async def _run(self, caller: Caller, name: str, verb: Verb, work: Callable[[Files], T]) -> T:
        workspace = await self._workspace(caller, name, verb)
        with _translated():
            async with self._slots:
                return await asyncio.to_thread(work, self._files(workspace))

    async def _workspace(self, caller: Caller, name: str, verb: Verb) -> Workspace:
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, verb)
        if row.state in ASLEEP:
            raise Conflict(f"Agent '{row.name}' is asleep: wake it to reach its files")
        return Workspace(SessionId(row.session_id), row.session_number, disk_mb(row.limits))


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except BadPath as error:
        raise BadRequest(_text(error)) from None
    except NoSuchFile as error:
        raise NotFound(_text(error)) from None
    except DirectoryNotEmpty as error:
        raise Conflict(_text(error)) from None
    except (FileTooLarge, WorkspaceFull) as error:
        raise PayloadTooLarge(_text(error)) from None
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise StorageFull("The server's disk is full: free some space, then try again") from error


def _text(error: Exception) -> str:
    return storable_text(str(error))


def _shown(entry: FileEntry) -> FileEntry:
    target = None if entry.link_target is None else storable_text(entry.link_target)
    return replace(entry, name=storable_text(entry.name), link_target=target)
